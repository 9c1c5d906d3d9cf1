"""Each metric against a case worked by hand, or against a reference that is slow and plain."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from conftest import PROMPTS, some_vector

from steering_utils import (
    alpha_for,
    bootstrap_interval,
    continuation_nll,
    distinct_ngrams,
    logit_difference,
    next_token_kl,
    next_token_logits,
    off_target_ratio,
    relative_strength,
    sentiment,
    steer,
    steerability,
)

TAILS = [" happy today", "", " sunny, and the snow is white.", " so", " no"]


def test_logit_difference_by_hand(tokenizer):
    logits = torch.full((2, len(tokenizer)), 3.0)
    token = {word: tokenizer(" " + word)["input_ids"][0] for word in ("good", "nice", "bad")}
    logits[1, [token["good"], token["nice"], token["bad"]]] = torch.tensor([math.log(2), math.log(6), 0.0])
    found = logit_difference(logits, tokenizer, ["good", "nice"], ["bad"])
    torch.testing.assert_close(found, torch.tensor([math.log(2), math.log(8)]))
    torch.testing.assert_close(logit_difference(logits, tokenizer, "bad", ["good", "nice"]), -found)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_next_token_logits_are_those_of_one_prompt_at_a_time(model, tokenizer, batch_size):
    found = next_token_logits(model, tokenizer, PROMPTS, batch_size=batch_size)
    assert (found.dtype, found.device.type) == (torch.float32, "cpu")
    for row, prompt in zip(found, PROMPTS, strict=True):
        with torch.no_grad():
            wanted = model(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1]
        torch.testing.assert_close(row, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_continuation_nll_is_a_loop_over_tokens(model, tokenizer, batch_size):
    found = continuation_nll(model, tokenizer, PROMPTS, TAILS, batch_size=batch_size)
    for value, prompt, tail in zip(found, PROMPTS, TAILS, strict=True):
        ids, losses = tokenizer(prompt)["input_ids"], []
        for token in tokenizer(tail)["input_ids"]:
            with torch.no_grad():
                losses.append(-float(model(torch.tensor([ids])).logits[0, -1].log_softmax(0)[token]))
            ids = [*ids, token]
        assert value == pytest.approx(np.mean(losses) if losses else math.nan, rel=1e-4, nan_ok=True)
    assert np.isnan(found).tolist() == [tail == "" for tail in TAILS]


def test_one_string_is_one_text(model, tokenizer):
    assert continuation_nll(model, tokenizer, "I am", " happy").shape == (1,)
    assert sentiment("I am happy").shape == (1,)


def test_metrics_see_the_steering_that_is_on(model, tokenizer):
    plain = next_token_logits(model, tokenizer, PROMPTS), continuation_nll(model, tokenizer, PROMPTS, TAILS)
    with steer(model, some_vector(), [0.0, 0.0, 2.0, 2.0, 2.0]):
        steered = (
            next_token_logits(model, tokenizer, PROMPTS),
            continuation_nll(model, tokenizer, PROMPTS, TAILS),
        )
    for a, b in zip(plain, steered, strict=True):
        a, b = torch.as_tensor(a), torch.as_tensor(b)
        torch.testing.assert_close(a[:2], b[:2], equal_nan=True)
        assert ((a - b).reshape(5, -1)[2:].abs().amax(dim=1) > 0.01).all()


def test_relative_strength_by_hand_and_back():
    vector, norms = some_vector(layer=2, norm=5.0), torch.tensor([1.0, 1.0, 20.0, 1.0])
    assert relative_strength(vector, -2.0, norms) == pytest.approx(0.5)
    assert alpha_for(vector, -0.5, norms) == pytest.approx(-2.0)
    for r in (-0.7, 0.0, 0.3):
        assert relative_strength(vector, alpha_for(vector, r, norms), norms) == pytest.approx(abs(r))


def test_sentiment_has_the_signs_of_the_words():
    scores = sentiment(["What a wonderful day!", "This is horrible.", "The table has four legs.", ""])
    assert scores[0] > 0.5 and scores[1] < -0.5
    assert scores[2:].tolist() == [0, 0]


def test_the_bootstrap_is_the_percentile_bootstrap():
    values = np.random.default_rng(0).exponential(size=30)
    wanted = scipy.stats.bootstrap((values,), np.mean, method="percentile", confidence_level=0.9, rng=1)
    found = bootstrap_interval(values, confidence=0.9)
    assert found == pytest.approx(wanted.confidence_interval, abs=0.02)
    assert (
        found == bootstrap_interval(list(values), confidence=0.9) != bootstrap_interval(values, 0.9, seed=1)
    )


def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for seed in range(300):
        low, high = bootstrap_interval(rng.normal(2.0, size=40), confidence=0.9, seed=seed)
        covered += low < 2.0 < high
    assert covered / 300 == pytest.approx(0.88, abs=0.05)  # a percentile bootstrap of 40 is a little narrow


def test_the_bootstrap_of_equal_values_is_that_value():
    assert bootstrap_interval([2.5] * 7) == (2.5, 2.5)


def test_steerability_is_numpys_straight_line():
    strengths = [-0.3, -0.1, 0.0, 0.25]
    m = np.random.default_rng(0).normal(size=(4, 5))
    wanted = [np.polyfit(strengths, column, 1)[0] for column in m.T]
    np.testing.assert_allclose(steerability(strengths, m), wanted)


@pytest.mark.parametrize(
    ("strengths", "m"),
    [([0.1], [[1.0]]), ([0.1, 0.1], [[1.0], [2.0]]), ([0.0, 1.0], [1.0, 2.0]), ([0, 1], [[1]])],
)
def test_steerability_needs_two_strengths_and_a_row_for_each(strengths, m):
    with pytest.raises(ValueError, match="two or more different strengths"):
        steerability(strengths, m)


def test_kl_is_scipys_entropy_of_one_relative_to_the_other():
    plain, steered = torch.randn(2, 3, 11, generator=torch.Generator().manual_seed(0)).unbind()
    wanted = scipy.stats.entropy(plain.softmax(1), steered.softmax(1), axis=1)
    np.testing.assert_allclose(next_token_kl(plain, steered), wanted, rtol=1e-5)
    assert (next_token_kl(plain, plain + 3.0) < 1e-12).all()  # logits are free up to a constant
    with pytest.raises(ValueError, match="same prompts"):
        next_token_kl(plain, steered[:2])


def test_distinct_ngrams_by_hand():
    texts = ["It was it WAS it was it was", "one two three four five", "", "a b c"]
    np.testing.assert_allclose(distinct_ngrams(texts, 1), [2 / 8, 1, np.nan, 1])
    np.testing.assert_allclose(distinct_ngrams(texts, 4), [2 / 5, 1, np.nan, np.nan])
    assert distinct_ngrams("a a", 1).tolist() == [0.5]
    with pytest.raises(ValueError, match="1 or more"):
        distinct_ngrams(texts, 0)


def test_off_target_ratio_does_not_let_opposite_effects_cancel():
    assert off_target_ratio([1.0, -1.0], [4.0, 4.0, 4.0]) == 0.25
    with pytest.raises(ValueError, match="effect on its concept"):
        off_target_ratio([1.0], [0.0])
