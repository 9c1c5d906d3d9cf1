"""`steer` used in every way that Python lets a context manager be used in."""

import gc
import warnings

import pytest
import torch
from by_hand import changed, close, logits
from conftest import hooks_on, some_vector, tiny_model

from steering_utils import steer

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318], [1026, 373, 257, 845, 922, 1110]])


def test_arguments_are_checked_when_it_is_called_and_not_when_it_is_entered(model):
    for vector, alpha in ((some_vector(9), 1.0), (some_vector(), float("nan")), (some_vector(width=3), 1.0)):
        with pytest.raises(ValueError):
            steer(model, vector, alpha)


def test_it_can_be_entered_again_with_fresh_hooks_each_time(model):
    steering, plain = steer(model, some_vector(), 2.0, positions="last"), logits(model, IDS)
    seen = []
    for _ in range(3):
        with steering:
            seen.append(logits(model, IDS))
        assert hooks_on(model) == 0
        assert torch.equal(logits(model, IDS), plain)
    assert all(torch.equal(steered, seen[0]) for steered in seen) and changed(seen[0], plain)


def test_entered_twice_at_once_it_acts_twice(model):
    steering = steer(model, some_vector(), 1.0)
    with steering, steering:
        twice = logits(model, IDS)
    with steer(model, some_vector(), 2.0):
        close(twice, logits(model, IDS))
    assert hooks_on(model) == 0


def test_it_is_a_decorator(model):
    @steer(model, some_vector(), 2.0)
    def read():
        return logits(model, IDS)

    steered = read(), read()
    with steer(model, some_vector(), 2.0):
        assert all(torch.equal(each, logits(model, IDS)) for each in steered)
    assert hooks_on(model) == 0


def test_it_gives_the_model(model):
    with steer(model, some_vector()) as inside:
        assert inside is model


def test_what_is_never_entered_is_noticed():
    model = tiny_model("gpt2")
    with pytest.warns(
        RuntimeWarning, match=r"<steer at layers \[1\]: off; it acts inside `with .* was dropped"
    ):
        steer(model, some_vector())
        gc.collect()
    steering = steer(model, some_vector())
    assert repr(steering) == "<steer at layers [1]: off; it acts inside `with steer(...):`>"
    with steering:
        assert "on;" in repr(steering)


def test_what_was_entered_or_refused_warns_of_nothing():
    model = tiny_model("gpt2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with steer(model, some_vector()):
            pass
        with pytest.raises(ValueError):
            steer(model, some_vector(9))
        gc.collect()
