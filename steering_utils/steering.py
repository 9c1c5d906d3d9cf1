"""The intervention: h' = h + alpha * v, by forward hooks that always come off."""

import contextlib
import math
from collections.abc import Iterable

import torch

from .blocks import check_layer, decoder, decoder_blocks, residual, width, with_residual
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
        positions: where it is added, whether or not a key-value cache is in use: "all" at every position,
            "prompt" at the prompt's, "new" at generated tokens', "last" at the prompt's last token only.
            What is not generated is a prompt: all of a forward pass of one's own without a cache.

    Yields:
        The model.

    Raises:
        TypeError: not a SteeringVector, or alpha not a number.
        ValueError: no vectors, alpha not finite or too large for the model's dtype, a layer that does not
            exist, a vector of another width or of another model, or an unknown `positions`: all before any
            hook is placed. During the block: as many alphas as do not fit the batch.

    Source:
        Turner et al., arXiv 2308.10248; Rimsky et al., arXiv 2312.06681.

    Example:
        >>> vector = SteeringVector(torch.ones(32), layer=1)
        >>> with steer(model, vector, alpha=2.0):
        ...     text = generate(model, tokenizer, ["I am"], max_new_tokens=3)
    """
    vectors = list(vectors) if isinstance(vectors, Iterable) else [vectors]
    if not vectors:
        raise ValueError("no vectors: give at least one SteeringVector")
    rows = _check_alpha(alpha)
    for vector in vectors:
        check_vector(model, vector)
        if not (rows.abs().max() * vector.values).to(model.dtype).isfinite().all():
            raise ValueError(
                f"alpha {alpha!r} times the vector overflows {model.dtype}: choose a smaller one"
            )
    if positions not in POSITIONS:
        raise ValueError(f"positions must be one of {', '.join(POSITIONS)}; got {positions!r}")
    span, blocks = _Span(positions, rows), decoder_blocks(model)
    with contextlib.ExitStack() as hooks:
        if rows.ndim or positions != "all":
            watch = decoder(model).register_forward_pre_hook(span.observe, with_kwargs=True)
            hooks.callback(watch.remove)
        for vector in vectors:  # first among the hooks, so that all others see the steered state
            adder = blocks[vector.layer].register_forward_hook(_adder(vector, rows, span), prepend=True)
            hooks.callback(adder.remove)
        yield model


def check_vector(model, vector):
    """Refuse what cannot be added to this model's residual stream; raises as `steer` does."""
    if not isinstance(vector, SteeringVector):
        raise TypeError(
            f"expected a SteeringVector, got {type(vector).__name__}: make one of a tensor and its layer, "
            "SteeringVector(values, layer)"
        )
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
    wanted = "alpha must be a number such as 1.0, or one number per row of the batch"
    try:
        rows = torch.as_tensor(alpha, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{wanted}; got {alpha!r}") from error
    if rows.ndim > 1 or not rows.numel():
        raise ValueError(f"{wanted}; got shape {tuple(rows.shape)}")
    if not torch.isfinite(rows).all():
        raise ValueError(f"{wanted}, and finite; got {alpha!r}")
    return rows


def _adder(vector, rows, span):
    """A forward hook that returns new tensors and never writes into the block's own."""

    def hook(module, args, output):
        h = residual(output)  # (n_rows, n_tokens, d_model)
        scale = rows.to(h.device)
        if scale.ndim:
            scale = scale.repeat_interleave(len(h) // len(scale))[:, None, None]
        added = (scale * vector.values.to(h.device)).to(h.dtype)  # (d_model,) or (n_rows, 1, d_model)
        if span.mask is not None:
            added = added * span.mask[..., None].to(h)  # (n_rows, n_tokens, d_model)
        return with_residual(output, h + added)

    return hook


class _Span:
    """Which columns of the running forward pass get the vector: `mask` (n_rows, n_tokens), or None for all.

    Columns are counted across the key-value cache. A pass that starts before the prompt's end is a new
    prompt, unless generation without a cache starts over with one more token.
    """

    def __init__(self, positions, alpha):
        self.positions, self.alpha, self.mask = positions, alpha, None
        self.prompt, self.last = None, None  # (n_rows, n_tokens) and its last real column, (n_rows, 1)
        self.end, self.length = math.inf, 0  # of the prompt; of the pass before

    def observe(self, module, args, kwargs):
        """A forward pre-hook: look at the coming pass before the blocks run."""
        tokens = kwargs.get("input_ids", args[0] if args else None)
        tokens = kwargs["inputs_embeds"] if tokens is None else tokens
        cache = kwargs.get("past_key_values")
        seen = int(cache.get_seq_length()) if cache is not None else 0
        starts_over = cache is None and kwargs.get("use_cache") is False and self._continues(tokens)
        if seen < self.end and not starts_over:
            self._begin(tokens, seen, kwargs.get("attention_mask"))
        self.length = seen + tokens.shape[1]
        if self.positions != "all":
            column = torch.arange(seen, self.length, device=tokens.device)[None]
            last = self.last.repeat_interleave(len(tokens) // len(self.last), dim=0)
            inside, at_last = column < self.end, column == last
            chosen = {"prompt": inside, "new": ~inside, "last": at_last}[self.positions]
            self.mask = chosen.expand(len(tokens), -1)

    def _begin(self, tokens, seen, mask):
        """Take the pass for a prompt, if one alpha per prompt fits it: expanded rows are equal at first."""
        if self.alpha.ndim:
            copies, rest = divmod(len(tokens), len(self.alpha))
            if rest or not torch.equal(tokens, tokens[::copies].repeat_interleave(copies, dim=0)):
                raise ValueError(
                    f"alpha has {len(self.alpha)} values, the batch {len(tokens)} rows: give one number for "
                    "all rows, or one per prompt with all prompts in one batch"
                )
        self.prompt, self.end = tokens, seen + tokens.shape[1]
        if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
            mask = torch.ones(len(tokens), self.end, device=tokens.device)
        self.last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1, keepdim=True)

    def _continues(self, tokens) -> bool:
        """Whether it is the pass before with one more token; beams may have changed places meanwhile."""
        grown = self.prompt is not None and tokens.shape[1] == self.length + 1
        return grown and torch.equal(tokens[:, : self.end], self.prompt)
