"""Controls have the norm of the vector and nothing of its concept; stability is as the formula says."""

import math

import numpy as np
import pytest
import torch
from conftest import some_vector

from steering_utils import cosine, mean_difference, random_directions, shuffled_labels, split_half_cosine


def sides(n_pairs, signal=1.0, noise=1.0, d_model=256, seed=0):
    """Activations of n pairs at one layer, whose differences are a common direction and independent noise."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(n_pairs, 1, d_model, generator=generator)  # to both of a pair
    direction = torch.zeros(d_model)
    direction[0] = signal
    differences = direction + noise * torch.randn(n_pairs, 1, d_model, generator=generator) / d_model**0.5
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


def test_shuffled_labels_keep_the_norm_and_lose_the_direction():
    positive, negative = sides(100, signal=2.0)
    true = mean_difference(positive, negative, 0)
    drawn = shuffled_labels(positive, negative, 0, n=20)
    assert all(one.norm == pytest.approx(true.norm) and one.layer == true.layer for one in drawn)
    assert cosine(true.values, torch.eye(256)[0]) > 0.9
    assert max(abs(cosine(one, true)) for one in drawn) < 0.5
    again = shuffled_labels(positive, negative, 0, n=2)
    assert all(torch.equal(a.values, b.values) for a, b in zip(drawn, again, strict=False))


@pytest.mark.parametrize("noise", [0.5, 2.0, 4.0])
def test_split_half_cosine_meets_its_prediction_for_independent_pairs(noise):
    sizes = [2, 8, 32, 128]
    measured, expected = split_half_cosine(*sides(400, noise=noise), 0, sizes)
    assert abs(measured - expected).max() < 0.06
    assert (measured[1:] > measured[:-1]).all()


@pytest.mark.parametrize(("sizes", "bad"), [([4, 5], r"\[5\]"), ([12], r"\[12\]"), ([0, 2], r"\[0\]")])
def test_sizes_that_cannot_be_halved_or_drawn_are_refused(sizes, bad):
    with pytest.raises(ValueError, match=bad):
        split_half_cosine(*sides(10), 0, sizes)


def test_unequal_sides_and_pure_noise_are_refused():
    positive, negative = sides(50, signal=0.0)
    with pytest.raises(ValueError, match="give pairs"):
        split_half_cosine(positive, negative[:-1], 0, [2])
    negative = negative + (positive - negative).mean(0)  # now no common difference at all
    with pytest.raises(ValueError, match="beyond their noise"):
        split_half_cosine(positive, negative, 0, [2])
