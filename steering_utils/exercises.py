"""The checks under the exercises: each says what is wrong with a wrong answer.

A check never raises, so that a notebook with blank exercises runs to its end. It returns a Verdict,
which is true if the answer is right.
"""

import functools
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Verdict:
    """What a check found."""

    passed: bool
    message: str

    def __bool__(self):
        return self.passed

    def __repr__(self):
        return f"Correct. {self.message}" if self.passed else f"Not yet: {self.message}"


class _Wrong(Exception):
    """An answer is wrong; the message says how."""


def _check(function):
    """Make a check of a function that raises _Wrong, or else returns what a right answer teaches."""

    @functools.wraps(function)
    def check(answer) -> Verdict:
        try:
            return Verdict(True, function(answer))
        except _Wrong as wrong:
            return Verdict(False, str(wrong))
        except Exception as error:  # the reader's own code failed
            return Verdict(False, f"your function raised {type(error).__name__}: {error}")

    return check


def _expect(got, wanted, otherwise, mistakes=()):
    """Raise _Wrong unless `got` is `wanted` up to float error.

    Args:
        otherwise: what to say of a wrong value that is not among the mistakes.
        mistakes: (value, message) for each wrong answer that is known by its value.
    """
    if got is None or got is ...:
        raise _Wrong("the function returns nothing yet: replace each ... with code.")
    got, wanted = _tensor(got), _tensor(wanted)
    for value, message in mistakes:
        if got.shape == _tensor(value).shape and torch.allclose(got, _tensor(value), atol=1e-5):
            raise _Wrong(message)
    if got.shape != wanted.shape:
        raise _Wrong(f"the result has shape {tuple(got.shape)}, it should have {tuple(wanted.shape)}.")
    if not torch.allclose(got, wanted, atol=1e-5):
        raise _Wrong(otherwise)


def _tensor(x) -> torch.Tensor:
    return torch.as_tensor(x).double()


def _random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@_check
def check_last_real_position(answer):
    """Chapter 1: mask (n_prompts, n_tokens) -> the column of each row's last 1, (n_prompts,)."""
    right, left = [[1, 1, 1, 0], [1, 1, 0, 0]], [[0, 1, 1, 1], [0, 0, 1, 1]]
    _expect(answer(torch.tensor(right)), [2, 1], "the last 1 in 1110 is in column 2, in 1100 in column 1.")
    counted = (
        "right padding works, left padding does not: the number of tokens minus 1 is not the column there."
    )
    _expect(
        answer(torch.tensor(left)), [3, 3], "with padding on the left it is column 3.", [([2, 1], counted)]
    )
    return "The mask says where the last real token is, whichever side the padding is on."


@_check
def check_mean_difference(answer):
    """Chapter 1: (n_positive, n_layers, d), (n_negative, n_layers, d), layer -> v (d,)."""
    positive, negative = _random(5, 3, 4), _random(7, 3, 4, seed=1)
    v = positive[:, 2].mean(0) - negative[:, 2].mean(0)
    mistakes = [
        (-v, "the sign is turned round: v points from the negative side to the positive one."),
        (
            positive[:, 2].sum(0) - negative[:, 2].sum(0),
            "these are sums: divide each by its number of prompts.",
        ),
    ]
    _expect(answer(positive, negative, 2), v, "take both means over the prompts, at `layer` alone.", mistakes)
    return "Each mean is over its own prompts, so the two sides need not even have the same number."


@_check
def check_median_norm(answer):
    """Chapter 1: h (n_texts, n_tokens, d) -> the median norm over all positions but the first, one number."""
    h = _random(3, 4, 8)
    h[:, 0] *= 100
    norms = h.norm(dim=-1)
    first_in = "the first position is still in: leave column 0 of every text out."
    mistakes = [(norms.median(), first_in), (norms.mean(), first_in)]
    _expect(answer(h), norms[:, 1:].median(), "take each position's norm, then the median of them.", mistakes)
    return "One outlier a text no longer decides what strength means."


@_check
def check_projection(answer):
    """Chapter 2: h (n, d), v (d,) -> the scalar projection of each row on the direction of v, (n,)."""
    h, v = _random(5, 4), 3 * _random(4, seed=1)
    wanted = h @ v / v.norm()
    mistakes = [
        (h @ v, "this still grows with the length of v: divide v by its norm first."),
        (wanted / h.norm(dim=1), "this is the cosine: do not divide by the length of h."),
    ]
    _expect(answer(h, v), wanted, "multiply each row with v / ‖v‖ and add up.", mistakes)
    return "The answer is in units of the stream, however long v is."


@_check
def check_explained_share(answer):
    """Chapter 2: x (n, d) -> the first component's share of the variance, one number."""
    x = _random(6, 4) + 3
    squares, raw = (torch.linalg.svdvals(y) ** 2 for y in (x - x.mean(0), x))
    mistakes = [
        (raw[0] / raw.sum(), "x is not centred: the first component found the mean, not the spread."),
        (squares[0].sqrt() / squares.sqrt().sum(), "square the singular values: variance goes with S²."),
    ]
    _expect(answer(x), squares[0] / squares.sum(), "centre, take the SVD, then S[0]² over the sum.", mistakes)
    return "Explained variance is measured around the mean, which is why PCA centres."


@_check
def check_held_out_accuracy(answer):
    """Chapter 2: positive, negative and both held-out sides, each (n, d) -> accuracy, one number."""
    positive, negative = torch.tensor([[5.0, 1.0], [7.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 1.0]])
    held = (
        torch.tensor([[6.0, 0.0], [3.0, 1.0], [3.0, 2.0]]),
        torch.tensor([[2.0, 1.0], [1.0, 0.0], [0.0, 3.0]]),
    )
    mistakes = [
        (3 / 6, "the threshold is zero: the stream is nowhere near centred, so take the midpoint."),
        (6 / 6, "the threshold comes from the held-out sentences: it must not have seen them."),
    ]
    _expect(answer(positive, negative, *held), 4 / 6, "compare h @ v with the midpoint @ v.", mistakes)
    return "Direction and threshold come from the training pairs alone; that is what held-out means."
