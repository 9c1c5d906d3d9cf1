"""Vectors survive the way to a file and back, and what is no such file is refused with nothing unpickled."""

import json
import math
import pickle

import pytest
import torch
from conftest import PROMPTS, tiny_model
from safetensors.torch import load_file, save_file

from steering_utils import capture, exchange, mean_difference, random_directions


@pytest.fixture(scope="module")
def vector(tokenizer):
    """A mean difference of two prompts against three, with everything that it knows."""
    model = tiny_model("gpt2")
    model.name_or_path, model.revision = "someone/a-model", "abc"
    positive, negative = (capture(model, tokenizer, texts) for texts in (PROMPTS[:2], PROMPTS[2:]))
    return mean_difference(positive, negative, layer=2)


def test_a_folder_that_is_not_there_is_named(vector, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder '.*there': make it first"):
        exchange.save(vector, tmp_path / "there" / "v.safetensors")


@pytest.mark.parametrize("change", [lambda v: v, lambda v: -v, lambda v: random_directions(v, 1)[0]])
def test_a_file_gives_everything_back(vector, tmp_path, change):
    saved = change(vector)
    exchange.save(saved, tmp_path / "v.safetensors")
    loaded = exchange.load(str(tmp_path / "v.safetensors"))
    assert torch.equal(loaded.values, saved.values)
    for name in ("layer", "model", "method", "provenance"):
        assert getattr(loaded, name) == getattr(saved, name)


class Trap:
    """Unpickling it would write a file."""

    def __reduce__(self):
        return open, ("sprung", "w")


def write_pickle(path, vector):
    path.write_bytes(pickle.dumps(Trap()))


def write_torch(path, vector):
    torch.save({"values": vector.values, "about": Trap()}, path)


def write_truncated(path, vector):
    exchange.save(vector, path)
    path.write_bytes(path.read_bytes()[:-7])


def write_empty(path, vector):
    path.write_bytes(b"")


def write_foreign(path, vector):
    save_file({"values": vector.values}, path, {"format": "pt"})


def write_bare(path, vector):
    save_file({"values": vector.values}, path)


def tampered(**changes):
    """A file like the one that `save` writes, with other fields; None leaves one out."""

    def write(path, vector):
        about = {"layer": 1, "model": "m", "method": "", "provenance": {}} | changes
        values = {"values": about.pop("values", vector.values)}
        about = json.dumps({name: value for name, value in about.items() if value is not None})
        checksum = exchange._checksum(values["values"], about)  # right, so that the rest is looked at
        save_file(values, path, {"format": exchange.FORMAT, "about": about, "sha256": checksum})

    return write


def one_bit_off(path, vector):
    exchange.save(vector, path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def another_layer(path, vector):
    exchange.save(vector, path)
    data = path.read_bytes()
    assert data.count(b'\\"layer\\": 2') == 1
    path.write_bytes(data.replace(b'\\"layer\\": 2', b'\\"layer\\": 3'))


def write_other_metadata(about):
    def write(path, vector):
        save_file({"values": vector.values}, path, {"format": exchange.FORMAT} | about)

    return write


@pytest.mark.parametrize(
    "write",
    [
        write_pickle,
        write_torch,
        write_truncated,
        write_empty,
        write_foreign,
        write_bare,
        one_bit_off,
        another_layer,
        write_other_metadata({}),
        write_other_metadata({"about": "{"}),
        write_other_metadata({"about": "[1, 2]"}),
        write_other_metadata({"about": "null"}),
        tampered(layer=None),
        tampered(layer="6"),
        tampered(layer=1.5),
        tampered(layer=True),
        tampered(model=7),
        tampered(method=["a"]),
        tampered(provenance="x"),
        tampered(surprise=1),
        tampered(values=torch.tensor([1.0, math.nan])),
        tampered(values=torch.ones(2, 2)),
        tampered(values=torch.ones(4, dtype=torch.int64)),
    ],
)
def test_what_save_did_not_write_is_refused_and_nothing_unpickled(vector, tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "v.safetensors", vector)
    with pytest.raises(ValueError, match=r"v.safetensors' is not a saved steering vector: ."):
        exchange.load(tmp_path / "v.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["v.safetensors"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file '.*v.safetensors': save a vector there first"):
        exchange.load(tmp_path / "v.safetensors")


def test_the_file_is_plain_safetensors(vector, tmp_path):
    exchange.save(vector, tmp_path / "v.safetensors")
    assert torch.equal(load_file(tmp_path / "v.safetensors")["values"], vector.values)
