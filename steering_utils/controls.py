"""What a steering vector is compared with: directions of equal norm, and itself from other pairs."""

from dataclasses import replace

import numpy as np
import torch

from .blocks import as_int
from .vectors import SteeringVector, cosine, mean_difference, states_at


def random_directions(like: SteeringVector, n: int, seed: int = 0) -> list[SteeringVector]:
    """`n` vectors in random directions, each with the norm and the layer of `like`: the control for it.

    A normal sample divided by its length is uniform over directions.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(n, len(like.values), generator=generator)
    draws = like.norm * draws / draws.norm(dim=1, keepdim=True)
    return [replace(like, values=row, method=f"random direction, seed {seed}") for row in draws]


def shuffled_labels(positive, negative, layer: int, n: int, seed: int = 0) -> list[SteeringVector]:
    """`n` mean differences between sides drawn at random from all prompts, with the norm of the true one.

    The control that has everything but the concept: the same prompts, layer, method and norm. A draw can keep
    a part of the true direction by chance, the less so the more prompts there are.

    Args:
        positive, negative: as `mean_difference` takes them.

    Raises:
        As `mean_difference` does.
    """
    true, generator = mean_difference(positive, negative, layer), torch.Generator().manual_seed(seed)
    every = torch.cat(states_at(positive, negative, layer))  # (n_prompts of both, d_model)
    drawn = []
    for i in range(n):
        one, other = every[torch.randperm(len(every), generator=generator)].tensor_split([len(positive)])
        difference = one.mean(0) - other.mean(0)
        values = true.norm * difference / difference.norm()
        drawn.append(replace(true, values=values, method=f"shuffled labels, seed {seed}, draw {i}"))
    return drawn


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
        Two arrays (n_sizes,): measured and expected.

    Raises:
        ValueError: not as many positive as negative prompts, a size that cannot be halved or drawn, or pairs
            whose mean is all noise; and as `mean_difference` does.
    """
    sides = states_at(positive, negative, layer)
    if len(sides[0]) != len(sides[1]):
        raise ValueError(f"{len(sides[0])} positive and {len(sides[1])} negative prompts: give pairs")
    differences, sizes = sides[0] - sides[1], [as_int(size, "a size") for size in sizes]  # (n_pairs, d_model)
    n_pairs = len(differences)
    if bad := [size for size in sizes if size % 2 or not 2 <= size <= n_pairs]:
        raise ValueError(f"sizes {bad}: of {n_pairs} pairs, draw an even number from 2 on")
    generator, measured = torch.Generator().manual_seed(seed), []
    for size in sizes:
        draws = (torch.randperm(n_pairs, generator=generator)[:size] for _ in range(n_splits))
        halves = (differences[draw].view(2, size // 2, -1).mean(1) for draw in draws)
        measured.append(np.mean([cosine(*half) for half in halves]))
    variance = float(differences.var(dim=0).sum())
    signal = float(differences.mean(0).square().sum()) - variance / n_pairs  # without what noise adds to it
    if signal <= 0:
        raise ValueError("the pairs have no common difference beyond their noise: no stability to predict")
    return np.array(measured), 1 / (1 + 2 * variance / signal / np.array(sizes))
