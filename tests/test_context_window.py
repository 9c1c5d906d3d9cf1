"""Prompts beyond the model's context are refused where it has no positions for them, before anything runs."""

import warnings

import pytest
import torch
from conftest import ROTARY, SMALL, hooks_on, some_vector, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from steering_utils import (
    capture,
    continuation_kl,
    continuation_nll,
    generate,
    next_token_logits,
    residual_norms,
    steer,
)

LIMIT = 16
STORED = {  # positions are rows of a table
    "gpt2": SMALL,
    "gpt_neo": SMALL | {"num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]]},
    "opt": SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.3},
    "gptj": SMALL | {"rotary_dim": 4, "n_inner": 64},
    "gpt_bigcode": SMALL | {"n_layer": 4, "n_head": 4, "n_embd": 32},
}
ROTATED = {  # positions are computed
    "llama": ROTARY,
    "gpt_neox": SMALL | {"intermediate_size": 64},
    "qwen2": ROTARY,
    "mistral": ROTARY | {"sliding_window": None},
    "phi": ROTARY,
}
FREE = {  # nothing ends there
    "bloom": SMALL | {"n_layer": 4, "n_head": 4},
    "falcon": SMALL | {"alibi": True},
    "mistral": ROTARY | {"sliding_window": 4},
    "mamba": SMALL | {"state_size": 4},
    "mamba2": SMALL | {"state_size": 4, "num_heads": 4, "head_dim": 16, "expand": 2, "n_groups": 1},
}


def made(kind, settings):
    """A tiny model with LIMIT positions."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **settings)
    if hasattr(config, "max_position_embeddings"):
        config.max_position_embeddings = LIMIT
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module", params=STORED)
def stored(request):
    return made(request.param, STORED[request.param])


def words(n):
    """A text of n tokens."""
    return " ".join(["no"] * n)


def kl(steering, tokenizer, prompts):
    """The KL at one token after each prompt; a `steer` that was refused its texts need not warn."""
    with steering:
        pass
    return continuation_kl(steering, tokenizer, prompts, [" no"] * len(prompts))


READS = {  # reads of prompts of so many tokens
    "capture": lambda m, t, *n: capture(m, t, [words(i) for i in n], layers=0),
    "capture, one at a time": lambda m, t, *n: capture(m, t, [words(i) for i in n], layers=0, batch_size=1),
    "capture, all": lambda m, t, *n: capture(m, t, [words(i) for i in n], positions="all"),
    "residual_norms": lambda m, t, *n: residual_norms(m, t, [words(i) for i in n]),
    "next_token_logits": lambda m, t, *n: next_token_logits(m, t, [words(i) for i in n]),
    "token ids": lambda m, t, *n: next_token_logits(m, t, [[5] * i for i in n]),
    "nll, prompt": lambda m, t, *n: continuation_nll(m, t, [words(i - 1) for i in n], [" no"] * len(n)),
    "nll, text": lambda m, t, *n: continuation_nll(m, t, ["no"] * len(n), [" " + words(i - 1) for i in n]),
    "kl": lambda m, t, *n: kl(steer(m, some_vector()), t, [words(i - 1) for i in n]),
    "generate": lambda m, t, *n: generate(m, t, [words(i - 3) for i in n], max_new_tokens=4),
    "greedy": lambda m, t, *n: generate(m, t, [words(i - 3) for i in n], max_new_tokens=4, temperature=0),
    "one new": lambda m, t, *n: generate(m, t, [words(i) for i in n], max_new_tokens=1),
}


@pytest.mark.parametrize("read", READS)
def test_exactly_at_the_limit_it_works_and_one_token_beyond_it_is_refused(stored, tokenizer, read):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        READS[read](stored, tokenizer, LIMIT, 5)
        READS[read](stored, tokenizer, 5, LIMIT)
    runs = []
    with stored.register_forward_pre_hook(lambda m, args: runs.append(1)):
        for n in ((5, LIMIT + 1), (LIMIT + 1, 5), (LIMIT + 9,)):
            with pytest.raises(
                ValueError, match=rf"than the {LIMIT} positions of {type(stored).__name__}: sh"
            ):
                READS[read](stored, tokenizer, *n)
    assert not runs  # not even for the short ones
    assert hooks_on(stored) == 0


def test_padding_does_not_count(stored, tokenizer):
    """A row in a padded batch has as many positions as it has tokens of its own."""
    together = generate(stored, tokenizer, [words(LIMIT - 2), "no"], max_new_tokens=3, temperature=0)
    assert together[0] == generate(stored, tokenizer, words(LIMIT - 2), max_new_tokens=3, temperature=0)[0]


def test_the_message_says_what_to_shorten(stored, tokenizer):
    with pytest.raises(ValueError, match=r"17 prompt tokens are more than the 16 .*: shorten the prompt$"):
        next_token_logits(stored, tokenizer, words(17))
    message = "12 prompt tokens and 6 new ones are more than the 16 .*: shorten the prompt or max_new_tokens$"
    with pytest.raises(ValueError, match=message):
        generate(stored, tokenizer, words(12), max_new_tokens=6)
    with pytest.raises(ValueError, match=message), steer(stored, some_vector()):
        generate(stored, tokenizer, words(12), max_new_tokens=6)


@pytest.mark.parametrize("kind", ROTATED)
@pytest.mark.parametrize("read", ["capture", "next_token_logits", "nll, text", "generate"])
def test_rotary_positions_warn_beyond_what_was_trained(tokenizer, kind, read):
    model = made(kind, ROTATED[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        READS[read](model, tokenizer, 5, LIMIT)
    with pytest.warns(UserWarning, match=f"more than the {LIMIT} positions of .* that it was trained with"):
        READS[read](model, tokenizer, 5, LIMIT + 1)


def test_a_read_warns_once(tokenizer):
    model = made("llama", ROTATED["llama"])
    for read in ("capture", "next_token_logits", "nll, text", "generate"):
        with pytest.warns(UserWarning, match="more than the 16 positions") as seen:
            READS[read](model, tokenizer, LIMIT + 1)
        assert len(seen) == 1


@pytest.mark.parametrize("kind", FREE)
@pytest.mark.parametrize("read", ["capture", "next_token_logits", "nll, text", "generate"])
def test_others_go_on(tokenizer, kind, read):
    model = made(kind, FREE[kind])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*positions of.*")
        READS[read](model, tokenizer, 5, 2 * LIMIT)


def test_the_real_limit_of_gpt2(tokenizer):
    model = tiny_model("gpt2")  # 1,024 positions
    assert next_token_logits(model, tokenizer, words(1024)).shape == (1, 50257)
    with pytest.raises(ValueError, match="1025 prompt tokens are more than the 1024 positions of GPT2LMHead"):
        next_token_logits(model, tokenizer, words(1025))
    assert len(generate(model, tokenizer, words(1020), max_new_tokens=5, temperature=0)) == 1
    with pytest.raises(ValueError, match="1020 prompt tokens and 6 new ones are more than the 1024"):
        generate(model, tokenizer, words(1020), max_new_tokens=6)
