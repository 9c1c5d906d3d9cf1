"""GPT-2 itself, against numbers published about it.

Each number is a cited fact about openai-community/gpt2, listed in tools/gpt2_facts.py, and none was measured
for this book: the tests check that the model that is loaded is that one and is read the right way. They run
when its weights are in the cache, and download nothing. tests/test_doubles.py runs what they run on a double.
"""

from pathlib import Path

import pytest
from gpt2_facts import FACTS, token_counts
from huggingface_hub import try_to_load_from_cache

from steering_utils import load_model
from steering_utils.loading import GPT2, GPT2_REVISION, _is_whole
from steering_utils.pages.texts import NEUTRAL_TEXTS, SENTIMENT_PAIRS


@pytest.fixture(scope="module")
def gpt2():
    config = try_to_load_from_cache(GPT2, "config.json", revision=GPT2_REVISION)
    if not isinstance(config, str) or not _is_whole(Path(config).parent):
        pytest.skip("GPT-2's weights are not in the cache: run `make gpt2` where the model hub is in reach")
    return load_model("gpt2", device="cpu")


def test_the_pairs_have_the_token_counts_that_gpt2_gives_them(tokenizer):
    assert FACTS[0].holds(token_counts(None, tokenizer))


def test_the_tokenizer_of_the_wheel_is_that_of_the_model(gpt2, tokenizer):
    texts = [*NEUTRAL_TEXTS, *(text for pair in SENTIMENT_PAIRS for text in pair)]
    assert gpt2[1](texts)["input_ids"] == tokenizer(texts)["input_ids"]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.found.__name__)
def test_what_was_published_is_found(gpt2, fact):
    found = fact.found(*gpt2)
    assert fact.holds(found), f"{fact.name}: found {found}, published {fact.published}"
