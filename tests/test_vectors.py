"""Vectors are what their formula says, and know where they come from."""

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import PROMPTS, some_vector, tiny_model

from steering_utils import SteeringVector, capture, cosine, mean_difference, steer


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
    v = mean_difference(*(torch.tensor(side[:, 1]) for side in (positive, negative)), layer=1)
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
        with pytest.raises(AttributeError, match=f"does not change: make another, with .replaced\\({name}"):
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
    for made, values, how in (
        (vector + other, vector.values + other.values, "sum"),
        (vector - other, vector.values - other.values, "difference"),
    ):
        assert torch.equal(made.values, values)
        assert (made.layer, made.model, made.method) == (2, "someone/a-model", f"{how} of vectors")
        parts = [{"method": v.method} | v.provenance for v in (vector, other)]
        assert made.provenance["made_of"] == parts
    assert (other + vector).model == "someone/a-model"
    torch.testing.assert_close((vector + other - other).values, vector.values)


def test_dividing(vector):
    torch.testing.assert_close((vector / 4).values, vector.values / 4)
    unit = vector / vector.norm
    assert unit.norm == pytest.approx(1, abs=1e-6)
    assert cosine(unit, vector) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_whose_squares_float32_cannot_hold(scale):
    u, v = (SteeringVector(torch.tensor(values) * scale, 1) for values in ([3.0, 4.0], [4.0, 3.0]))
    assert u.norm == pytest.approx(5 * scale)
    torch.testing.assert_close((u / u.norm).values, torch.tensor([0.6, 0.8]))
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


# --- a vector is a value -------------------------------------------------------------------------


def same(a, b):
    """Whether two vectors are equal in all that they know."""
    names = ("layer", "model", "method", "provenance", "norm")
    return torch.equal(a.values, b.values) and all(getattr(a, name) == getattr(b, name) for name in names)


def test_sums_of_lists_of_vectors(vector):
    others = [some_vector(2, seed=seed) for seed in range(3)]
    assert same(sum([vector]), vector)
    together = sum([vector, *others])
    torch.testing.assert_close(together.values, vector.values + sum(v.values for v in others))
    assert (together.layer, together.model) == (2, "someone/a-model")
    assert same(sum(others, vector), sum([vector, *others]))
    for start in (1, 0.5, "v", None):
        with pytest.raises(TypeError):
            start + vector


@pytest.mark.parametrize("grow", [lambda total, v: total + v, lambda total, v: v + total, lambda a, v: a - v])
def test_hundreds_of_additions_keep_a_short_flat_provenance(vector, grow):
    total = vector
    for i in range(600):
        total = grow(total, some_vector(2, seed=i).replaced(method=f"draw {i}"))
    known = total.provenance
    assert len(str(known)) < 10_000
    assert all("made_of" not in part for part in known["made_of"])
    assert 2 <= len(known["made_of"]) <= 20
    assert known["made_of"][-1] == {"method": "and others"}  # says that these are not all
    assert same(copy.deepcopy(total), total) and same(pickle.loads(pickle.dumps(total)), total)


def test_sums_of_sums_know_all_their_parts_once(vector):
    u, v, w = (some_vector(2, seed=i).replaced(method=name) for i, name in enumerate("uvw"))
    for total in ((u + v) + w, u + (v + w), (u + v) + (v + w), sum([u, v, w, u])):
        assert sorted(part["method"] for part in total.provenance["made_of"]) == ["u", "v", "w"]
    assert [part["method"] for part in (u - v).project_out(w).provenance["made_of"]] == ["u", "v", "w"]


def through_torch(v, tmp_path):
    torch.save({"mine": [v]}, tmp_path / "v.pt")
    return torch.load(tmp_path / "v.pt", weights_only=True)["mine"][0]


COPIES = {
    "copy": lambda v, _: copy.copy(v),
    "deepcopy": lambda v, _: copy.deepcopy(v),
    "replaced": lambda v, _: v.replaced(),
    "torch": through_torch,
} | {f"pickle {p}": lambda v, _, p=p: pickle.loads(pickle.dumps(v, p)) for p in range(6)}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("change", [lambda v: v, lambda v: v + v / 3 + some_vector(2), lambda v: 1e-42 * v])
def test_copies_are_equal_bit_for_bit(vector, tmp_path, way, change):
    original = change(vector)
    made = COPIES[way](original, tmp_path)
    assert type(made) is SteeringVector and same(made, original)
    made.values[0] = 7  # changes a copy
    made.provenance["new"] = 1
    assert same(made, original)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: setattr(v, "layer", 3),
        lambda v: setattr(v, "values", torch.zeros(32)),
        lambda v: setattr(v, "provenance", {}),
        lambda v: setattr(v, "norm", 1.0),
        lambda v: setattr(v, "anything", 1),
        lambda v: delattr(v, "model"),
        lambda v: delattr(v, "values"),
    ],
)
def test_no_attribute_is_set_or_taken_away(vector, change):
    before = copy.deepcopy(vector)
    with pytest.raises(AttributeError):
        change(vector)
    assert same(vector, before)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.values.zero_(),
        lambda v: v.values.__setitem__(0, 5.0),
        lambda v: v.values.numpy().fill(5.0),
        lambda v: v.values.add_(1),
        lambda v: setattr(v.values, "data", torch.zeros(32)),
        lambda v: v.provenance.clear(),
        lambda v: v.provenance["positive"].append("x"),
        lambda v: (-v).values.zero_(),
        lambda v: (1.0 * v).values.zero_(),
        lambda v: v.replaced(layer=1).values.zero_(),
        lambda v: v.replaced().provenance["positive"].append("x"),
        lambda v: sum([v]).values.zero_(),
        lambda v: copy.copy(v).values.zero_(),
    ],
)
def test_nothing_is_changed_in_place(vector, change):
    before = copy.deepcopy(vector)
    change(vector)
    assert same(vector, before)


def test_augmented_assignment_makes_another_vector(vector):
    before, v = copy.deepcopy(vector), vector
    v *= 2
    v += vector
    v /= 3
    torch.testing.assert_close(v.values, vector.values)
    assert same(vector, before) and v is not vector


def test_steering_changes_no_vector(vector, tokenizer):
    before, model = copy.deepcopy(vector), tiny_model("gpt2")
    model.name_or_path = vector.model

    def spoil(h, v):
        v.fill_(9.0)
        return h + v

    for options in ({}, {"operation": spoil}):
        with steer(model, [vector, vector], [[1.0], [2.0]], **options):
            capture(model, tokenizer, PROMPTS)
    assert same(vector, before)


def test_what_json_cannot_keep_is_refused_as_history():
    for bad in ({"t": torch.ones(2)}, {"a": {1, 2}}, {"f": len}):
        with pytest.raises(TypeError):
            SteeringVector(torch.ones(2), 1, provenance=bad)
    kept = SteeringVector(torch.ones(2), 1, provenance={"n": np.float64(0.5), "t": (1, 2), "none": None})
    assert kept.provenance["n"] == 0.5 and kept.provenance["t"] == [1, 2] and kept.provenance["none"] is None


@pytest.mark.parametrize("positions", ["last", "all"])
def test_activations_are_copied_whole(tokenizer, positions):
    given = capture(tiny_model("gpt2"), tokenizer, PROMPTS, layers=[3, 1], positions=positions)
    given = given[1] if positions == "all" else given
    for made in (copy.copy(given), copy.deepcopy(given), pickle.loads(pickle.dumps(given)), given[:]):
        assert (made.layers, made.prompts, made.source) == (given.layers, given.prompts, given.source)
        assert torch.equal(made.values, given.values) and torch.equal(made.at(1), given.values[:, 1])
    copied = copy.deepcopy(given)
    copied.values.zero_()
    assert float(given.values.abs().min()) >= 0 and given.values.any()
    for name in ("values", "layers", "prompts", "source"):
        with pytest.raises(AttributeError):
            setattr(given, name, None)


def test_a_vector_of_activations_shares_nothing_with_them(tokenizer):
    sides = [capture(tiny_model("gpt2"), tokenizer, texts) for texts in (PROMPTS[:2], PROMPTS[2:])]
    v = mean_difference(*sides, 2)
    before = copy.deepcopy(v)
    for side in sides:
        side.values.zero_()
        side.source["model"] = "other"
    assert same(v, before)


def test_a_layer_is_asked_for_by_its_number_only(tokenizer):
    """`activations[2]` or `[:, 2]` would be a column, which is another layer if not all were captured."""
    given = capture(tiny_model("gpt2"), tokenizer, PROMPTS, layers=[1, 2, 3])
    assert torch.equal(given.at(2), given.values[:, 1]) and torch.equal(given.at(np.int64(2)), given.at(2))
    for index in (2, -1, np.int64(1), torch.tensor(1), (slice(None), 2), (0, 2), (..., 1), None):
        with pytest.raises(TypeError):
            given[index]
    for layer in (0, 4, -1):
        with pytest.raises(ValueError, match=r"was not captured: choose one of \[1, 2, 3\]"):
            given.at(layer)
    for layer in (1.0, "1", True, None, slice(1, 2)):
        with pytest.raises(TypeError):
            given.at(layer)
    for missing in ("mean", "norm", "__add__", "__array__", "__iter__"):
        assert not hasattr(given, missing)
    with pytest.raises(TypeError):
        list(given)  # neither prompts nor layers
