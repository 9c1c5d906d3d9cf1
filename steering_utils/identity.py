"""What a model is called, and whether two names mean the same model."""

import re

from .blocks import unwrapped


def identity(model) -> dict:
    """The model's name and revision, as they go into every vector and every result.

    A snapshot folder of the hub's cache has the name and the commit of its model, and an active adapter is
    part of the name: it makes another model.
    """
    model = unwrapped(model)
    revision = getattr(model, "revision", None) or getattr(model.config, "_commit_hash", None) or ""
    name, commit = _hub_name(str(getattr(model, "name_or_path", "") or ""))
    return {"model": " + ".join([name, *_adapters(model)]), "revision": commit or revision}


_SNAPSHOT = re.compile(r".*models--(?P<repo>[^/\\]+)[/\\]snapshots[/\\](?P<commit>[^/\\]+)")


def _hub_name(name: str) -> tuple[str, str]:
    """The name that a model has on the hub, and its commit, where `name` is a folder of the hub's cache."""
    if not (snapshot := _SNAPSHOT.match(name)):
        return name, ""
    repo = snapshot["repo"].replace("--", "/", 1)
    return repo + name[snapshot.end() :].rstrip("/\\"), snapshot["commit"]


def _adapters(model) -> list[str]:
    """The names of the active adapters (LoRA, say), by PEFT or by transformers' own loading of them."""
    known, active = getattr(model, "peft_config", None) or {}, getattr(model, "active_adapters", ())
    if callable(active):  # transformers' own
        active = active() if getattr(model, "_hf_peft_config_loaded", False) else ()
    return [str(name) for name in active if name in known or not known]


def same_model(a: str, b: str) -> bool:
    """Whether two model names mean one model: same last part of the path, or one of them unknown (empty)."""
    return not a or not b or _last_part(a) == _last_part(b)


def _last_part(name: str) -> str:
    return re.split(r"[/\\]", _hub_name(name)[0].rstrip("/\\"))[-1]  # Windows' paths, too
