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


@_check
def check_make_hook(answer):
    """Chapter 3: v (d,), alpha -> a forward hook that adds alpha * v to the tensor or tuple it is given."""
    h, v = _random(2, 3, 4), _random(4, seed=1)
    mistakes = [(h + v, "alpha is not used."), (h - 2 * v, "the sign is turned round: h' = h + alpha * v.")]
    given = h.clone()
    _expect(answer(v, 2.0)(None, (), given), h + 2 * v, "for a tensor, return h + alpha * v.", mistakes)
    if not torch.equal(given, h):
        raise _Wrong("the block's own tensor was changed: += writes in place, so return a new tensor.")
    got = answer(v, 2.0)(None, (), (given, "cache"))
    if not isinstance(got, tuple) or got[1:] != ("cache",):
        raise _Wrong("a block that returned a tuple must get a tuple back, with its other entries kept.")
    _expect(got[0], h + 2 * v, "for a tuple, its first entry is h.", mistakes)
    return "Whatever kind of block it sits on, the hook gives back what it was given, moved by αv."


@_check
def check_alpha_from_strength(answer):
    """Chapter 3: v (d,), h (n_positions, d), signed r -> alpha, one number."""
    v, h = 3 * _random(4), 20 * _random(7, 4, seed=1)
    h[0] *= 50
    norms = h.norm(dim=1)
    wanted = -0.3 * norms.median() / v.norm()
    mistakes = [
        (-0.3 * norms.median(), "‖v‖ is forgotten: divide by it, for a longer v needs a smaller alpha."),
        (-wanted, "the sign is lost: a negative r asks for a negative alpha."),
        (-0.3 * norms.mean() / v.norm(), "this is the mean length: take the median, which no outlier owns."),
        (-0.3 * v.norm() / norms.median(), "the fraction is upside down: alpha = r · median‖h‖ / ‖v‖."),
    ]
    _expect(answer(v, h, -0.3), wanted, "solve r = alpha · ‖v‖ / median‖h‖ for alpha.", mistakes)
    return "With this, layers and models can be compared at equal strength."


@_check
def check_add_at_last(answer):
    """Chapter 3: h (n, t, d), mask (n, t), v (d,), alpha -> h with alpha * v at each last real token."""
    h, v, mask = _random(2, 3, 4), _random(4, seed=1), torch.tensor([[1, 1, 0], [0, 1, 1]])
    given, wanted, column, everywhere = h.clone(), h.clone(), h.clone(), h + 2 * v
    wanted[[0, 1], [1, 2]] += 2 * v
    column[:, -1] += 2 * v
    mistakes = [
        (column, "this is the last column: in a row with padding on the right, that is padding."),
        (everywhere, "this adds at every position: multiply by a mask that is 1 at one place a row."),
        (h + 2 * mask[..., None] * v, "this adds at every real token: only the last one should get it."),
    ]
    _expect(answer(given, mask, v, 2.0), wanted, "one position a row gets alpha * v.", mistakes)
    if not torch.equal(given, h):
        raise _Wrong("h itself was changed: return a new tensor.")
    return "The mask decides, so it works for padding on either side."


@_check
def check_logit_difference(answer):
    """Chapter 4: logits (n, n_vocabulary), two lists of token ids -> the logit difference, (n,)."""
    logits, up, down = _random(3, 8), [1, 4, 6], [0, 2]
    wanted = logits[:, up].logsumexp(1) - logits[:, down].logsumexp(1)
    mistakes = [
        (-wanted, "the sign is turned round: positive words minus negative words."),
        (
            logits[:, up].mean(1) - logits[:, down].mean(1),
            "these are means of logits: one likely word must count for more than many unlikely ones.",
        ),
        (logits[:, up].sum(1) - logits[:, down].sum(1), "these are sums of logits: add up probabilities."),
    ]
    _expect(answer(logits, up, down), wanted, "take logsumexp over each side's ids, row by row.", mistakes)
    low = answer(logits - 200, up, down)
    _expect(low, wanted, "with logits near -200 it breaks: exp() is 0 there, logsumexp is safe.")
    return "It is the log of the ratio of both groups' probabilities, however large the logits are."


@_check
def check_rank_among_controls(answer):
    """Chapter 4: real, a number, controls (n,) -> the rank p = (k + 1) / (n + 1), one number."""
    controls = torch.tensor([0.5, -2.0, 1.0, 0.1])
    mistakes = [
        (2 / 4, "this is k / n, which can say p = 0: count the vector itself, above and below."),
        (2 / 5, "a control that goes the other way counts by its size: take absolute values."),
        (1 / 5, "the vector itself is missing above, or controls do not count by size and ties do not."),
    ]
    _expect(answer(1.0, controls), 3 / 5, "count the controls with |control| >= real.", mistakes)
    _expect(answer(9.0, controls), 1 / 5, "where no control does as well, it is 1 / (n + 1).")
    return "With n controls the smallest p is 1 / (n + 1): for 0.01 it takes 99 of them."


@_check
def check_bootstrap_means(answer):
    """Chapter 4: scores (n_prompts, n_seeds), draws (n_resamples, n_prompts) -> means (n_resamples,)."""
    scores, draws = _random(4, 3), torch.tensor([[0, 1, 2, 3], [1, 1, 3, 0], [2, 2, 2, 2]])
    wanted = scores.mean(1)[draws].mean(1)
    flat = "this resamples single texts as if they were independent: average over the seeds first."
    mistakes = [
        (scores.flatten()[draws].mean(1), flat),
        (scores[:, 0][draws].mean(1), "only the first seed is used: average over all of them."),
        (scores.mean(1)[draws].mean(0), "one mean for each resample: average over the last dimension."),
    ]
    _expect(answer(scores, draws), wanted, "index each prompt's mean with draws, then average.", mistakes)
    return "What was drawn independently is the prompt, so that is what is drawn again."


@_check
def check_price_of(answer):
    """Chapter 5: steered and plain logits, each (n_tokens, n_vocabulary) -> KL per token, one number."""
    z, z0 = 2 * _random(4, 6), _random(4, 6, seed=1)
    p, p0 = z.log_softmax(1), z0.log_softmax(1)
    kl = (p.exp() * (p - p0)).sum(1)
    mistakes = [
        ((p0.exp() * (p0 - p)).sum(1).mean(), "this is KL(unsteered || steered): the text was drawn from p."),
        (kl.sum(), "this is the price of the whole text: take the mean over its tokens."),
        ((p.exp() * (p - p0)).mean(), "sum over the vocabulary, and take the mean over the tokens only."),
        ((p - p0).sum(1).mean(), "the weights are missing: each difference counts by its probability p."),
        (z.softmax(0).log().sub(z0.softmax(0).log()).mul(z.softmax(0)).sum(1).mean(), "softmax over dim=1."),
        ((p.exp() * (z - z0)).sum(1).mean(), "these are logits: take log_softmax of both first."),
    ]
    _expect(answer(z, z0), kl.mean(), "at each token sum p (log p - log p0), then take the mean.", mistakes)
    _expect(answer(z + 3, z0), kl.mean(), "adding a number to all logits of a token changes no probability.")
    return "It is 0 where nothing changed, and the unit is the nat per token."


@_check
def check_parts_of_extra_nll(answer):
    """Chapter 5: log-probabilities p, p0 (n_tokens, n_vocabulary), q0 (n_other, n_vocabulary) -> a pair."""
    p, p0, q0 = (scale * _random(n, 6, seed=n) for scale, n in ((3, 4), (1, 5), (1, 7)))
    p, p0, q0 = (z.log_softmax(1) for z in (p, p0[:4], q0))
    kl = (p.exp() * (p - p0)).sum(1).mean()
    steered, same_text, unsteered = (-(x.exp() * x).sum(1).mean() for x in (p, p0, q0))
    mistakes = [
        ([kl, unsteered - steered], "the entropy's sign is turned round: steered less unsteered."),
        ([kl, steered - same_text], "the unsteered entropy is that along the unsteered text, of q0."),
        (
            [kl, steered],
            "this is the steered text's entropy: the change is what is over the unsteered one's.",
        ),
        ([steered - unsteered, kl], "the order is turned round: the KL first."),
    ]
    wanted = [kl, steered - unsteered]
    _expect(answer(p, p0, q0), wanted, "KL from p to p0, then the entropy of p less that of q0.", mistakes)
    return "The first is the price; the second can hide it, or make it look worse than it is."


@_check
def check_strength_for(answer):
    """Chapter 5: price, strengths and costs (n,), both rising -> the strength, or a ValueError beyond."""
    strengths, costs = torch.tensor([0.0, 0.1, 0.2, 0.4]), torch.tensor([0.0, 0.05, 0.2, 0.9])
    mistakes = [
        (0.1, "this is the last strength that costs less: the answer lies between two of them."),
        (0.2, "this is the first strength that costs more: the answer lies between two of them."),
        (0.4 * 0.125 / 0.9, "this is a line from end to end: take the two neighbours of the price."),
        (0.125, "this is the price itself."),
    ]
    _expect(answer(0.125, strengths, costs), 0.15, "0.125 is half of the way from 0.05 to 0.2.", mistakes)
    for strength, cost in zip(strengths[[0, 1, 3]], costs[[0, 1, 3]], strict=True):
        _expect(
            answer(float(cost), strengths, costs), strength, "a price that was measured has its strength."
        )
    for price in (-0.1, 1.5):
        try:
            got = answer(price, strengths, costs)
        except ValueError:
            continue
        clamped = got is not None and float(got) in (0.0, float(strengths[-1]))
        how = "the last value stands in for all that is beyond it" if clamped else "it is not refused"
        raise _Wrong(f"at a price of {price} the curve has ended, and {how}: raise a ValueError.")
    return "A curve says nothing beyond its ends, and np.interp would not have told you."


@_check
def check_expected_cosine(answer):
    """Chapter 6: differences (n_pairs, d_model), n pairs -> the expected cosine of their halves."""
    x = _random(40, 6) + 1.0
    noise, signal = x.var(0).sum(), x.mean(0).square().sum()
    mistakes = [
        (1 / (1 + noise / signal / 10), "each half has only n / 2 pairs: the noise counts twice."),
        (1 / (1 + 2 * (noise / signal) ** 0.5 / 10), "rho is squared: use variances and squared lengths."),
        (1 / (1 + 2 * noise / signal), "n is not used: the noise of a mean falls with the number of pairs."),
    ]
    _expect(answer(x, 10), 1 / (1 + 2 * noise / signal / 10), "it is 1 / (1 + 2 rho^2 / n).", mistakes)
    return "Twice the noise, or the signal shorter by the square root of two, takes twice the pairs."


@_check
def check_separability(answer):
    """Chapter 6: two sides (n, d_model) and v (d_model,) -> d', one number."""
    up, down, v = _random(9, 4) + 0.8, 2 * _random(9, 4).flip(0), _random(1, 4)[0]
    a, b = up @ v, down @ v
    wanted = (a.mean() - b.mean()) / ((a.var() + b.var()) / 2).sqrt()
    mistakes = [
        (-wanted, "the sign is turned round: positive minus negative."),
        (a.mean() - b.mean(), "the spread is missing: divide by it."),
        ((a.mean() - b.mean()) / v.norm(), "the spread is missing: the vector's length is another unit."),
        ((a.mean() - b.mean()) / torch.cat([a, b]).std(), "take each side's own spread, not that of all."),
    ]
    _expect(answer(up, down, v), wanted, "difference of means over the root of the mean variance.", mistakes)
    _expect(answer(up, down, 3 * v), wanted, "it must not depend on the length of v.")
    return "It has no unit, so vectors of different layers and models can be compared."
