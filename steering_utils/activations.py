"""Reading activations: the residual stream after each decoder block, by forward hooks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from .blocks import as_int, check_layer, decoder_blocks, unwrapped
from .identity import identity
from .passes import batched, block_outputs, check_fits, reading
from .tokens import check_prompts, token_ids


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations that know where they come from. An index picks prompts, `at` a layer by its number.

    Attributes:
        values: tensor (n_prompts, n_layers, d_model), one column for each of `layers`.
        layers: the layer number of each column.
        prompts: the prompt of each row.
        source: the model's name and revision.

    Example:
        >>> h = capture(model, tokenizer, ["I am happy", "I am sad"], layers=[1, 3])
        >>> h.at(3).shape, len(h[1:])
        (torch.Size([2, 32]), 1)
    """

    values: torch.Tensor
    layers: tuple
    prompts: tuple
    source: dict

    def at(self, layer: int) -> torch.Tensor:
        """The states at one layer, by its number: (n_prompts, d_model), a copy in float32.

        Raises:
            TypeError: `layer` is not an int.
            ValueError: the layer was not captured.
        """
        if as_int(layer) not in self.layers:
            raise ValueError(f"layer {layer} was not captured: choose one of {list(self.layers)}")
        return self.values[:, self.layers.index(layer)].to(torch.float32, copy=True)

    @property
    def shape(self) -> torch.Size:
        """(n_prompts, n_layers, d_model)"""
        return self.values.shape

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows) -> "Activations":
        """The same for some of the prompts: a slice, a list of numbers or a mask."""
        if isinstance(rows, tuple) or (numbers := torch.arange(len(self))[rows]).ndim != 1:
            raise TypeError(f"[{rows!r}] picks no prompts: use a slice or a list, and .at(layer) for a layer")
        prompts = tuple(self.prompts[i] for i in numbers.tolist())
        return Activations(self.values[numbers.to(self.values.device)], self.layers, prompts, self.source)


def capture(model, tokenizer, prompts, layers=None, *, positions="last", batch_size=32, device="cpu"):
    """The residual stream after each block, for each prompt.

    The prompts are padded on the right, where a causal model cannot see the padding, so that the result is
    that of one prompt at a time. The forward pass ends at the deepest layer asked for and never
    runs the language-model head.

    Args:
        prompts: one prompt or several; a prompt is a string or a list of token ids.
        layers: one layer number or several; left out, all.
        positions: "last" for the last token of each prompt, "mean" over its tokens, "all"; or a number
            counted from 0 at the prompt's first token (from -1 at its last); or one number for each prompt,
            such as `token_positions` gives.
        batch_size: prompts in one forward pass, at most; long ones go in smaller batches.
        device: where the result is kept.

    Returns:
        Activations (n_prompts, n_layers, d_model) in the model's dtype. For "all", a list with one
        Activations (n_tokens, n_layers, d_model) per prompt.

    Raises:
        TypeError: a prompt is neither text nor token ids, a layer or position not an int.
        ValueError: no prompts, an empty one, one longer than the model's context, no such layer or position,
            or a model in training mode.

    Example:
        >>> capture(model, tokenizer, ["I am happy", "I am sad"], layers=[0, 1]).shape
        torch.Size([2, 2, 32])
    """
    model, prompts = unwrapped(model), check_prompts(prompts)
    layers, positions = (x.tolist() if hasattr(x, "tolist") else x for x in (layers, positions))
    source, n_layers = identity(model), len(decoder_blocks(model))
    layers = range(n_layers) if layers is None else layers if isinstance(layers, Iterable) else [layers]
    layers = tuple(check_layer(model, layer) for layer in layers)
    if not layers:
        raise ValueError("no layers: name at least one, or leave `layers` out for all of them")
    ids, every, picked = token_ids(tokenizer, prompts), [None] * len(prompts), None
    at = _check_positions(positions, prompts, ids)
    check_fits(model, ids)
    with reading(model):
        for rows in batched([len(row) for row in ids], batch_size):
            batch = [ids[i] for i in rows]
            keep = _keep(at if isinstance(at, str) else [at[i] for i in rows], [*map(len, batch)])
            h = block_outputs(model, tokenizer, batch, layers, keep, rows=rows, total=len(prompts))
            if positions == "all":
                for i, row, states in zip(rows, batch, h, strict=True):
                    states = states[: len(row)].to(device, copy=True)  # no view that keeps the batch alive
                    every[i] = Activations(states, layers, (prompts[i],) * len(row), source)
            else:
                if picked is None:
                    picked = torch.empty(len(prompts), *h.shape[1:], dtype=h.dtype, device=device)
                picked[rows] = h.to(device)
    return every if positions == "all" else Activations(picked, layers, tuple(prompts), source)


def _keep(at, lengths):
    """A function of h (n_prompts, n_tokens, d_model) that gives what is kept of it."""
    if at == "all":
        return lambda h: h
    if at == "mean":
        return lambda h: torch.stack([row[:n].mean(0) for row, n in zip(h, lengths, strict=True)])
    columns = [n + position if position < 0 else position for n, position in zip(lengths, at, strict=True)]
    return lambda h: h[range(len(lengths)), columns]


def _check_positions(positions, prompts, ids):
    """ "all", "mean", or the position to pick from each prompt, if the prompt has it."""
    if isinstance(positions, str):
        if positions not in ("last", "mean", "all"):
            raise ValueError(f"positions must be 'last', 'mean', 'all' or ints, got {positions!r}")
        return [-1] * len(prompts) if positions == "last" else positions
    each = positions if isinstance(positions, Sequence) else [positions] * len(prompts)
    numbers = [as_int(number, "positions other than words") for number in each]
    if len(numbers) != len(prompts):
        raise ValueError(f"{len(numbers)} positions for {len(prompts)} prompts: give one, or one each")
    for prompt, number, row in zip(prompts, numbers, ids, strict=True):
        if not -len(row) <= number < len(row):
            raise ValueError(f"position {number} is outside {prompt!r}, which has {len(row)} tokens")
    return numbers
