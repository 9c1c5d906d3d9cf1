"""What steering may do to the residual stream: each operation is a function of (h, v) that gives the new h.

h is (n_rows, n_tokens, d_model). v is alpha times the steering vector, (d_model,) or (n_rows, 1, d_model), in
the same dtype and on the same device. Any function of that form is an operation; it must return a new tensor.
"""

import math

import torch


def add(h, v):
    """Activation addition: h' = h + v.

    Source:
        Turner et al., arXiv 2308.10248; Rimsky et al., arXiv 2312.06681.

    Example:
        >>> add(torch.zeros(1, 1, 2), torch.tensor([3.0, 4.0]))
        tensor([[[3., 4.]]])
    """
    return h + v


def ablate(h, v):
    """Directional ablation: h' = h - u (u . h), with u the direction of v; its length does not matter.

    What is left has no component along v, so that nothing downstream can read one from this layer.

    Source:
        Arditi et al., arXiv 2406.11717.

    Example:
        >>> ablate(torch.tensor([[[1.0, 2.0]]]), torch.tensor([0.0, 5.0]))
        tensor([[[1., 0.]]])
    """
    return set_projection(0.0)(h, v)


def set_projection(value):
    """An operation that gives h the projection `value` along v: h' = h + u (value - u . h), u v's direction.

    A negative alpha turns the direction round; its size does not matter.

    Args:
        value: in the units of the residual stream.

    Raises:
        ValueError: `value` is not a finite number.

    Example:
        >>> set_projection(3.0)(torch.tensor([[[1.0, 2.0]]]), torch.tensor([0.0, 5.0]))
        tensor([[[1., 3.]]])
    """
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"value must be a finite number such as 0.0, got {value!r}")

    def operation(h, v):
        h, v = _wide(h), _wide(v)
        u = torch.nn.functional.normalize(v, dim=-1)  # zero where v is zero
        return h + (value * u.any(-1, keepdim=True) - (h * u).sum(-1, keepdim=True)) * u

    return operation


def add_and_keep_norm(h, v):
    """Add v and give the sum the length that h had: h' = (h + v) |h| / |h + v|.

    It turns the state and does not stretch it, so that only the angle carries the effect.

    Example:
        >>> add_and_keep_norm(torch.tensor([[[1.0, 0.0]]]), torch.tensor([0.0, 1.0]))
        tensor([[[0.7071, 0.7071]]])
    """
    h, moved = _wide(h), _wide(h) + _wide(v)
    length, reached = (x.norm(dim=-1, keepdim=True) for x in (h, moved))
    return moved * (length / reached.clamp_min(torch.finfo(moved.dtype).tiny))


def _wide(x):
    """In float32 at least: sums over d_model in half precision lose too much."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
