"""A push is measured against the stream that it pushes, and vectors can be put in its units."""

import pytest
import torch
from conftest import some_vector

from steering_utils import in_stream_units, random_directions, relative_strength

NORMS = torch.tensor([1.0, 1.0, 20.0, 1.0])


def test_relative_strength_by_hand_with_its_sign():
    assert relative_strength(some_vector(layer=2, norm=5.0), -2.0, NORMS) == pytest.approx(-0.5)


def test_in_units_of_the_stream_alpha_is_the_strength():
    for vector in (some_vector(layer=2, norm=5.0), some_vector(layer=1, norm=0.01)):
        scaled = in_stream_units(vector, NORMS)
        assert scaled.norm == pytest.approx(float(NORMS[vector.layer]))
        torch.testing.assert_close(scaled.values / scaled.norm, vector.values / vector.norm)
        for control in [scaled, -scaled, *random_directions(scaled, 2)]:
            assert relative_strength(control, 0.3, NORMS) == pytest.approx(0.3)
        assert scaled.provenance["length"] == pytest.approx(float(NORMS[vector.layer]))


def test_a_zero_vector_has_no_units():
    with pytest.raises(ValueError, match="is zero: it has no direction, so no alpha gives it a strength"):
        in_stream_units(some_vector(norm=0.0), NORMS)
