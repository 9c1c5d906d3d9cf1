"""How hard a push is: the length of what is added against the length of the residual stream."""

import torch

from .activations import capture
from .vectors import SteeringVector


def residual_norms(model, tokenizer, texts) -> torch.Tensor:
    """The median length of the residual stream at each layer, first position of each text left out.

    The first position is an outlier in many models (in GPT-2 it is larger by a factor of about 30),
    which is why strengths are measured against the others.

    Returns:
        Tensor (n_layers,), in the units of the residual stream.

    Raises:
        ValueError: no text has a second token; and as `capture` does.
    """
    tokens = torch.cat([h.values[1:] for h in capture(model, tokenizer, texts, positions="all")])
    if not len(tokens):
        raise ValueError("every text is a single token: give texts of at least two tokens")
    return tokens.float().norm(dim=-1).median(dim=0).values


def relative_strength(vector, alpha, norms) -> float:
    """r = alpha * norm(v) / median norm(h) at the vector's layer: the push against what it pushes.

    Args:
        norms: (n_layers,), from `residual_norms`.

    Returns:
        r, with the sign of alpha.
    """
    return alpha * vector.norm / float(norms[vector.layer])


def in_stream_units(vector, norms) -> SteeringVector:
    """The vector as long as the residual stream at its layer, so that alpha *is* the relative strength r.

    Controls drawn from it have its length, so that alpha is their relative strength, too.

    Args:
        norms: (n_layers,), from `residual_norms`.

    Raises:
        ValueError: the vector is zero.

    Example:
        >>> v = in_stream_units(SteeringVector(torch.tensor([3.0, 4.0]), layer=1), torch.tensor([7.0, 20.0]))
        >>> v.norm, relative_strength(v, 0.1, torch.tensor([7.0, 20.0]))
        (20.0, 0.1)
    """
    if not vector.norm:
        raise ValueError(f"{vector!r} is zero: it has no direction, so no alpha gives it a strength")
    length = float(norms[vector.layer])
    history = vector.provenance | {"unit": "the stream's median length", "length": length}
    return (vector * (length / vector.norm)).replaced(provenance=history)
