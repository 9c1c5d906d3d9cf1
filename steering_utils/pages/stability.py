"""How stable a vector is: what the book's chapter on reliability asks of its pairs."""

import numpy as np
import torch

from ..blocks import as_int
from ..methods import differences_at
from ..vectors import cosine


def split_half_cosine(positive, negative, layer: int, sizes, n_splits: int = 100, seed: int = 0):
    r"""How stable the mean difference is: the cosine between those of two halves of the pairs.

    For each size n, n pairs are drawn and halved at random, and the cosines of `n_splits` draws averaged.
    Beside it stands what is to be expected if pairs are independent:

    $$ \cos = \frac{1}{1 + 2\rho^2 / n}, \qquad \rho^2 = \frac{\sigma^2}{\lVert\mu\rVert^2} $$

    with mu the true difference and sigma^2 the variance of a pair's difference, summed over dimensions;
    both are estimated from all pairs. Two halves of n / 2 pairs share mu, and each adds noise of
    sigma^2 / (n / 2).

    Args:
        positive, negative: as `mean_difference` takes them; row i of both is pair i.
        sizes: numbers of pairs to draw, each even, at least 2 and at most all.

    Returns:
        Two arrays (n_sizes,): measured and expected; the second is NaN where the mean of the pairs is all
        noise, so that there is no stability to predict.

    Raises:
        ValueError: not as many positive as negative prompts, or a size that cannot be halved or drawn; and as
            `mean_difference` does.

    Example:
        >>> measured, expected = split_half_cosine(torch.ones(4, 3), torch.zeros(4, 3), 0, [2, 4])
        >>> measured.round(6).tolist(), expected.tolist()  # without noise any two halves agree
        ([1.0, 1.0], [1.0, 1.0])
    """
    differences = differences_at(positive, negative, layer)  # (n_pairs, d_model)
    n_pairs, sizes = len(differences), [as_int(size, "a size") for size in sizes]
    if bad := [size for size in sizes if size % 2 or not 2 <= size <= n_pairs]:
        raise ValueError(f"sizes {bad}: of {n_pairs} pairs, draw an even number from 2 on")
    generator, measured = torch.Generator().manual_seed(seed), []
    for size in sizes:
        draws = (torch.randperm(n_pairs, generator=generator)[:size] for _ in range(n_splits))
        halves = (differences[draw].view(2, size // 2, -1).mean(1) for draw in draws)
        measured.append(np.mean([cosine(*half) for half in halves]))
    variance = float(differences.var(dim=0).sum())
    signal = float(differences.mean(0).square().sum()) - variance / n_pairs  # without what noise adds to it
    ratio = variance / signal if signal > 0 else np.nan
    return np.array(measured), 1 / (1 + 2 * ratio / np.array(sizes))


def steerability(strengths, m) -> np.ndarray:
    """How strongly each prompt follows the vector: the least-squares slope of m against the strength.

    slope = sum_r (r - mean r)(m(r) - mean m) / sum_r (r - mean r)^2, in nats per unit of strength. A prompt
    with a slope below 0 goes the wrong way; `np.mean(slopes < 0)` is the anti-steerable share.

    Args:
        strengths: (n_strengths,), with their signs.
        m: the logit differences, (n_strengths, n_prompts).

    Returns:
        (n_prompts,).

    Raises:
        ValueError: fewer than two different strengths, or not one row of m for each.

    Source:
        Tan et al., arXiv 2407.12404.

    Example:
        >>> steerability([-1, 0, 1], [[-2.0, 1.0], [0.0, 0.0], [2.0, -1.0]]).tolist()
        [2.0, -1.0]
    """
    strengths = np.asarray(strengths, dtype=float)
    m = np.asarray(m.double() if isinstance(m, torch.Tensor) else m, dtype=float)
    if strengths.ndim != 1 or len(set(strengths)) < 2 or m.ndim != 2 or len(m) != len(strengths):
        raise ValueError(
            f"got strengths {strengths.shape} and m {m.shape}: give two or more different strengths, "
            "and m as (n_strengths, n_prompts)"
        )
    centred = strengths - strengths.mean()
    return centred @ (m - m.mean(axis=0)) / (centred @ centred)
