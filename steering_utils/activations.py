"""Reading activations: the residual stream after each decoder block, by forward hooks."""

import contextlib

import torch
from tqdm.auto import tqdm

from .blocks import check_layer, decoder_blocks, residual
from .models import identity
from .tokens import check_prompts, encode


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
        layers: layer numbers, each the output of that decoder block; left out, all of them.
        positions: "last" for the last token of each prompt, "mean" over its tokens, "all", or a
            position counted from 0 at the prompt's first token (from -1 at its last).
        batch_size: prompts in one forward pass.
        device: where the result is kept.
        progress: show a progress bar.

    Returns:
        Activations (n_prompts, n_layers, d_model) in the model's dtype. For "all", a list with one
        Activations (n_tokens, n_layers, d_model) per prompt.

    Raises:
        TypeError: a prompt is not a string, a layer not an int.
        ValueError: no prompts, an empty one, no such layer or position, or a model in training mode.

    Example:
        >>> capture(model, tokenizer, ["I am happy", "I am sad"], layers=[0, 1]).shape
        torch.Size([2, 2, 32])
    """
    prompts = check_prompts(prompts)
    layers = range(len(decoder_blocks(model))) if layers is None else layers
    layers = [check_layer(model, layer) for layer in layers]
    if not layers:
        raise ValueError("no layers: name at least one, or leave `layers` out for all of them")
    if model.training:
        raise ValueError("the model is in training mode, where dropout adds noise: call model.eval()")
    _check_positions(positions)
    lengths = [len(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    by_length = sorted(range(len(prompts)), key=lengths.__getitem__)  # little padding in each batch
    rows = [None] * len(prompts)
    for start in tqdm(range(0, len(prompts), batch_size), disable=not progress, desc="capture"):
        batch = by_length[start : start + batch_size]
        h, mask = _forward(model, encode(tokenizer, [prompts[i] for i in batch], device=model.device), layers)
        for i, tokens, real in zip(batch, h, mask.sum(1).tolist(), strict=True):
            rows[i] = _pick(tokens[:real], positions, prompts[i]).to(device)
    source = identity(model)
    if positions == "all":
        return [
            Activations.of(row, layers, [prompt] * len(row), source)
            for row, prompt in zip(rows, prompts, strict=True)
        ]
    return Activations.of(torch.stack(rows), layers, prompts, source)


@torch.no_grad()
def _forward(model, inputs, layers):
    """Residual streams (n_prompts, n_tokens, n_layers, d_model) and the attention mask of one batch."""
    found, blocks = {}, decoder_blocks(model)

    def keep(layer):
        def hook(module, args, output):
            found[layer] = residual(output)
            if layer == max(layers):
                raise _Done

        return hook

    handles = [blocks[layer].register_forward_hook(keep(layer)) for layer in set(layers)]
    try:
        with contextlib.suppress(_Done):
            model.base_model(**inputs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    first = found[layers[0]].device  # blocks may lie on several devices
    return torch.stack([found[k].to(first) for k in layers], dim=2), inputs["attention_mask"]


def _check_positions(positions):
    if isinstance(positions, bool) or not (
        positions in ("last", "mean", "all") or isinstance(positions, int)
    ):
        raise ValueError(f"positions must be 'last', 'mean', 'all' or an int, got {positions!r}")


def _pick(tokens, positions, prompt):
    """From one prompt's (n_tokens, n_layers, d_model), what was asked for."""
    if positions == "all":
        return tokens.clone()  # not a view that keeps the whole batch alive
    if positions == "mean":
        return tokens.mean(0)
    position = -1 if positions == "last" else positions
    if not -len(tokens) <= position < len(tokens):
        raise ValueError(f"position {position} is outside {prompt!r}, which has {len(tokens)} tokens")
    return tokens[position].clone()


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
