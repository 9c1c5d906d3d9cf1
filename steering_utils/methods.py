"""Ways to find a direction, and directions to compare it with: each gives steering vectors."""

import torch

from .activations import Activations
from .identity import same_model
from .vectors import SteeringVector

MOST_FLIPPED = 12  # labels whose flips are listed one by one


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


def differences_at(positive, negative, layer: int) -> torch.Tensor:
    """Each pair's own difference at one layer, (n_pairs, d_model) in float32: row i of both sides is pair i.

    Raises:
        ValueError: not as many positive as negative prompts; and as `mean_difference` does.
    """
    up, down = states_at(positive, negative, layer)[0]
    if len(up) != len(down):
        raise ValueError(f"{len(up)} positive and {len(down)} negative prompts: give pairs")
    return up - down


def label_flips(positive, negative, layer: int, *, by=None, n=None, seed=0, project_out=False):
    """What the mean difference would be if the labels of some pairs were turned round: its reference.

    Each flip is the mean over pairs of s_i (h_i+ - h_i-) with signs s_i of +1 or -1, at its own length. Do
    not rescale flips to the true one's norm: their noise would be stretched with their signal, and a rank
    among them would not get better with more pairs. A flip and its reverse are one vector with two signs.

    Args:
        positive, negative: as `mean_difference` takes them; row i of both is pair i.
        by: a label for each pair, such as its adjectives; pairs with one label are turned together.
        n: how many to draw at random from all flips; left out, all of them up to sign, which for g labels are
            2^(g - 1), at most of 12.
        project_out: project the true mean difference out of each flip: a control that has everything but
            the direction.

    Returns:
        A list of SteeringVector, the true labels first; with `project_out`, those in which some labels are
        turned and some are not, because of the others nothing is left.

    Raises:
        ValueError: no pairs, not one label for each, or more than 12 labels and no `n`; and as
            `mean_difference` does.

    Source:
        The flips form a group that has the truth in it, as a permutation test needs: Southworth, Kim & Owen,
        Journal of Computational Biology 16(4), 2009.

    Example:
        >>> sides = torch.tensor([[2.0, 0.0], [2.0, 1.0]]), torch.zeros(2, 2)
        >>> [v.values.tolist() for v in label_flips(*sides, layer=0)]
        [[2.0, 0.5], [0.0, 0.5]]
    """
    true, differences = mean_difference(positive, negative, layer), differences_at(positive, negative, layer)
    labels = list(range(len(differences)) if by is None else by)
    names = list(dict.fromkeys(labels))
    if len(labels) != len(differences):
        raise ValueError(f"{len(labels)} labels for {len(differences)} pairs: give one each, or none")
    if n is None and len(names) > MOST_FLIPPED:
        raise ValueError(f"{len(names)} labels have 2^{len(names) - 1} flips: give n, how many to draw")
    if n is None:
        turned = torch.arange(2 ** (len(names) - 1))[:, None] >> torch.arange(len(names)) & 1
    else:
        turned = torch.randint(2, (n, len(names)), generator=torch.Generator().manual_seed(seed))
        turned[:1] = 0  # the true labels belong to the group
    if project_out:
        turned = turned[(turned != turned[:, :1]).any(1)]
    signs = (1.0 - 2.0 * turned)[:, [names.index(label) for label in labels]]  # (n_flips, n_pairs)
    flips = [
        true.replaced(values=row, method=f"label flip {i}, seed {seed}")
        for i, row in enumerate(signs @ differences / len(differences))
    ]
    return [flip.project_out(true) for flip in flips] if project_out else flips
