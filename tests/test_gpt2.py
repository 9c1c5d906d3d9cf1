"""GPT-2 itself, against numbers published about it.

Each number below is a cited fact about openai-community/gpt2, and none was measured for this book: the tests
check that the model that is loaded is that one and is read the right way. They run when its weights are in
the cache, and download nothing.
"""

from pathlib import Path

import pytest
import torch
from huggingface_hub import try_to_load_from_cache

from steering_utils import capture, load_model
from steering_utils.loading import GPT2, GPT2_REVISION, _is_whole
from steering_utils.pages.texts import NEUTRAL_TEXTS, SENTIMENT_PAIRS

MASSIVE = 447  # the dimension in which the first position is so large
FIRST_POSITION = [99, 616, 2480, 2656, 2800, 2896, 2960, 2992, 3008, 3024, 3024, 364]  # max |h| by layer


@pytest.fixture(scope="module")
def gpt2():
    config = try_to_load_from_cache(GPT2, "config.json", revision=GPT2_REVISION)
    if not isinstance(config, str) or not _is_whole(Path(config).parent):
        pytest.skip("GPT-2's weights are not in the cache: run `make gpt2` where the model hub is in reach")
    return load_model("gpt2", device="cpu")


@pytest.fixture(scope="module")
def first_position(gpt2):
    """The first position's state after each block, (n_layers, d_model)."""
    return capture(*gpt2, NEUTRAL_TEXTS[0], positions=0)[0]


def test_the_pairs_have_the_token_counts_that_gpt2_gives_them(tokenizer):
    counts = [len(tokenizer(text)["input_ids"]) for pair in SENTIMENT_PAIRS for text in pair]
    assert counts == [n for n in (6, 7, 6, 5, 4, 6, 4, 4) for _ in range(2)]


def test_the_tokenizer_of_the_wheel_is_that_of_the_model(gpt2, tokenizer):
    texts = [*NEUTRAL_TEXTS, *(text for pair in SENTIMENT_PAIRS for text in pair)]
    assert gpt2[1](texts)["input_ids"] == tokenizer(texts)["input_ids"]


def test_the_loss_on_hello_world(gpt2):
    model, tokenizer = gpt2
    ids = torch.tensor([tokenizer("<|endoftext|>Hello world!")["input_ids"]])
    with torch.no_grad():
        assert model(ids, labels=ids).loss.item() == pytest.approx(5.331855773925781, abs=1e-4)


def test_the_first_position_is_as_large_as_reported(first_position):
    found = first_position.abs().amax(dim=-1).tolist()
    assert found == pytest.approx(FIRST_POSITION, abs=16)


def test_the_first_position_is_largest_in_the_same_dimension_from_layer_2_to_10(first_position):
    assert first_position.abs().argmax(dim=-1)[2:11].tolist() == [MASSIVE] * 9


def test_the_mean_norm_that_enters_block_7(gpt2):
    texts = capture(*gpt2, NEUTRAL_TEXTS, layers=6, positions="all")
    norms = torch.cat([h[1:, 0].norm(dim=-1) for h in texts])
    assert norms.mean().item() == pytest.approx(88.76, rel=0.15)  # it depends on the text
