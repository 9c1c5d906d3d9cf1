"""Reading activations: the residual stream after each decoder block, by forward hooks."""

import contextlib
from collections.abc import Iterable

import torch
from tqdm.auto import tqdm

from .blocks import as_int, check_eval, check_layer, decoder_blocks, residual
from .models import identity
from .tokens import batches, check_prompts, pad, token_ids

STRETCH = 1_000  # prompts that are tokenized and sorted by length together


class Activations(torch.Tensor):
    """A tensor (n_prompts, n_layers, d_model) that knows where it comes from.

    Picking prompts with one index keeps that; every other operation gives an ordinary tensor.

    Attributes:
        layers: the layer number of each column.
        prompts: the prompt of each row.
        source: the model's name and revision.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # as nn.Parameter does

    @classmethod
    def of(cls, values, layers, prompts, source):
        """`values` as Activations, sharing their memory."""
        made = values.as_subclass(cls)
        made.layers, made.prompts, made.source = tuple(layers), tuple(prompts), dict(source)
        return made

    def __getitem__(self, index):
        picked = super().__getitem__(index)
        if isinstance(index, tuple) or picked.ndim != self.ndim:
            return picked
        rows = torch.arange(len(self))[index].tolist()
        return Activations.of(picked, self.layers, [self.prompts[i] for i in rows], self.source)


class _Done(Exception):
    """Raised by the deepest hook: nothing after that block is needed."""


def capture(
    model, tokenizer, prompts, layers=None, *, positions="last", batch_size=32, device="cpu", progress=False
):
    """The residual stream after each block, for each prompt.

    The prompts are padded on the right, where a causal model cannot see the padding, so that the result is
    that of one prompt at a time. The forward pass ends at the deepest layer asked for and never
    runs the language-model head.

    Args:
        prompts: one string or a sequence of strings.
        layers: one layer number or several; left out, all.
        positions: "last" for the last token of each prompt, "mean" over its tokens, "all", or a number
            counted from 0 at the prompt's first token (from -1 at its last).
        batch_size: prompts in one forward pass.
        device: where the result is kept.
        progress: show a progress bar.

    Returns:
        Activations (n_prompts, n_layers, d_model) in the model's dtype. For "all", a list with one
        Activations (n_tokens, n_layers, d_model) per prompt.

    Raises:
        TypeError: a prompt is not a string, a layer or position not an int.
        ValueError: no prompts, an empty one, no such layer or position, or a model in training mode.

    Example:
        >>> capture(model, tokenizer, ["I am happy", "I am sad"], layers=[0, 1]).shape
        torch.Size([2, 2, 32])
    """
    prompts = check_prompts(prompts)
    every = range(len(decoder_blocks(model)))
    layers = every if layers is None else layers if isinstance(layers, Iterable) else [layers]
    layers = [check_layer(model, layer) for layer in layers]
    if not layers:
        raise ValueError("no layers: name at least one, or leave `layers` out for all of them")
    check_eval(model)
    position = _check_position(positions, tokenizer, prompts)
    source, every, picked = identity(model), [None] * len(prompts), None
    with tqdm(total=len(prompts), disable=not progress, desc="capture") as bar:
        for rows, ids in _alike_in_length(tokenizer, prompts, batch_size):
            inputs = pad(tokenizer, ids, device=model.device)
            lengths = [len(tokens) for tokens in ids]
            found = _forward(model, inputs, layers, _keep(positions, position, lengths))
            if positions == "all":
                for i, n_tokens, h in zip(rows, lengths, found, strict=True):
                    h = h[:n_tokens].to(device, copy=True)  # not a view that keeps the whole batch alive
                    every[i] = Activations.of(h, layers, [prompts[i]] * n_tokens, source)
            else:
                if picked is None:
                    picked = torch.empty(len(prompts), *found.shape[1:], dtype=found.dtype, device=device)
                picked[rows] = found.to(device)
            bar.update(len(rows))
    return every if positions == "all" else Activations.of(picked, layers, prompts, source)


def _alike_in_length(tokenizer, prompts, batch_size):
    """Batches as (the prompts' numbers, their token ids), sorted by length in one stretch after another.

    So there is little padding, and the tokens of thousands of prompts are never held at once.
    """
    for stretch in batches(range(len(prompts)), STRETCH):
        ids = dict(zip(stretch, token_ids(tokenizer, [prompts[i] for i in stretch]), strict=True))
        for batch in batches(sorted(stretch, key=lambda i: len(ids[i])), batch_size):
            rows = sorted(batch)  # in the caller's order, which is that of a steering alpha per row
            yield rows, [ids[i] for i in rows]


def _keep(positions, position, lengths):
    """A function of h (n_prompts, n_tokens, d_model) that gives what is kept of it."""
    if positions == "all":
        return lambda h: h
    if positions == "mean":
        return lambda h: torch.stack([row[:n].mean(0) for row, n in zip(h, lengths, strict=True)])
    columns = [n + position if position < 0 else position for n in lengths]
    return lambda h: h[range(len(lengths)), columns]


def _check_position(positions, tokenizer, prompts) -> int:
    """The position to pick from each prompt, if all of them have it."""
    if isinstance(positions, str):
        if positions not in ("last", "mean", "all"):
            raise ValueError(f"positions must be 'last', 'mean', 'all' or an int, got {positions!r}")
        return -1
    position = as_int(positions, "positions other than words")
    for prompt, tokens in zip(prompts, token_ids(tokenizer, prompts), strict=True):
        if not -len(tokens) <= position < len(tokens):
            raise ValueError(
                f"position {position} is outside {prompt!r}, which has {len(tokens)} tokens: "
                "choose one that every prompt has"
            )
    return position


@torch.no_grad()
def _forward(model, inputs, layers, keep):
    """What `keep` leaves of each layer in one batch: (n_prompts, …, n_layers, d_model)."""
    found, deepest, blocks = {}, max(layers), decoder_blocks(model)

    def reader(layer):
        def hook(module, args, output):
            found[layer] = keep(residual(output))
            if layer == deepest:
                raise _Done

        return hook

    with contextlib.ExitStack() as hooks:
        for layer in set(layers):
            hooks.callback(blocks[layer].register_forward_hook(reader(layer)).remove)
        hooks.enter_context(contextlib.suppress(_Done))
        model(**inputs, use_cache=False)
    first = found[layers[0]].device  # blocks may lie on several devices
    return torch.stack([found[layer].to(first) for layer in layers], dim=-2)


def residual_norms(model, tokenizer, texts):
    """The median length of the residual stream at each layer, first position of each text left out.

    The first position is an outlier in many models (in GPT-2 it is larger by a factor of about 30),
    which is why strengths are measured against the others.

    Returns:
        Tensor (n_layers,), in the units of the residual stream.

    Raises:
        ValueError: no text has a second token; and as `capture` does.
    """
    tokens = torch.cat([a[1:] for a in capture(model, tokenizer, texts, positions="all")])
    if not len(tokens):
        raise ValueError("every text is a single token: give texts of at least two tokens")
    return tokens.float().norm(dim=-1).median(dim=0).values
