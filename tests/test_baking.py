"""What is baked in steers without a hook, adds up, and comes out exactly; wrong input changes nothing."""

import pytest
import torch
from by_hand import close, greedy, logits
from conftest import PROMPTS, hooks_on, some_vector, tiny_model
from torch import nn

from steering_utils import SteeringVector, decoder_blocks, set_decoder_blocks, steer
from steering_utils.baking import _configs, bake, save_baked, unbake

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318], [1026, 373, 257, 845, 922, 1110]])


@pytest.fixture(params=["gpt2", "llama", "gemma2"])  # a bias; none; a norm at the end
def model(request):
    return tiny_model(request.param)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_generation_is_that_of_the_hook(model, tokenizer):
    with steer(model, some_vector(), 1.5):
        wanted, steered = greedy(model, tokenizer, PROMPTS)
    bake(model, some_vector(), 1.5)
    ids, baked = greedy(model, tokenizer, PROMPTS)
    assert torch.equal(ids, wanted)
    close(baked, steered)
    assert hooks_on(model) == 0


def test_bakes_add_up_and_come_out_together(model):
    before, state = logits(model, IDS), weights(model)
    u, v, w = some_vector(1), some_vector(1, seed=1), some_vector(3, seed=2)
    with steer(model, [u, v, w], 0.5):
        wanted = logits(model, IDS)
    for vector in (u, v, w):
        bake(model, vector, 0.5)
    close(logits(model, IDS), wanted, atol=2e-5)
    unbake(model)
    assert same(weights(model), state)
    assert torch.equal(logits(model, IDS), before)
    with pytest.raises(ValueError, match="nothing is baked into this model"):
        unbake(model)


def test_a_hook_works_on_top_of_it(model):
    with steer(model, some_vector(), 2.0):
        wanted = logits(model, IDS)
    bake(model, some_vector(), 1.5)
    with steer(model, some_vector(), 0.5):
        close(logits(model, IDS), wanted, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(model, dtype):
    model.to(dtype)
    state = weights(model)
    with steer(model, some_vector(), 1.5):
        wanted = logits(model, IDS)
    bake(model, some_vector(), 1.5)
    assert {value.dtype for value in model.state_dict().values()} == {dtype}
    close(logits(model, IDS).double(), wanted.double(), atol=50 * torch.finfo(dtype).eps + 1e-6)
    unbake(model)
    assert same(weights(model), state)


def test_a_bias_is_not_rounded_on_the_way():
    projection = decoder_blocks(model := tiny_model("gpt2").double())[1].mlp.c_proj
    bias = nn.init.normal_(projection.bias).detach().clone()
    bake(model, some_vector(), 1.5)
    assert torch.equal(projection.bias, bias + 1.5 * some_vector().values)


@pytest.mark.parametrize(
    "vector, alpha, error, message",
    [
        (some_vector(4), 1.0, ValueError, "layer 4 does not exist: this model's layers are 0 to 3"),
        (some_vector(width=31), 1.0, ValueError, "the vector is 31 wide, the stream 32"),
        (
            SteeringVector(torch.ones(32), 1, model="x"),
            1.0,
            ValueError,
            "vector is from 'x', the model is 'y'",
        ),
        (torch.ones(32), 1.0, TypeError, "expected a SteeringVector, got Tensor"),
        (some_vector(), float("nan"), ValueError, "alpha must be a finite number, .*; got nan"),
        (some_vector(), 3e38, ValueError, r"alpha 3e\+38 times the vector overflows torch.float32"),
        (some_vector(), [1.0, 2.0], ValueError, r"one number to be baked in, got \[1.0, 2.0\]: .* use steer"),
        (some_vector(), None, TypeError, "alpha must be a finite number, .*; got None"),
    ],
)
def test_wrong_input_changes_nothing(model, vector, alpha, error, message):
    model.name_or_path, state = "y", weights(model)
    with pytest.raises(error, match=message):
        bake(model, vector, alpha)
    assert same(weights(model), state)
    with pytest.raises(ValueError, match="nothing is baked into this model: call bake"):
        save_baked(model, "nowhere")


def test_training_mode_is_refused(model, tmp_path):
    state = weights(model)
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        bake(model.train(), some_vector())
    assert same(weights(model), state)
    bake(model.eval(), some_vector())
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        save_baked(model.train(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_llama_is_tried_in_the_models_own_size_only():
    sizes = [config.to_dict().get("hidden_size", 32) for config in _configs(tiny_model("gpt2").config)]
    assert set(sizes) == {32}  # Llama 7B's is 4,096


def test_a_block_with_no_place_for_a_bias_is_refused():
    model = tiny_model("gpt2")

    class Halved(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, *args, **kwargs):
            output = self.block(*args, **kwargs)
            return (output[0] / 2, *output[1:]) if isinstance(output, tuple) else output / 2

    model.transformer.h[1] = Halved(decoder_blocks(model)[1])
    set_decoder_blocks(model, model.transformer.h)
    before = weights(model)
    with pytest.raises(ValueError, match="no part of Halved has a bias that is the block's own: use steer"):
        bake(model, some_vector(), 1.0)
    assert same(weights(model), before)
    assert hooks_on(model) == 0
