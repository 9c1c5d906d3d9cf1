"""Controls: random directions of the norm of the vector, and the flips of the labels of its pairs."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from conftest import some_vector

from steering_utils import cosine, label_flips, mean_difference, random_directions


def sides(n_pairs, signal=1.0, noise=1.0, d_model=256, seed=0):
    """Activations of n pairs at one layer, whose differences are a common direction and independent noise."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(n_pairs, d_model, generator=generator)  # to both of a pair
    direction = torch.zeros(d_model)
    direction[0] = signal
    differences = direction + noise * torch.randn(n_pairs, d_model, generator=generator) / d_model**0.5
    return common + differences / 2, common - differences / 2


def test_random_directions_have_the_norm_and_no_direction_in_common():
    like = some_vector(width=576, norm=37.0)
    drawn = random_directions(like, 40, seed=3)
    assert all(v.norm == pytest.approx(37.0, rel=1e-5) and v.layer == like.layer for v in drawn)
    cosines = [abs(cosine(a, b)) for i, a in enumerate(drawn) for b in drawn[:i]]
    assert np.mean(cosines) == pytest.approx(math.sqrt(2 / (math.pi * 576)), rel=0.1)
    assert np.quantile(cosines, 0.95) == pytest.approx(0.082, rel=0.1)


def test_random_directions_repeat_with_their_seed():
    first, again, other = (random_directions(some_vector(), 3, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a.values, b.values) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a.values, b.values) for a, b in zip(first, other, strict=True))
    assert len({v.method for v in first + other}) == 2


def test_all_flips_are_each_choice_of_signs_up_to_its_reverse_the_truth_first():
    positive, negative = sides(5)
    flips = label_flips(positive, negative, 0)
    differences = positive - negative
    wanted = {
        signs: (torch.tensor(signs)[:, None] * differences).mean(0)
        for signs in product([1.0, -1.0], repeat=5)
    }
    assert len(flips) == 16
    assert torch.allclose(flips[0].values, mean_difference(positive, negative, 0).values, atol=1e-6)
    found = []
    for flip in flips:
        [signs] = [s for s, v in wanted.items() if torch.allclose(v, flip.values, atol=1e-6)]
        found += [signs, tuple(-sign for sign in signs)]
    assert set(found) == set(wanted)
    assert len(found) == len(wanted)


def test_pairs_with_one_label_are_turned_together():
    positive, negative = sides(6)
    flips = label_flips(positive, negative, 0, by=["a", "b", "a", "b", "a", "c"])
    differences = positive - negative
    by_label = torch.stack([differences[[0, 2, 4]].sum(0), differences[[1, 3]].sum(0), differences[5]]) / 6
    for flip in flips:
        signs = torch.linalg.lstsq(by_label.T, flip.values).solution
        assert torch.allclose(signs.abs(), torch.ones(3), atol=1e-3)
    assert len(flips) == 4


def test_drawn_flips_repeat_with_their_seed_keep_their_length_and_have_the_truth_first():
    positive, negative = sides(100, signal=2.0)
    true = mean_difference(positive, negative, 0)
    drawn, again, other = (label_flips(positive, negative, 0, n=20, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a.values, b.values) for a, b in zip(drawn, again, strict=True))
    assert not any(torch.equal(a.values, b.values) for a, b in zip(drawn[1:], other[1:], strict=True))
    assert torch.allclose(drawn[0].values, true.values, atol=1e-6)
    assert all(flip.norm < true.norm / 2 for flip in drawn[1:])  # what the pairs share has cancelled
    assert all(flip.layer == true.layer for flip in drawn)


def test_flips_with_the_truth_projected_out_have_nothing_of_it_and_none_is_empty():
    positive, negative = sides(4, signal=2.0)
    true = mean_difference(positive, negative, 0)
    flips = label_flips(positive, negative, 0, project_out=True)
    assert len(flips) == 7
    assert all(abs(cosine(flip, true)) < 1e-5 and flip.norm > 0.1 for flip in flips)
    assert len(label_flips(positive, negative, 0, n=100, project_out=True)) < 95  # some draws are the truth


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"13 labels have 2\^12 flips: give n"),
        ({"by": ["a"]}, "1 labels for 13 pairs: give one each"),
    ],
)
def test_flips_that_cannot_be_listed_or_told_apart_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        label_flips(*sides(13), 0, **options)


def test_sides_that_are_no_pairs_have_no_flips():
    positive, negative = sides(3)
    with pytest.raises(ValueError, match="3 positive and 2 negative prompts: give pairs"):
        label_flips(positive, negative[:2], 0)
