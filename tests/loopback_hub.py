"""A Hugging Face hub on this computer, which can also fall silent or break a download off.

`python tests/loopback_hub.py FOLDER COMMAND...` runs a command with the model in FOLDER as GPT-2 on such a
hub, and with nothing in the hub's cache: as for a user who has a network.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class LoopbackHub:
    """Serve folders as models, each at one revision.

    Args:
        models: {"owner/name": (folder, revision)}.
        gated: names whose files are refused, as the hub does until the terms are accepted.

    Set `silent` to accept requests without an answer, and `cuts[file]` to how many times the sending of
    that file breaks off half-way. `requests` lists what was asked for, as (method, path, range).
    """

    def __init__(self, models, gated=()):
        self.models, self.gated = models, gated
        self.silent, self.cuts, self.requests = False, {}, []
        self.port = 0  # any that is free; from then on the same
        self.open()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def open(self):
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", self.port), type("Handler", (_Handler,), {"hub": self})
        )
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        """From now on nothing listens at `url`, until `open`."""
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def sent(self) -> list[str]:
        """The names of the files that were sent, each once, sorted."""
        gets = [path for method, path, _ in self.requests if method == "GET" and "/resolve/" in path]
        return sorted({path.split("/resolve/")[1].split("/", 1)[1] for path in gets})


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub  # HTTP/1.0: one request a connection, so that none outlives `close`

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if self.hub.silent:
            self.hub.closing.wait(60)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            self.about(*match.groups())
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.file(*match.groups())
        else:
            self.answer(404)

    def about(self, name, what, revision):
        """The model's entry, or the list of its files."""
        if (found := self.find(name, revision)) is None:
            return
        folder, commit = found
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        paths = [p.relative_to(folder).as_posix() for p in files]
        if what == "tree":
            entry = [
                {"type": "file", "path": path, "size": file.stat().st_size, "oid": etag(file.read_bytes())}
                for path, file in zip(paths, files, strict=True)
            ]
        else:
            entry = {"id": name, "sha": commit, "siblings": [{"rfilename": p} for p in paths]}
        self.answer(200, json.dumps(entry).encode(), **{"Content-Type": "application/json"})

    def file(self, name, revision, path):
        """One file, or from `Range: bytes=N-` on the rest of it."""
        if (found := self.find(name, revision)) is None:
            return
        folder, commit = found
        if name in self.hub.gated:
            return self.answer(403, **{"X-Error-Code": "GatedRepo"})
        if not (folder / path).is_file():
            return self.answer(404, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        content = (folder / path).read_bytes()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag(content)}"', "Accept-Ranges": "bytes"}
        status, first = 200, 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            status, first = 206, int(asked[1])
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        cut = self.command == "GET" and self.hub.cuts.get(path, 0) > 0
        if cut:
            self.hub.cuts[path] -= 1
        self.answer(status, content[first:], cut, **headers)

    def find(self, name, revision):
        """(folder, commit) of a model; None, and a 404 is sent, if there is no such thing."""
        folder, commit = self.hub.models.get(name, (None, None))
        if folder is not None and revision in (None, "main", commit):
            return Path(folder), commit
        self.answer(404, **{"X-Error-Code": "RevisionNotFound" if folder else "RepoNotFound"})

    def answer(self, status, content=b"", cut=False, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if cut else content)


def etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def run_with_hub(folder, command) -> int:
    """Run `command` with `folder` as GPT-2 on a hub; its exit code, or 1 if it never got the weights."""
    from steering_utils.loading import GPT2, GPT2_REVISION

    hub = LoopbackHub({GPT2: (folder, GPT2_REVISION)})
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_", "STEERING_"))}
    with tempfile.TemporaryDirectory() as cache:
        own = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": cache, "NO_PROXY": "127.0.0.1"}
        code = subprocess.run(command, env=kept | own).returncode
    hub.close()
    print(f"The hub sent {', '.join(hub.sent()) or 'nothing'} of {GPT2} at {GPT2_REVISION}.")
    return code or int("model.safetensors" not in hub.sent())


if __name__ == "__main__":
    sys.exit(run_with_hub(sys.argv[1], sys.argv[2:]))
