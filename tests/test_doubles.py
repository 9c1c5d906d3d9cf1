"""The doubles are what they say: models that load, with the oddities of real ones and nothing learned."""

import numpy as np
import pytest
import torch
from doubles import ROGUE, save
from gpt2_facts import FACTS, first_position, table

from steering_utils import capture, decoder_blocks, load_model
from steering_utils.pages.texts import NEGATIVE_WORDS, NEUTRAL_TEXTS, POSITIVE_WORDS
from steering_utils.tokens import single_token_ids, token_texts

SHARED = {"token_counts", "largest", "mean_norm"}  # what the double must share with GPT-2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("doubles")
    save(made)
    return made


@pytest.fixture(scope="module")
def gpt2(folder):
    return load_model(folder / "gpt2", device="cpu")


def test_it_has_the_blocks_and_the_vocabulary_of_gpt2(gpt2, tokenizer):
    model, own = gpt2
    assert len(decoder_blocks(model)) == 12 and model.get_output_embeddings().weight.shape[0] == 50257
    assert own(NEUTRAL_TEXTS)["input_ids"] == tokenizer(NEUTRAL_TEXTS)["input_ids"]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.found.__name__)
def test_each_published_fact_can_be_looked_up_and_can_fail(gpt2, fact):
    found = np.array(fact.found(*gpt2))
    assert np.shape(found) == np.shape(fact.published) and np.isfinite(found).all()
    if fact.found.__name__ in SHARED:
        assert found == pytest.approx(np.array(fact.published), rel=0.15)
    else:  # random weights know no cities
        assert not fact.holds(found)


def test_the_first_position_lies_along_three_dimensions(gpt2):
    h = first_position(*gpt2)[2:]
    assert (h[:, ROGUE].norm(dim=1) > 0.99 * h.norm(dim=1))[:-1].all()
    assert (h.abs().argmax(dim=1) == ROGUE[0]).all()


def test_the_stream_grows_and_hangs_on_what_stands_before(gpt2):
    model, tokenizer = gpt2
    texts = capture(model, tokenizer, NEUTRAL_TEXTS, positions="all")
    norms = torch.cat([h[1:].values for h in texts]).norm(dim=-1).median(dim=0).values  # (n_layers,)
    assert (norms.diff() > 0).all() and norms[-1] > 3 * norms[0]
    here, there = capture(model, tokenizer, ["The film was good", "A day was good"], layers=[11]).at(11)
    assert (here - there).norm() > 0.1 * here.norm()


def test_the_table_says_what_holds_and_what_differs(gpt2):
    lines = table(*gpt2).splitlines()
    assert [line.split()[0] for line in lines[1::3]] == ["found"] * len(FACTS)
    assert {line.split()[0] for line in lines[::3]} == {"holds", "DIFFERS"}


def test_the_other_double_has_names_a_head_and_tokens_of_another_kind(folder):
    model, tokenizer = load_model(folder / "neox", device="cpu")
    words, out = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert decoder_blocks(model) == [*model.gpt_neox.layers] and out.data_ptr() != words.data_ptr()
    assert len(words) == len(tokenizer) == len(out)
    ids = tokenizer("It was good")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert [tokenizer.decode([i]) for i in ids[1:]] == ["It", "was", "good"]
    assert token_texts(tokenizer, ids[1:]) == [" It", " was", " good"]
    both = POSITIVE_WORDS + NEGATIVE_WORDS
    assert len(set(single_token_ids(tokenizer, both))) == len(both)
    with pytest.raises(
        ValueError, match=r"not a single token after a space: xylophone; choose words that are"
    ):
        single_token_ids(tokenizer, ["good", "xylophone"])
