"""The intervention: h' = h + alpha * v, or another operation, by forward hooks that always come off."""

import contextlib
import warnings
from collections.abc import Iterable

import torch

from .blocks import decoder_blocks, residual, unwrapped, with_residual
from .identity import identity, same_model
from .operations import add, set_projection
from .positions import check_positions, columns_of
from .vectors import SteeringVector
from .watch import watching


class steer(contextlib.ContextDecorator):
    """Add alpha * v to the residual stream at the vector's layer, inside a `with` block.

    h' = h + alpha * v, with h the output of decoder block `vector.layer`. On every exit, by an exception too,
    the model is as it was before. Contexts nest: additions add up, and at one layer the innermost works
    first, so that what an outer one ablates stays away. What was made once can be entered again and again.

    Args:
        vectors: a SteeringVector or several, at the same or at different layers.
        alpha: how much. One number for all; or one per row of the batch, (n_rows,); or one per vector and
            row, (n_vectors, n_rows), or (n_vectors, 1) for all rows. A sweep over strengths, directions or
            layers is one call on the prompts repeated. Rows that generation makes of one prompt (beams,
            several samples) get their prompt's. Rows at 0 are left alone, whatever the operation.
        operation: what is done: `add`, `ablate`, `set_projection(value)`, `add_and_keep_norm`, or a function
            of one's own of (h, alpha * v) that gives the new h; see `steering_utils.operations`. Several
            vectors at one layer are added as one shift; other operations follow each other in their order.
        positions: where, whether or not a key-value cache is in use: "all", "prompt", "new", "last",
            "from_last", "after_first", "front", or a mask; see `steering_utils.positions`.

    Returns:
        A context manager that gives the model, and a decorator.

    Raises:
        TypeError: not a SteeringVector, alpha not a number, or the operation not a function.
        ValueError: no vectors, alpha not finite or too large for the model's dtype, a layer that does not
            exist, a vector of another width or of another model (if both are named), or unknown `positions`:
            all at once, before the model is touched. During the block: alphas or a mask that do not fit the
            batch, or an operation that returns another shape.
        FloatingPointError: during the block, a logit that is not finite, as where half precision overflows.
        RuntimeError: during the block, a pass that ran without the hooks, or two threads at once.

    Source:
        Turner et al., arXiv 2308.10248; Rimsky et al., arXiv 2312.06681.

    Example:
        >>> vector = SteeringVector(torch.ones(32), layer=1)
        >>> with steer(model, vector, alpha=2.0):
        ...     text = generate(model, tokenizer, ["I am"], max_new_tokens=3)
        >>> both = [vector, -vector]
        >>> with steer(model, both, alpha=[[2.0, 0.0], [0.0, 2.0]]):  # the second row gets -vector
        ...     texts = generate(model, tokenizer, ["I am"] * 2, max_new_tokens=3)
    """

    entered = True  # for __del__, until all arguments are checked: what was refused need not be entered

    def __init__(self, model, vectors, alpha=1.0, *, operation=add, positions="all"):
        self.model, self.contexts = model, []
        self.vectors = list(vectors) if isinstance(vectors, Iterable) else [vectors]
        if not self.vectors:
            raise ValueError("no vectors: give at least one SteeringVector")
        for vector in self.vectors:
            check_vector(model, vector)
        self.alpha, self.by_row = check_alpha(alpha, self.vectors, unwrapped(model).dtype)
        if not callable(operation) or operation is set_projection:
            some = "add or set_projection(0.0)"
            raise TypeError(f"operation must be a function of (h, v) such as {some}, got {operation!r}")
        self.operation, self.positions = operation, check_positions(positions)
        self.entered = False

    def __enter__(self):
        blocks, acts = decoder_blocks(self.model), self.alpha.any() or self.alpha.requires_grad
        with contextlib.ExitStack() as stack:
            for layer in {vector.layer for vector in self.vectors} if acts else ():
                edit = _Edit(self, stack.enter_context(watching(self.model, layer)), layer)
                # before all other hooks, so that they see the steered state
                stack.callback(blocks[layer].register_forward_hook(edit, prepend=True).remove)
            self.contexts.append(stack.pop_all())
        self.entered = True
        return self.model

    def __exit__(self, *error):
        self.contexts.pop().close()

    def __del__(self):
        if not self.entered:
            warnings.warn(f"{self!r} was dropped before it did anything", RuntimeWarning, stacklevel=2)

    def __repr__(self):
        layers, state = sorted({vector.layer for vector in self.vectors}), "on" if self.contexts else "off"
        return f"<steer at layers {layers}: {state}; it acts inside `with steer(...):`>"


class _Edit:
    """A layer's forward hook; it gives new tensors and never writes into the block's own."""

    def __init__(self, steering, watch, layer):
        self.steering, self.watch, self.layer = steering, watch, layer
        self.numbers = [i for i, vector in enumerate(steering.vectors) if vector.layer == layer]
        self.values = torch.stack([steering.vectors[i].values for i in self.numbers])  # (n, d_model)
        self.alpha = steering.alpha.expand(len(steering.vectors), -1)[self.numbers]  # (n, n_rows or 1)
        self.word = steering.positions if isinstance(steering.positions, str) else None

    def __call__(self, module, args, output):
        self.watch.reached.add(self.layer)
        if self.watch.running is None and (self.steering.by_row or self.word != "all"):
            raise RuntimeError("a block ran outside a forward pass of the model: call the model itself")
        h = steered = residual(output)  # (n_rows, n_tokens, d_model)
        for number, v, active in self._terms(h):
            if (mask := self._mask(number, active, h)) is False:
                continue
            new = self.steering.operation(steered, v)
            if not isinstance(new, torch.Tensor) or new.shape != h.shape:
                what = tuple(new.shape) if isinstance(new, torch.Tensor) else type(new).__name__
                raise ValueError(f"the operation gave {what}: it must return all of h, {tuple(h.shape)}")
            steered = new.to(h.dtype) if mask is True else torch.where(mask, new.to(h.dtype), steered)
        return with_residual(output, steered)

    def _terms(self, h):
        """What is done in turn: (the vector's number, alpha * v, which rows have an alpha that is not 0)."""
        by_row, alpha = self.steering.by_row, self.alpha
        alpha = self.watch.for_rows(alpha.T, "alpha").T if by_row else alpha
        active = (alpha != 0) | alpha.requires_grad
        if self.steering.operation is add and self.word != "front":  # additions are one shift
            shifts, active = [alpha.T @ self.values], active.any(0, keepdim=True)
        else:
            shifts = alpha[..., None] * self.values[:, None]  # (n, n_rows or 1, d_model)
        shifts = [v[:, None].to(h) if by_row else v[0].to(h) for v in shifts]
        return zip(self.numbers, shifts, active, strict=False)  # one shift goes by the first number

    def _mask(self, number, active, h):
        """Where the vector acts in this pass: (n_rows, n_tokens, 1), or True or False for all."""
        watch, positions, active = self.watch, self.steering.positions, active[:, None]
        columns = torch.arange(watch.seen, watch.seen + h.shape[1])  # on the CPU: no step waits for a GPU
        if self.word == "all":
            acts = active
        elif self.word:
            acts = columns_of(self.word, columns, watch.real, watch.ends, len(self.steering.vectors))
            acts = acts[number] if self.word == "front" else acts
            acts = acts.repeat_interleave(watch.shape[0] // len(acts), dim=0) & active
        else:
            if (n_columns := positions.shape[1]) < watch.end:
                raise ValueError(f"the mask has {n_columns} columns, the padded prompts {watch.end}")
            acts = watch.for_rows(positions, "the mask for positions")
            acts = acts[:, columns.clamp(max=n_columns - 1)] & (columns < n_columns) & active
        return True if acts.all() else acts.to(h.device)[..., None] if acts.any() else False


def check_vector(model, vector):
    """Refuse what cannot be added to this model's residual stream; raises as `steer` does."""
    if not isinstance(vector, SteeringVector):
        raise TypeError(f"expected a SteeringVector, got {type(vector).__name__}: make one, with its layer")
    vector.check_place(model)
    if not same_model(vector.model, name := identity(model)["model"]):
        remedy = "extract one from this model or, for a fine-tune of its own, use vector.carried_to(model)"
        raise ValueError(f"the vector is from {vector.model!r}, the model is {name!r}: {remedy}")


def check_alpha(alpha, vectors, dtype) -> tuple[torch.Tensor, bool]:
    """alpha as a float32 tensor, (n_vectors or 1, n_rows or 1), and whether it names its rows.

    Raises as `steer` does, if it cannot scale these vectors.
    """
    wanted = f"alpha must be a finite number, one per row, or one per vector and row ({len(vectors)}, n_rows)"
    try:
        rows = torch.as_tensor(alpha, dtype=torch.float32, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{wanted}; got {alpha!r}") from error
    table = rows if rows.ndim > 1 else rows.view(1, -1)  # (n_vectors or 1, n_rows or 1)
    fits = table.ndim == 2 and table.numel() and len(table) in (1, len(vectors))
    if not fits or not rows.isfinite().all():
        raise ValueError(f"{wanted}; got {alpha!r}")
    largest = table.detach().abs().amax(1).expand(len(vectors))
    if not all((a * v.values).to(dtype).isfinite().all() for a, v in zip(largest, vectors, strict=True)):
        raise ValueError(f"alpha {alpha!r} times the vector overflows {dtype}: choose a smaller one")
    table = table if table.requires_grad else table.clone()  # what was asked for is what is done
    return table, rows.ndim == 1 or (rows.ndim == 2 and rows.shape[1] > 1)
