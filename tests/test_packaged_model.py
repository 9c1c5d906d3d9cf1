"""What must hold on a real model: the packaged one, in its middle block, at relative strength 0.3."""

import pytest
import torch

from steering_utils import (
    capture,
    decoder_blocks,
    in_stream_units,
    logit_difference,
    mean_difference,
    next_token_logits,
    random_directions,
    residual_norms,
    shuffled_labels,
    steer,
)
from steering_utils.pages.plans import estimate
from steering_utils.pages.texts import (
    HELD_OUT_PROMPTS,
    NEGATIVE_WORDS,
    NEUTRAL_TEXTS,
    POSITIVE_WORDS,
    SENTIMENT_PAIRS,
)


@pytest.fixture(scope="module")
def vector(packaged):
    positive, negative = (capture(*packaged, side) for side in zip(*SENTIMENT_PAIRS, strict=True))
    return mean_difference(positive, negative, layer=len(decoder_blocks(packaged[0])) // 2)


@pytest.fixture(scope="module")
def gain(packaged):
    """A function: how much a vector at a strength moves the mean logit difference on the held-out prompts."""
    model, tokenizer = packaged
    norms = residual_norms(model, tokenizer, NEUTRAL_TEXTS)

    def lean():
        logits = next_token_logits(model, tokenizer, HELD_OUT_PROMPTS)
        return float(logit_difference(logits, tokenizer, POSITIVE_WORDS, NEGATIVE_WORDS).mean())

    unsteered = lean()

    def measure(vector, strength):
        with steer(model, in_stream_units(vector, norms), strength):
            return lean() - unsteered

    return measure


def test_the_sentiment_vector_moves_the_tone_both_ways_and_random_directions_do_not(vector, gain):
    up, down = gain(vector, 0.3), gain(vector, -0.3)
    assert up > 0 > down
    assert sum(up > gain(v, 0.3) for v in random_directions(vector, 20)) >= 19


def test_alpha_zero_is_bit_identical(packaged, vector):
    before = next_token_logits(*packaged, HELD_OUT_PROMPTS[:4])
    with steer(packaged[0], vector, 0.0):
        assert torch.equal(next_token_logits(*packaged, HELD_OUT_PROMPTS[:4]), before)


def test_a_batch_reads_what_one_prompt_at_a_time_reads(packaged):
    together, alone = (capture(*packaged, NEUTRAL_TEXTS[:4], batch_size=n) for n in (4, 1))
    error = (together.values - alone.values).norm(dim=-1) / alone.values.norm(dim=-1)
    assert error.max() < 1e-5


def test_shuffled_labels_do_not_pass_what_the_true_labels_pass(packaged):
    """Chapter 4's H2, H3 and H11 on a few prompts."""
    model, tokenizer = packaged
    sides, layer = [capture(*packaged, side) for side in zip(*SENTIMENT_PAIRS, strict=True)], 15
    norms, prompts = residual_norms(model, tokenizer, NEUTRAL_TEXTS), HELD_OUT_PROMPTS[::3]

    def lean(vector, strength):
        with steer(model, in_stream_units(vector, norms), strength):
            logits = next_token_logits(model, tokenizer, prompts)
        return logit_difference(logits, tokenizer, POSITIVE_WORDS, NEGATIVE_WORDS).numpy()

    true = mean_difference(*sides, layer)
    unsteered, controls = lean(true, 0.0), shuffled_labels(*sides, layer, 20, seed=0)
    sizes = [abs((lean(v, 0.3) - lean(v, -0.3)).mean()) for v in controls]

    def passes(vector):
        up, down = lean(vector, 0.3), lean(vector, -0.3)
        moves = estimate(up - unsteered).above(0) and estimate(down - unsteered).below(0)
        return moves and (up - down).mean() > max(sizes)

    assert passes(true)
    assert not any(passes(v) for v in shuffled_labels(*sides, layer, 5, seed=1))
