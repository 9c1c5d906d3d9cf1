"""Where a model keeps its decoder blocks, what a block returns, and the model that runs inside a wrapper.

Layer k means the output of decoder block k, counted from 0: the residual stream after that block.
"""

import operator
import weakref

import torch
from torch import nn

_by_hand = weakref.WeakKeyDictionary()  # model -> its blocks, where set_decoder_blocks said so


def unwrapped(model) -> nn.Module:
    """The model that runs, where `torch.compile` or `DataParallel` has put another object around it.

    Raises:
        TypeError: not a PyTorch module with a Hugging Face config, but a pipeline, say, or a traced model.
        ValueError: one whose passes hooks cannot follow: spread over several devices by copying, or with a
            learned prompt, whose columns are not those of the input.
    """
    inner = model
    while isinstance(inner, nn.Module) and not isinstance(inner, torch.jit.ScriptModule):
        if len(getattr(inner, "device_ids", None) or []) > 1:
            raise ValueError("DataParallel copies the model without its hooks at each pass: give its .module")
        model, parts = inner, inner._modules
        inner = parts.get("_orig_mod", parts.get("module"))  # of torch.compile, of DataParallel
    if isinstance(inner, torch.jit.ScriptModule):
        raise TypeError("a traced or scripted model runs no hooks: give the model that it was made from")
    if not isinstance(model, nn.Module) or not hasattr(model, "config"):
        inside = isinstance(getattr(model, "model", None), nn.Module)
        remedy = "give the model in it, its .model" if inside else "load one with load_model()"
        raise TypeError(f"expected a transformers model, got {type(model).__name__}: {remedy}")
    adapters = (getattr(model, "peft_config", None) or {}).values()
    if any(getattr(adapter, "is_prompt_learning", False) for adapter in adapters):
        raise ValueError("a learned prompt shifts the positions of the input: use an adapter such as LoRA")
    return model


def decoder_blocks(model) -> list[nn.Module]:
    """The model's decoder blocks in order, found by structure and not by name.

    They are the one outermost `nn.ModuleList` with an entry for each of the config's hidden layers:
    `transformer.h` in GPT-2, `model.layers` in Llama.

    Raises:
        TypeError: `model` is not a PyTorch module with a Hugging Face config.
        ValueError: no such list was found, or several, or the model has an encoder.

    Example:
        >>> [type(block).__name__ for block in decoder_blocks(model)[:2]]
        ['GPT2Block', 'GPT2Block']
    """
    model = unwrapped(model)
    if model in _by_hand:
        return list(_by_hand[model])
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(f"{type(model).__name__} has an encoder: use a decoder-only model such as GPT-2")
    n_layers = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    text_part = model.get_decoder() if hasattr(model, "get_decoder") else model  # leaves image towers out
    lists = _outermost_lists(text_part)
    fitting = [blocks for blocks in lists.values() if len(blocks) == n_layers]
    if len(fitting) != 1:
        seen = ", ".join(f"{name} of {len(blocks)}" for name, blocks in lists.items()) or "none"
        raise ValueError(
            f"cannot tell where the blocks of {type(model).__name__} are: {len(fitting)} lists, not one"
            f", are {n_layers} long as config.num_hidden_layers ({seen}). Point at them: set_decoder_blocks()"
        )
    return [getattr(block, "_orig_mod", block) for block in fitting[0]]  # each may be compiled by itself


def set_decoder_blocks(model, blocks):
    """Say by hand which modules are the decoder blocks, for a structure that is not understood.

    Args:
        blocks: the modules in the order in which they run, such as `model.backbone.layers`. Each must return
            the residual stream, (n_rows, n_tokens, d_model), alone or first in a tuple or list.

    Raises:
        ValueError: no blocks, or one that is not a part of the model.

    Example:
        >>> set_decoder_blocks(model, model.transformer.h)
    """
    model, blocks = unwrapped(model), list(blocks)
    if not blocks or not {*model.modules()} - {model} >= {*blocks}:
        raise ValueError(f"got {len(blocks)} blocks: give one or more, all of them parts of the model")
    _by_hand[model] = blocks


def _outermost_lists(module, name="") -> dict[str, nn.ModuleList]:
    """Each `nn.ModuleList` under `module` that is in no other one, by its name."""
    if isinstance(module, nn.ModuleList):
        return {name: module}
    parts = (_outermost_lists(child, f"{name}.{key}".strip(".")) for key, child in module.named_children())
    return {path: blocks for part in parts for path, blocks in part.items()}


def decoder(model) -> nn.Module:
    """The module that runs the blocks, without the language-model head: `transformer` in GPT-2."""
    blocks, model = decoder_blocks(model), unwrapped(model)
    holders = (m for m in model.modules() if m not in blocks and set(m.modules()).issuperset(blocks))
    # modules() walks from the outside in; a list holds the blocks, but is never called
    return [m for m in holders if not isinstance(m, nn.ModuleList | nn.Sequential)][-1]


def width(model) -> int:
    """d_model, the number of dimensions of the residual stream."""
    model = unwrapped(model)
    config = model.config.get_text_config(decoder=True)
    return getattr(config, "hidden_size", None) or model.get_input_embeddings().weight.shape[1]


def as_int(value, name="layer") -> int:
    """`value` as an int, if it is a whole number of any kind (NumPy's too); else a TypeError."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return operator.index(value)


def check_eval(model):
    """Refuse a model in training mode with a ValueError."""
    if model.training:
        raise ValueError("the model is in training mode, where dropout adds noise: call model.eval()")


def check_layer(model, layer) -> int:
    """`layer` as an int, if the model has it; else a TypeError or ValueError."""
    layer, n_layers = as_int(layer), len(decoder_blocks(model))
    if not 0 <= layer < n_layers:
        raise ValueError(f"layer {layer} does not exist: this model's layers are 0 to {n_layers - 1}")
    return layer


def residual(output) -> torch.Tensor:
    """The residual stream in what a block returned: a tensor or, by version and family, a tuple or list."""
    h = output[0] if isinstance(output, tuple | list) else output
    if isinstance(h, torch.Tensor) and h.ndim == 3:
        return h
    raise TypeError(f"a block gave a {type(h).__name__}, no residual stream: use set_decoder_blocks()")


def with_residual(output, h: torch.Tensor):
    """What a block returned, with its residual stream replaced by `h`."""
    return type(output)([h, *output[1:]]) if isinstance(output, tuple | list) else h
