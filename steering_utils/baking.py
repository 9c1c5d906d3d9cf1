"""Baked steering: alpha * v folded into the weights, so that the model steers itself with no hook."""

import contextlib
import copy
import weakref

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from .blocks import check_eval, decoder_blocks, residual, unwrapped
from .steering import check_alpha, check_vector

PROBE = torch.arange(1, 9)[None]  # any token ids will do
_baked = weakref.WeakKeyDictionary()  # model -> {(module, name of its part): what was there}


def bake(model, vector, alpha=1.0):
    """Make h' = h + alpha * v at the output of block `vector.layer` a part of the weights, in place.

    Does what `steer` does for one alpha at all positions, with no hook. alpha * v goes into the bias of
    the map that the block ends in; a map without a bias gets one, and a norm that the block ends in
    (Gemma) is followed by one. Several bakes add up; `unbake` takes all of them out.

    Raises:
        TypeError, ValueError: as `steer` does, before anything is changed; also for more than one alpha, a
            model in training mode, or a block in which nothing reaches the residual stream directly.

    Example:
        >>> bake(model, SteeringVector(torch.ones(32), layer=1), alpha=2.0)
        >>> unbake(model)
    """
    model = unwrapped(model)
    check_vector(model, vector)
    scale, by_row = check_alpha(alpha, [vector], model.dtype)
    if by_row:
        raise ValueError(f"alpha must be one number to be baked in, got {alpha!r}: for one per row use steer")
    check_eval(model)
    parent, name = _find_output(model, decoder_blocks(model)[vector.layer])
    module, originals = getattr(parent, name), _baked.setdefault(model, {})
    shift, dtype = scale.detach()[0] * vector.values.to(module.weight.device), module.weight.dtype
    if hasattr(module, "bias"):
        originals.setdefault((module, "bias"), module.bias)
        bias = shift if module.bias is None else module.bias + shift  # in float32 at least
        module.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    else:
        originals.setdefault((parent, name), module)
        setattr(parent, name, nn.Sequential(module, Shift(shift.to(dtype))))


def unbake(model):
    """Take out all that `bake` put in: the weights are then bit for bit what they were.

    Raises:
        ValueError: nothing is baked into this model.
    """
    model = _check_baked(model)
    for (module, name), original in _baked.pop(model).items():
        setattr(module, name, original)


def save_baked(model, folder):
    """Write a baked model as a plain checkpoint, which `from_pretrained` loads with no code of ours.

    A checkpoint can keep a bias only where the model's config has a place for it. GPT-2, GPT-Neo, GPT-NeoX,
    OPT, Bloom and Phi have one. Llama and Falcon have theirs switched on, with zeros where nothing was
    added. Mistral and Qwen2 without a sliding window are written as the Llama model that they are equal to.
    Which way is right is found by trial, and the logits must agree before anything is written. The tokenizer
    is not: save it there too, with `tokenizer.save_pretrained(folder)`.

    Raises:
        ValueError: nothing is baked into this model, it is in training mode, or no config has a place for the
            bias.
    """
    model = _check_baked(model)
    check_eval(model)
    for config in _configs(model.config):
        if plain := _rebuild(model, config):
            return plain.save_pretrained(folder)
    raise ValueError(
        f"no config has a place for a bias in this part of {type(model).__name__}: save the model and the "
        "SteeringVector apart, and bake it in after loading both"
    )


class Shift(nn.Module):
    """Adds a constant to what the module before it gave."""

    def __init__(self, bias):
        super().__init__()
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x):
        """x (…, d_model) -> x + bias."""
        return x + self.bias


def _check_baked(model):
    model = unwrapped(model)
    if not _baked.get(model):
        raise ValueError("nothing is baked into this model: call bake(model, vector, alpha) first")
    return model


@torch.no_grad()
def _find_output(model, block):
    """(parent, name) of a module in the block whose output reaches the residual stream as it is.

    Found by trial on a copy in float32: a shift of its output must be the same shift of the block's
    output. Maps with a bias come first, then those without, then norms.
    """
    calls = []
    with block.register_forward_pre_hook(
        lambda m, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    ):
        model(PROBE.to(model.device), use_cache=False)
    twin = copy.deepcopy(block).float()
    args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, _float, calls[0])
    before = residual(twin(*args, **kwargs))
    draw = torch.randn(before.shape[-1], generator=torch.Generator().manual_seed(0))
    shift = before.std() * draw.to(before)
    found = []
    for path, module in list(twin.named_modules())[1:]:
        weight = module._parameters.get("weight")  # its own: an adapter only hands on that of what it wraps
        if weight is None or len(shift) not in weight.shape:
            continue
        with contextlib.suppress(RuntimeError, TypeError):  # its output is not one tensor of that width
            with module.register_forward_hook(lambda m, args, output: output + shift):
                after = residual(twin(*args, **kwargs))
            if (after - before - shift).abs().max() < 1e-3 * shift.abs().max():
                rank = 2 if weight.ndim < 2 else int(module.bias is None)
                found.append((rank, path))
    if not found:
        raise ValueError(f"no part of {type(block).__name__} has a bias that is the block's own: use steer")
    path, _, name = min(found)[1].rpartition(".")
    return block.get_submodule(path), name


def _float(x):
    return x.float() if x.is_floating_point() else x


def _configs(config):
    """The model's config, then the same with switches for biases on, then that as a Llama's."""
    yield config
    families, settings = [config], config.to_dict()
    # under GPT-2's other names for its sizes, the Llama would get those of Llama 7B
    if getattr(config, "sliding_window", None) is None and "intermediate_size" in settings:
        known = AutoConfig.for_model("llama").to_dict().keys() - {"model_type", "architectures"}
        settings = {name: value for name, value in settings.items() if name in known}
        families.append(AutoConfig.for_model("llama", **settings))
    for family in families:
        switches = [k for k, v in family.to_dict().items() if k.endswith("bias") and v is False]
        for chosen in [*([name] for name in switches), switches]:
            yield type(family)(**family.to_dict() | dict.fromkeys(chosen, True))


@torch.no_grad()
def _rebuild(model, config):
    """The model built anew from `config`, with zeros for biases that it did not have; None if it differs."""
    plain = AutoModelForCausalLM.from_config(config).to(model.device, model.dtype).eval()
    state, places = model.state_dict(), plain.state_dict()
    added = places.keys() - state.keys()
    if state.keys() - places.keys() or not all(name.endswith(".bias") for name in added):
        return None
    plain.load_state_dict(state | {name: torch.zeros_like(places[name]) for name in added})
    plain.generation_config = model.generation_config
    old, new = (m(PROBE.to(m.device)).logits.float() for m in (model, plain))
    return plain if torch.allclose(old, new, rtol=1e-3, atol=1e-3) else None
