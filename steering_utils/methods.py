"""Ways to find a direction, and directions to compare it with: each gives steering vectors."""

import torch

from .activations import Activations
from .identity import same_model
from .vectors import SteeringVector


def mean_difference(positive, negative, layer: int) -> SteeringVector:
    """The mean-difference vector: mean over positive prompts minus mean over negative ones.

    $$ v = \\frac{1}{n_+} \\sum_i h^{(k)}(x_i^+) - \\frac{1}{n_-} \\sum_j h^{(k)}(x_j^-) $$

    Args:
        positive, negative: what `capture` gave for each side, or the states at that layer as plain tensors,
            (n_prompts, d_model).
        layer: the layer k to take it at.

    Returns:
        A SteeringVector with values (d_model,).

    Raises:
        TypeError: neither activations nor tensors, or `layer` not an int.
        ValueError: no prompts, NaN or inf, different models or widths, or `layer` was not captured.

    Source:
        Rimsky et al., arXiv 2312.06681; for single pairs Turner et al., arXiv 2308.10248.
    """
    sides, provenance = states_at(positive, negative, layer)
    name, difference = provenance.pop("model", ""), sides[0].mean(0) - sides[1].mean(0)
    return SteeringVector(difference, layer, name, "mean difference", provenance)


def states_at(positive, negative, layer: int) -> tuple[list[torch.Tensor], dict]:
    """Both sides at one layer, (n_prompts, d_model) in float32, and where they come from.

    Takes and raises as `mean_difference` does.
    """
    sides, provenance = [], {}
    for name, side in (("positive", positive), ("negative", negative)):
        if isinstance(side, Activations):
            if not same_model(provenance.get("model", ""), model := side.source["model"]):
                raise ValueError(f"{name} is of {model}, the other side not: capture both from one model")
            provenance |= side.source | {name: list(side.prompts)}
            side = side.at(layer)
        elif not isinstance(side, torch.Tensor):
            raise TypeError(f"{name} must be what capture() returns, or a tensor; got {type(side).__name__}")
        if side.ndim != 2 or not len(side):
            raise ValueError(f"{name} must be (n_prompts, d_model) at one layer, got {tuple(side.shape)}")
        sides.append(side.float())
    wide = [side.shape[1] for side in sides]
    if wide[0] != wide[1]:
        raise ValueError(f"the sides are {wide[0]} and {wide[1]} wide: capture both from one model")
    return sides, {"n_positive": len(sides[0]), "n_negative": len(sides[1])} | provenance


def random_directions(like: SteeringVector, n: int, seed: int = 0) -> list[SteeringVector]:
    """`n` vectors in random directions, each with the norm and the layer of `like`: the control for it.

    A normal sample divided by its length is uniform over directions.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(n, len(like.values), generator=generator)
    draws = like.norm * draws / draws.norm(dim=1, keepdim=True)
    return [like.replaced(values=row, method=f"random direction, seed {seed}") for row in draws]


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
    sides = states_at(positive, negative, layer)[0]
    states, n_positive = torch.cat(sides), len(sides[0])  # (n_prompts of both, d_model)
    drawn = []
    for i in range(n):
        order = torch.randperm(len(states), generator=generator)
        difference = states[order[:n_positive]].mean(0) - states[order[n_positive:]].mean(0)
        values = true.norm * difference / difference.norm()
        drawn.append(true.replaced(values=values, method=f"shuffled labels, seed {seed}, draw {i}"))
    return drawn
