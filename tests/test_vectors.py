"""Vectors are what their formula says, know where they come from, and survive the way to a file and back."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
from conftest import PROMPTS, some_vector, tiny_model
from safetensors.torch import load_file, save_file

from steering_utils import SteeringVector, capture, cosine, mean_difference, random_directions, vectors
from steering_utils.vectors import FORMAT


@pytest.fixture(scope="module")
def vector(tokenizer):
    """A mean difference of two prompts against three, with everything that it knows."""
    model = tiny_model("gpt2")
    model.name_or_path, model.revision = "someone/a-model", "abc"
    positive, negative = (capture(model, tokenizer, texts) for texts in (PROMPTS[:2], PROMPTS[2:]))
    return mean_difference(positive, negative, layer=2)


def test_mean_difference_is_its_formula():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(size=(5, 3, 7)), rng.normal(size=(8, 3, 7))
    wanted = positive[:, 1].sum(axis=0) / 5 - negative[:, 1].sum(axis=0) / 8
    v = mean_difference(torch.tensor(positive), torch.tensor(negative), layer=1)
    np.testing.assert_allclose(v.values, wanted, rtol=1e-5, atol=1e-6)
    assert (v.layer, v.values.dtype) == (1, torch.float32)
    np.testing.assert_allclose(v.norm, np.sqrt((wanted**2).sum()), rtol=1e-5)


def test_layers_are_found_by_number_not_by_column(tokenizer, vector):
    model = tiny_model("gpt2")
    positive, negative = (capture(model, tokenizer, t, layers=[3, 2]) for t in (PROMPTS[:2], PROMPTS[2:]))
    torch.testing.assert_close(mean_difference(positive, negative, layer=2).values, vector.values)


def test_a_vector_says_where_it_comes_from(vector):
    assert (vector.model, vector.method, vector.layer) == ("someone/a-model", "mean difference", 2)
    assert vector.provenance == {
        "torch": torch.__version__,
        "transformers": vector.provenance["transformers"],
        "revision": "abc",
        "n_positive": 2,
        "n_negative": 3,
        "positive": PROMPTS[:2],
        "negative": PROMPTS[2:],
    }


@pytest.mark.parametrize("change", [lambda v: v, lambda v: -v, lambda v: random_directions(v, 1)[0]])
def test_a_file_gives_everything_back(vector, tmp_path, change):
    saved = change(vector)
    saved.save(tmp_path / "v.safetensors")
    loaded = SteeringVector.load(str(tmp_path / "v.safetensors"))
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
    vector.save(path)
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
        checksum = vectors._checksum(values["values"], about)  # right, so that the rest is looked at
        save_file(values, path, {"format": FORMAT, "about": about, "sha256": checksum})

    return write


def one_bit_off(path, vector):
    vector.save(path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def another_layer(path, vector):
    vector.save(path)
    data = path.read_bytes()
    assert data.count(b'\\"layer\\": 2') == 1
    path.write_bytes(data.replace(b'\\"layer\\": 2', b'\\"layer\\": 3'))


def write_other_metadata(about):
    def write(path, vector):
        save_file({"values": vector.values}, path, {"format": FORMAT} | about)

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
        SteeringVector.load(tmp_path / "v.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["v.safetensors"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file '.*v.safetensors': save a vector there first"):
        SteeringVector.load(tmp_path / "v.safetensors")


def test_the_file_is_plain_safetensors(vector, tmp_path):
    vector.save(tmp_path / "v.safetensors")
    assert torch.equal(load_file(tmp_path / "v.safetensors")["values"], vector.values)


def test_a_vector_is_frozen_and_shares_nothing():
    values, provenance = torch.ones(4), {"prompts": ["a"]}
    v = SteeringVector(values, 1, provenance=provenance)
    values += 1
    provenance["prompts"].append("b")
    minus = -v
    minus.provenance["prompts"].append("c")
    assert v.values.tolist() == [1, 1, 1, 1]
    assert v.provenance["prompts"] == ["a"]
    for name in ("values", "layer", "model"):
        with pytest.raises(AttributeError, match="cannot assign"):
            setattr(v, name, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_are_float32_whatever_they_were(dtype):
    wanted = torch.tensor([1.5, -2.0, 0.25])
    assert torch.equal(SteeringVector(wanted.to(dtype).requires_grad_(), 0).values, wanted)


@pytest.mark.parametrize(
    "made, factor",
    [
        (lambda v: v * 2, 2),
        (lambda v: 0.5 * v, 0.5),
        (lambda v: np.float64(3) * v, 3),
        (lambda v: v * torch.tensor(3.0), 3),
        (lambda v: -v, -1),
    ],
)
def test_scaling(vector, made, factor):
    assert torch.equal(made(vector).values, factor * vector.values)
    assert (made(vector).layer, made(vector).provenance) == (vector.layer, vector.provenance)


def test_sums_and_differences_know_both_parts(vector):
    other = SteeringVector(torch.arange(32.0), 2, method="by hand", provenance={"note": "x"})
    for made, values, sign in (
        (vector + other, vector.values + other.values, "+"),
        (vector - other, vector.values - other.values, "-"),
    ):
        assert torch.equal(made.values, values)
        assert (made.layer, made.model) == (2, "someone/a-model")
        assert made.method == f"(mean difference) {sign} (by hand)"
        assert made.provenance["made_of"] == [vector.provenance, other.provenance]
    assert (other + vector).model == "someone/a-model"
    torch.testing.assert_close((vector + other - other).values, vector.values)


def test_dividing_and_normalizing(vector):
    torch.testing.assert_close((vector / 4).values, vector.values / 4)
    unit = vector.normalized()
    assert unit.norm == pytest.approx(1, abs=1e-6)
    assert cosine(unit, vector) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_whose_squares_float32_cannot_hold(scale):
    u, v = (SteeringVector(torch.tensor(values) * scale, 1) for values in ([3.0, 4.0], [4.0, 3.0]))
    assert u.norm == pytest.approx(5 * scale)
    torch.testing.assert_close(u.normalized().values, torch.tensor([0.6, 0.8]))
    assert cosine(u, v) == cosine(u.values, v.values) == pytest.approx(0.96)
    torch.testing.assert_close(u.project_out(v).values / scale, torch.tensor([-0.84, 1.12]))


def test_projecting_out_leaves_a_right_angle_and_the_rest(vector):
    other = some_vector(layer=2, seed=5)
    left = vector.project_out(other)
    assert cosine(left, other) == pytest.approx(0, abs=1e-6)
    assert left.norm**2 + (cosine(vector, other) * vector.norm) ** 2 == pytest.approx(
        vector.norm**2, rel=1e-4
    )
    torch.testing.assert_close(left.project_out(other).values, left.values)
    torch.testing.assert_close(vector.project_out(-3 * other).values, left.values)
    assert vector.project_out(vector).norm == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "a, b, wanted",
    [([3, 4], [4, 3], 0.96), ([1, 0], [0, 2], 0), ([1, 2], [-2, -4], -1), ([1, 2], [10, 20], 1)],
)
def test_cosine_by_hand(a, b, wanted):
    a, b = torch.tensor(a), torch.tensor(b)
    assert cosine(a, b) == pytest.approx(wanted, abs=1e-6)
    assert cosine(SteeringVector(a.float(), 1), b) == pytest.approx(wanted, abs=1e-6)
