"""Vectors in files: saved with their history and a checksum, and loaded with nothing unpickled."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .vectors import FIELDS, SteeringVector

FORMAT = "steering_utils.SteeringVector"


def save(vector, path):
    """Write a safetensors file: the values, and everything else as its metadata, with a checksum.

    Raises:
        TypeError: not a SteeringVector.
        FileNotFoundError: no such folder.
    """
    if not isinstance(vector, SteeringVector):
        raise TypeError(f"expected a SteeringVector, got {type(vector).__name__}")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"no folder {str(Path(path).parent)!r}: make it first")
    about = json.dumps({name: getattr(vector, name) for name in FIELDS[1:]})
    metadata = {"format": FORMAT, "about": about, "sha256": _checksum(vector.values, about)}
    save_file({"values": vector.values}, path, metadata)


def load(path) -> SteeringVector:
    """Read what `save` wrote. Nothing is unpickled.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file that `save` wrote, or one that was changed or damaged since.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {str(path)!r}: save a vector there first")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError("it was not written by steering_utils.exchange.save")
            values = file.get_tensor("values")
            if metadata["sha256"] != _checksum(values, metadata["about"]):
                raise ValueError("its checksum is wrong, so it was changed or damaged after it was saved")
            return SteeringVector(values, **json.loads(metadata["about"]))
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{str(path)!r} is not a saved steering vector: {error}") from error


def _checksum(values, about: str) -> str:
    """SHA-256 over the bytes of `values` and the text about them: shows a change, not who made it."""
    return hashlib.sha256(values.numpy().tobytes() + about.encode()).hexdigest()
