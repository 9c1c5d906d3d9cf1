"""The intervention: h' = h + alpha * v, by forward hooks that always come off."""

import contextlib

import torch

from .blocks import check_layer, decoder_blocks, residual, width, with_residual
from .models import identity, same_model
from .vectors import SteeringVector

POSITIONS = ("all", "prompt", "new", "last")


@contextlib.contextmanager
def steer(model, vectors, alpha=1.0, *, positions="all"):
    """Add alpha * v to the residual stream at the vector's layer while the block is open.

    h' = h + alpha * v, with h the output of decoder block `vector.layer`. On every exit, by an exception too,
    the model is as it was before. Contexts nest: their additions add up.

    Args:
        vectors: a SteeringVector or several, at the same or at different layers.
        alpha: a number for all rows, or one number per row of the batch. Rows that generation expands
            (beams, several samples) keep their prompt's number.
        positions: where it is added, whether or not a key-value cache is in use:
            "all" at every position, "prompt" at the prompt's, "new" at generated tokens', "last" at
            the prompt's last token only.

    Yields:
        The model.

    Raises:
        TypeError: not a SteeringVector, or alpha not a number.
        ValueError: no vectors, alpha not finite, a layer that does not exist, a vector of another width or
            of another model, or an unknown `positions`. All of these before any hook is placed.

    Source:
        Turner et al., arXiv 2308.10248; Rimsky et al., arXiv 2312.06681.

    Example:
        >>> vector = SteeringVector(torch.ones(32), layer=1)
        >>> with steer(model, vector, alpha=2.0):
        ...     text = generate(model, tokenizer, ["I am"], max_new_tokens=3)
    """
    vectors = [vectors] if isinstance(vectors, SteeringVector) else list(vectors)
    if not vectors:
        raise ValueError("no vectors: give at least one SteeringVector")
    for vector in vectors:
        check_vector(model, vector)
    rows = _check_alpha(alpha)
    if positions not in POSITIONS:
        raise ValueError(f"positions must be one of {', '.join(POSITIONS)}; got {positions!r}")
    span = _Span(positions)
    blocks = decoder_blocks(model)
    with contextlib.ExitStack() as hooks:
        if positions != "all":
            handle = model.base_model.register_forward_pre_hook(span.observe, with_kwargs=True)
            hooks.callback(handle.remove)
        for vector in vectors:
            handle = blocks[vector.layer].register_forward_hook(_adder(vector, rows, span))
            hooks.callback(handle.remove)
        yield model


def check_vector(model, vector):
    """Refuse what cannot be added to this model's residual stream; raises as `steer` does."""
    if not isinstance(vector, SteeringVector):
        raise TypeError(f"expected a SteeringVector, got {type(vector).__name__}: wrap it with its layer")
    check_layer(model, vector.layer)
    if len(vector.values) != width(model):
        raise ValueError(
            f"the vector has {len(vector.values)} dimensions, the model's residual stream {width(model)}: "
            "extract a vector from this model"
        )
    name = identity(model)["model"]
    if not same_model(vector.model, name):
        raise ValueError(f"the vector is from {vector.model!r}, the model is {name!r}: extract one from it")


def _check_alpha(alpha) -> torch.Tensor:
    """alpha as a float32 tensor, () or (n_rows,)."""
    try:
        rows = torch.as_tensor(alpha, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"alpha must be a number or one number per row, got {alpha!r}") from error
    if rows.ndim > 1 or not rows.numel():
        raise ValueError(f"alpha must be a number or one number per row, got shape {tuple(rows.shape)}")
    if not torch.isfinite(rows).all():
        raise ValueError(f"alpha must be finite, got {alpha!r}")
    return rows


def _adder(vector, rows, span):
    """A forward hook that returns new tensors and never writes into the block's own."""

    def hook(module, args, output):
        h = residual(output)  # (n_rows, n_tokens, d_model)
        scale = rows.to(h.device)
        if scale.ndim:
            if len(h) % len(scale):
                raise ValueError(
                    f"alpha has {len(scale)} rows, the batch {len(h)}: give one alpha per prompt"
                )
            scale = scale.repeat_interleave(len(h) // len(scale))[:, None, None]
        added = (scale * vector.values.to(h.device)).to(h.dtype)  # (d_model,) or (n_rows, 1, d_model)
        if span.mask is not None:
            added = added * span.mask[..., None].to(h)  # (n_rows, n_tokens, d_model)
        return with_residual(output, h + added)

    return hook


class _Span:
    """Which columns of the running forward pass get the vector: `mask` (n_rows, n_tokens), or None for all.

    Positions are counted across the key-value cache: the first pass is the prompt, and a pass that
    continues it, from the cache or by starting over with the same tokens, is generation.
    """

    def __init__(self, positions):
        self.positions, self.mask, self.prompt, self.last = positions, None, None, None

    def observe(self, module, args, kwargs):
        """A forward pre-hook: look at the coming pass before the blocks run."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            raise ValueError(f"positions={self.positions!r} needs input_ids: embeddings show no prompt")
        cache = kwargs.get("past_key_values")
        seen = cache.get_seq_length() if cache is not None else 0
        if not seen and not self._continues(ids):
            mask = kwargs.get("attention_mask")
            mask = torch.ones_like(ids) if mask is None or mask.ndim != 2 else mask
            self.prompt, self.last = ids, _last_real(mask)
        column = seen + torch.arange(ids.shape[1], device=ids.device)[None]  # absolute positions
        inside = column < self.prompt.shape[1]
        last = self.last.repeat_interleave(len(ids) // len(self.last))[:, None]
        chosen = {"prompt": inside, "new": ~inside, "last": column == last}[self.positions]
        self.mask = chosen.expand(len(ids), -1)

    def _continues(self, ids) -> bool:
        if self.prompt is None or ids.shape[1] <= (n := self.prompt.shape[1]) or len(ids) % len(self.prompt):
            return False
        return torch.equal(ids[:, :n], self.prompt.repeat_interleave(len(ids) // len(self.prompt), dim=0))


def _last_real(mask) -> torch.Tensor:
    """The column of each row's last real token, for padding on either side: (n_rows,)."""
    columns = torch.arange(mask.shape[1], device=mask.device)
    return (mask * columns).argmax(dim=1)
