"""What a model is called, and whether two names mean the same model."""

import re

from .blocks import unwrapped


def identity(model) -> dict:
    """The model's name and revision, as they go into every vector and every result.

    A snapshot folder of the hub's cache has the name and the commit of its model, and an active adapter is
    part of the name: it makes another model.
    """
    model = unwrapped(model)
    name = str(getattr(model, "name_or_path", "") or "")
    revision = getattr(model, "revision", None) or getattr(model.config, "_commit_hash", None) or ""
    if snapshot := _SNAPSHOT.search(name):
        inside = name[snapshot.end() :].rstrip("/\\")
        name, revision = snapshot["repo"].replace("--", "/", 1) + inside, snapshot["commit"]
    adapters = "".join(f" + {adapter}" for adapter in _adapters(model))
    return {"model": name + adapters, "revision": revision}


_SNAPSHOT = re.compile(r"models--(?P<repo>[^/\\]+)[/\\]snapshots[/\\](?P<commit>[^/\\]+)")


def _adapters(model) -> list[str]:
    """The names of the active adapters (LoRA, say), by PEFT or by transformers' own loading of them."""
    known = getattr(model, "peft_config", None) or {}
    active = getattr(model, "active_adapters", ())
    try:
        active = active() if callable(active) else active
    except ValueError:  # transformers' own: no adapter was ever loaded
        return []
    return [str(name) for name in active if name in known or not known]


def same_model(a: str, b: str) -> bool:
    """Whether two model names mean one model: same last part of the path, or one of them unknown (empty)."""
    return not a or not b or _last_part(a) == _last_part(b)


def _last_part(name: str) -> str:
    if snapshot := _SNAPSHOT.search(name):
        name = snapshot["repo"].replace("--", "/", 1) + name[snapshot.end() :]
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1]  # Windows' paths too, wherever the file is read
