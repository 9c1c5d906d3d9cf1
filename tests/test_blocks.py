"""The blocks are found by structure; what is not understood is refused and can be pointed at by hand."""

import pytest
import torch
from by_hand import logits
from conftest import PROMPTS, ROTARY, some_vector, tiny_model
from torch import nn
from transformers import AutoModel, Gemma3Config, Gemma3ForConditionalGeneration, T5Config

from steering_utils import capture, decoder_blocks, set_decoder_blocks, steer
from steering_utils.blocks import decoder, width

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318]])


class Disguised(nn.Module):
    """A GPT-2 whose blocks are in no list that has one entry for each of them."""

    def __init__(self):
        super().__init__()
        self.inner = tiny_model("gpt2")
        self.config = self.inner.config
        self.inner.transformer.h = nn.Sequential(*self.inner.transformer.h)
        self.device, self.dtype = self.inner.device, self.inner.dtype

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)

    def get_input_embeddings(self):
        return self.inner.get_input_embeddings()


@pytest.fixture
def disguised():
    return Disguised().eval()


REFUSED = (
    "cannot tell where the blocks of Disguised are: {} lists, not one, are 4 long as "
    r"config.num_hidden_layers \({}\). Point at them: set_decoder_blocks\(\)"
)


def test_no_list_of_blocks_is_refused(disguised):
    with pytest.raises(ValueError, match=REFUSED.format(0, "none")):
        decoder_blocks(disguised)


def test_two_lists_that_fit_are_refused(disguised):
    disguised.inner.transformer.h = nn.ModuleList(disguised.inner.transformer.h)
    disguised.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(4))
    with pytest.raises(ValueError, match=REFUSED.format(2, "inner.transformer.h of 4, norms of 4")):
        decoder_blocks(disguised)


def test_blocks_pointed_at_by_hand_do_as_those_that_are_found(disguised, tokenizer):
    set_decoder_blocks(disguised, disguised.inner.transformer.h)
    model = tiny_model("gpt2")
    assert torch.equal(*(capture(m, tokenizer, PROMPTS).values for m in (disguised, model)))
    steered = []
    for m in (disguised, model):
        with steer(m, some_vector(), [1.5], positions="last"):
            steered.append(logits(m, IDS))
    assert torch.equal(*steered)


def test_only_blocks_of_the_model_can_be_pointed_at(disguised):
    with pytest.raises(ValueError, match="got 0 blocks: give one or more, all of them parts of the model"):
        set_decoder_blocks(disguised, [])
    with pytest.raises(ValueError, match=r"got 1 blocks: .* all of them parts of the model"):
        set_decoder_blocks(disguised, [nn.Linear(2, 2)])
    with pytest.raises(ValueError, match="cannot tell where"):
        decoder_blocks(disguised)


def test_a_block_that_returns_no_residual_stream_is_named(disguised, tokenizer):
    set_decoder_blocks(disguised, [disguised.inner])
    with pytest.raises(
        TypeError, match=r"a block gave a CausalLM.*, no residual stream: use set_decoder_blocks"
    ):
        capture(disguised, tokenizer, "I am")


def test_an_encoder_is_refused():
    model = AutoModel.from_config(T5Config(num_layers=2, d_model=8, vocab_size=9))
    with pytest.raises(ValueError, match="T5Model has an encoder: use a decoder-only model such as GPT-2"):
        decoder_blocks(model)


def test_an_image_tower_of_the_same_depth_is_not_taken_for_the_text_model():
    text = ROTARY | {"head_dim": 8, "num_hidden_layers": 2, "vocab_size": 99, "pad_token_id": 0}
    vision = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "image_size": 28}
    config = Gemma3Config(text_config=text, vision_config=vision | {"patch_size": 14}, image_token_index=98)
    model = Gemma3ForConditionalGeneration(config).eval()
    assert [type(block).__name__ for block in decoder_blocks(model)] == ["Gemma3DecoderLayer"] * 2
    assert type(decoder(model)).__name__ == "Gemma3TextModel"
    assert width(model) == 32


def test_a_list_inside_a_block_does_not_count():
    model = tiny_model("gpt2")
    decoder_blocks(model)[0].mlp.experts = nn.ModuleList(nn.Linear(1, 1) for _ in range(4))
    assert len(decoder_blocks(model)) == 4
    assert type(decoder_blocks(model)[0]).__name__ == "GPT2Block"
    assert decoder(model) is model.transformer
