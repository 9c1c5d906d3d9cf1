"""The book's texts keep the promises that the experiments rest on."""

import pytest

from steering_utils import (
    HELD_OUT_NEGATIVE,
    HELD_OUT_POSITIVE,
    HELD_OUT_PROMPTS,
    NEGATIVE_WORDS,
    NEUTRAL_TEXTS,
    POSITIVE_WORDS,
    SENTIMENT_PAIRS,
    single_token_ids,
    token_table,
)

HELD_OUT = [*HELD_OUT_POSITIVE, *HELD_OUT_NEGATIVE]
SCORING = [*POSITIVE_WORDS, *NEGATIVE_WORDS]


def words(text):
    return {word.strip(".,").lower() for word in text.split()}


ADJECTIVES = {word for a, b in SENTIMENT_PAIRS for word in words(a) ^ words(b)}


def test_members_of_a_pair_differ_in_one_word():
    assert all(len(words(a) - words(b)) == len(words(b) - words(a)) == 1 for a, b in SENTIMENT_PAIRS)
    assert len(ADJECTIVES) == 16


def test_the_pairs_match_in_gpt2s_tokens(tokenizer):
    rows = token_table(tokenizer, SENTIMENT_PAIRS)
    assert [row["lengths"] for row in rows] == [(n, n) for n in (6, 7, 6, 5, 4, 6, 4, 4)]
    assert all(row["same_length"] for row in rows)
    assert rows[6]["positive"] == ["The", " weather", " is", " beautiful"]


def test_one_pair_does_not_match_in_the_packaged_models_tokens(packaged):
    rows = token_table(packaged[1], SENTIMENT_PAIRS)
    assert rows[1]["lengths"] == (7, 8)
    assert [row["same_length"] for row in rows] == [True, False, *[True] * 6]


def test_scoring_words_are_single_tokens_of_their_own(tokenizer, packaged):
    for one in (tokenizer, packaged[1]):
        assert len(set(single_token_ids(one, SCORING))) == len(SCORING)


def test_both_sides_have_equal_numbers():
    assert len(POSITIVE_WORDS) == len(NEGATIVE_WORDS)
    assert len(HELD_OUT_POSITIVE) == len(HELD_OUT_NEGATIVE)


@pytest.mark.parametrize(
    "texts",
    [SCORING, HELD_OUT, HELD_OUT_PROMPTS, NEUTRAL_TEXTS],
    ids=["scoring", "sentences", "prompts", "neutral"],
)
def test_nothing_that_scores_shares_an_adjective_with_the_pairs(texts):
    assert not ADJECTIVES & set().union(*map(words, texts))


def test_prompts_and_neutral_texts_have_no_tone_of_their_own():
    assert not set(SCORING) & set().union(*map(words, HELD_OUT_PROMPTS + NEUTRAL_TEXTS))


def test_nothing_stands_twice():
    every = [
        *HELD_OUT,
        *HELD_OUT_PROMPTS,
        *NEUTRAL_TEXTS,
        *SCORING,
        *(text for p in SENTIMENT_PAIRS for text in p),
    ]
    assert len(set(every)) == len(every)


def test_held_out_sentences_come_in_pairs_too():
    for positive, negative in zip(HELD_OUT_POSITIVE, HELD_OUT_NEGATIVE, strict=True):
        assert len(positive.split()) == len(negative.split())
        assert len(words(positive) - words(negative)) in (1, 2)  # two where a differs from an
