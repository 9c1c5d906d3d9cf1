"""The one place that knows where a model keeps its decoder blocks and what a block returns.

Layer k means the output of decoder block k, counted from 0: the residual stream after that block.
"""

import operator

import torch
from torch import nn


def decoder_blocks(model) -> nn.ModuleList:
    """The model's decoder blocks in order, found by structure and not by name.

    They are the outermost `nn.ModuleList` that has one entry for each of the config's hidden layers:
    `transformer.h` in GPT-2, `model.layers` in Llama.

    Raises:
        TypeError: `model` is not a PyTorch module with a Hugging Face config.
        ValueError: no such list was found, or the model has an encoder.
    """
    if not isinstance(model, nn.Module) or not hasattr(model, "config"):
        raise TypeError(
            f"expected a transformers model, got {type(model).__name__}: load one with load_model()"
        )
    n_layers = model.config.get_text_config(decoder=True).num_hidden_layers
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if not lists or getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(
            f"{type(model).__name__} is no decoder-only model with an nn.ModuleList of {n_layers} blocks "
            "(config.num_hidden_layers): use a model such as GPT-2 or Llama"
        )
    return lists[0]  # modules() walks from the outside in


def decoder(model) -> nn.Module:
    """The module that runs the blocks, without the language-model head: `transformer` in GPT-2."""
    blocks = decoder_blocks(model)
    return next(m for m in model.modules() if any(child is blocks for child in m.children()))


def width(model) -> int:
    """d_model, the number of dimensions of the residual stream."""
    return model.config.get_text_config(decoder=True).hidden_size


def as_int(value, name="layer") -> int:
    """`value` as an int, if it is a whole number of any kind (NumPy's too); else a TypeError."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return operator.index(value)


def check_layer(model, layer) -> int:
    """`layer` as an int, if the model has it; else a TypeError or ValueError."""
    layer, n_layers = as_int(layer), len(decoder_blocks(model))
    if not 0 <= layer < n_layers:
        raise ValueError(
            f"layer {layer} does not exist: this model's layers are 0 to {n_layers - 1}, "
            "each the output of one decoder block"
        )
    return layer


def residual(output) -> torch.Tensor:
    """The residual stream in what a block returned: a tensor or, in older versions and GPT-Neo, a tuple."""
    return output[0] if isinstance(output, tuple) else output


def with_residual(output, h: torch.Tensor):
    """What a block returned, with its residual stream replaced by `h`."""
    return (h, *output[1:]) if isinstance(output, tuple) else h
