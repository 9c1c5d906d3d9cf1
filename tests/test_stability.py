"""Two halves of the pairs agree as the formula says."""

import numpy as np
import pytest
from test_controls import sides

from steering_utils.pages.stability import split_half_cosine, steerability


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


def test_unequal_sides_are_refused():
    positive, negative = sides(50)
    with pytest.raises(ValueError, match="give pairs"):
        split_half_cosine(positive, negative[:-1], 0, [2])


def test_pairs_that_are_all_noise_have_no_stability_to_expect():
    positive, negative = sides(50, signal=0.0)
    negative = negative + (positive - negative).mean(0)  # now no common difference at all
    measured, expected = split_half_cosine(positive, negative, 0, [2, 50])
    assert np.isnan(expected).all()
    assert np.abs(measured).max() <= 1


def test_steerability_is_numpys_straight_line():
    strengths = [-0.3, -0.1, 0.0, 0.25]
    m = np.random.default_rng(0).normal(size=(4, 5))
    wanted = [np.polyfit(strengths, column, 1)[0] for column in m.T]
    np.testing.assert_allclose(steerability(strengths, m), wanted)


@pytest.mark.parametrize(
    ("strengths", "m"),
    [([0.1], [[1.0]]), ([0.1, 0.1], [[1.0], [2.0]]), ([0.0, 1.0], [1.0, 2.0]), ([0, 1], [[1]])],
)
def test_steerability_needs_two_strengths_and_a_row_for_each(strengths, m):
    with pytest.raises(ValueError, match="two or more different strengths"):
        steerability(strengths, m)
