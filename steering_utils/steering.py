"""The intervention: h' = h + alpha * v, or another operation, by forward hooks that always come off."""

import contextlib
import math
from collections.abc import Iterable

import torch

from .blocks import check_layer, decoder, decoder_blocks, residual, width, with_residual
from .models import identity, same_model
from .operations import add
from .vectors import SteeringVector

POSITIONS = ("all", "prompt", "new", "last")


@contextlib.contextmanager
def steer(model, vectors, alpha=1.0, *, operation=add, positions="all"):
    """Add alpha * v to the residual stream at the vector's layer while the block is open.

    h' = h + alpha * v, with h the output of decoder block `vector.layer`. On every exit, by an exception too,
    the model is as it was before. Contexts nest: additions add up, and at one layer the innermost works
    first, so that what an outer one ablates stays away.

    Args:
        vectors: a SteeringVector or several, at the same or at different layers.
        alpha: a number for all rows, or one number per row of the batch. Rows that generation expands
            (beams, several samples) keep their prompt's number. Rows at 0 are left alone.
        operation: what is done: `add`, `ablate`, `set_projection(value)`, `add_and_keep_norm`, or a function
            of one's own of (h, alpha * v) that returns the new h; see `steering_utils.operations`.
        positions: where it is done, whether or not a key-value cache is in use: "all" at every position,
            "prompt" at the prompt's, "new" at generated tokens', "last" at the prompt's last token only. What
            is not generated is a prompt: all of a forward pass of one's own without a cache. Or a mask, a
            boolean tensor (n_prompts, n_columns) over the columns of the batch as the model gets it, padding
            included; columns after its end are left alone.

    Yields:
        The model.

    Raises:
        TypeError: not a SteeringVector, alpha not a number, or the operation not a function.
        ValueError: no vectors, alpha not finite or too large for the model's dtype, a layer that does not
            exist, a vector of another width or of another model, or unknown `positions`: all before any
            hook is placed. During the block: alphas or a mask that do not fit the batch, or an operation that
            returns another shape.

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
    for vector in vectors:
        check_vector(model, vector)
    rows = check_alpha(alpha, vectors, model.dtype)
    if not callable(operation):
        raise TypeError(f"operation must be a function of (h, v) such as add, got {operation!r}")
    positions, blocks = _check_positions(positions), decoder_blocks(model)
    span = _Span(positions, rows)
    with contextlib.ExitStack() as hooks:
        if span.mask is None:
            watch = decoder(model).register_forward_pre_hook(span.observe, with_kwargs=True)
            hooks.callback(watch.remove)
        for vector in reversed(vectors) if rows.any() or rows.requires_grad else []:
            edit = _edit(vector, rows, operation, span)
            # before all other hooks, so that they see the steered state
            hooks.callback(blocks[vector.layer].register_forward_hook(edit, prepend=True).remove)
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


def check_alpha(alpha, vectors, dtype) -> torch.Tensor:
    """alpha as a float32 tensor, () or (n_rows,), if it can scale these vectors; raises as `steer` does."""
    wanted = "alpha must be a number such as 1.0, or one number per row of the batch"
    try:
        rows = torch.as_tensor(alpha, dtype=torch.float32, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{wanted}; got {alpha!r}") from error
    if rows.ndim > 1 or not rows.numel():
        raise ValueError(f"{wanted}; got shape {tuple(rows.shape)}")
    if not torch.isfinite(rows).all():
        raise ValueError(f"{wanted}, and finite; got {alpha!r}")
    largest = rows.detach().abs().max()
    if not all((largest * vector.values).to(dtype).isfinite().all() for vector in vectors):
        raise ValueError(f"alpha {alpha!r} times the vector overflows {dtype}: choose a smaller one")
    return rows


def _check_positions(positions):
    """A word of POSITIONS, or a mask (n_prompts, n_columns) on the CPU."""
    if isinstance(positions, str) and positions in POSITIONS:
        return positions
    try:
        mask = torch.as_tensor(positions, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        mask = None
    if mask is None or mask.dtype != torch.bool or mask.ndim != 2:
        got = repr(positions) if mask is None else f"{mask.dtype} {tuple(mask.shape)}"
        words = ", ".join(POSITIONS)
        raise ValueError(
            f"positions must be one of {words} or a boolean mask (n_prompts, n_columns); got {got}"
        )
    return mask


def _edit(vector, rows, operation, span):
    """A forward hook that returns new tensors and never writes into the block's own."""
    scaled = {}  # alpha * v for each device and dtype, so that a step of generation need not make it again

    def hook(module, args, output):
        if span.mask is False:
            return None
        if span.mask is None:
            raise RuntimeError("a block ran outside a forward pass of the model: call the model itself")
        h = residual(output)  # (n_rows, n_tokens, d_model)
        v = scaled.get((h.device, h.dtype))
        if v is None:
            scale = rows.to(h.device)[..., None, None] if rows.ndim else rows.to(h.device)
            v = (scale * vector.values.to(h.device)).to(h.dtype)  # (d_model,) or (n_alphas, 1, d_model)
            if not rows.requires_grad:
                scaled[h.device, h.dtype] = v
        changed = operation(h, _expand(v, len(h)) if rows.ndim and len(v) != len(h) else v)
        if not isinstance(changed, torch.Tensor) or changed.shape != h.shape:
            got = tuple(changed.shape) if isinstance(changed, torch.Tensor) else type(changed).__name__
            raise ValueError(f"the operation gave {got}: it must return all of h, {tuple(h.shape)}")
        changed = changed.to(h.dtype)
        if span.mask is not True:
            changed = torch.where(span.mask.to(h.device)[..., None], changed, h)
        return with_residual(output, changed)

    return hook


class _Span:
    """Where the running forward pass is steered: `mask` is (n_rows, n_tokens), or True or False for all.

    It is None, and has to be found for each pass, if not all rows and positions are treated alike.
    Columns are counted across the key-value cache. A pass that starts before the prompt's end is a new
    prompt, unless generation without a cache starts over with one more token.
    """

    def __init__(self, positions, alpha):
        everywhere = isinstance(positions, str) and positions == "all"
        self.positions, self.alpha = positions, alpha
        self.mask = True if everywhere and not alpha.ndim else None
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
        self.mask = self._choose(seen, len(tokens))

    def _choose(self, seen, n_rows):
        """The mask of the columns from `seen` on, made on the CPU so that no step waits for a GPU."""
        column = torch.arange(seen, self.length)[None]
        if isinstance(self.positions, torch.Tensor):
            part = self.positions[:, seen : self.length]
            chosen = torch.nn.functional.pad(part, (0, column.shape[1] - part.shape[1]))
        else:
            chosen = {
                "all": column >= 0,
                "prompt": column < self.end,
                "new": column >= self.end,
                "last": column == self.last,
            }[self.positions]
        chosen = _expand(chosen, n_rows)
        if self.alpha.ndim and not self.alpha.requires_grad:
            chosen = chosen & _expand(self.alpha != 0, n_rows)[:, None]
        return True if chosen.all() else chosen if chosen.any() else False

    def _begin(self, tokens, seen, mask):
        """Take the pass for a prompt, if alphas and mask fit it: expanded rows are equal at first."""
        self.prompt, self.end = tokens, seen + tokens.shape[1]
        given = {"alpha": self.alpha, "the mask for positions": self.positions}
        for name, values in given.items():
            if isinstance(values, torch.Tensor) and values.ndim:
                copies, rest = divmod(len(tokens), len(values))
                if rest or not torch.equal(tokens, _expand(tokens[:: max(copies, 1)], len(tokens))):
                    raise ValueError(
                        f"{name} has {len(values)} rows, the batch {len(tokens)}: give one for each prompt, "
                        "with all prompts in one batch, or the same for all"
                    )
        if isinstance(self.positions, torch.Tensor) and self.positions.shape[1] < self.end:
            raise ValueError(
                f"the mask for positions has {self.positions.shape[1]} columns, the prompts have {self.end} "
                "with their padding: give one for each"
            )
        if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
            mask = torch.ones(len(tokens), self.end)
        self.last = (mask.cpu() * torch.arange(mask.shape[1])).argmax(dim=1, keepdim=True)

    def _continues(self, tokens) -> bool:
        """Whether it is the pass before with one more token; beams may have changed places meanwhile."""
        grown = self.prompt is not None and tokens.shape[1] == self.length + 1
        return grown and torch.equal(tokens[:, : self.end], self.prompt)


def _expand(rows, n):
    """Each of `rows` as often as it takes for `n` of them: beams and several samples of a prompt."""
    return rows.repeat_interleave(n // len(rows), dim=0)
