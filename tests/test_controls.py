"""Controls have the norm of the vector and nothing of its concept; stability is as the formula says."""

import math

import numpy as np
import pytest
import torch
from conftest import some_vector

from steering_utils import cosine, mean_difference, random_directions, shuffled_labels


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


def test_shuffled_labels_keep_the_norm_and_lose_the_direction():
    positive, negative = sides(100, signal=2.0)
    true = mean_difference(positive, negative, 0)
    drawn = shuffled_labels(positive, negative, 0, n=20)
    assert all(one.norm == pytest.approx(true.norm) and one.layer == true.layer for one in drawn)
    assert cosine(true.values, torch.eye(256)[0]) > 0.9
    assert max(abs(cosine(one, true)) for one in drawn) < 0.5
    again = shuffled_labels(positive, negative, 0, n=2)
    assert all(torch.equal(a.values, b.values) for a, b in zip(drawn, again, strict=False))
