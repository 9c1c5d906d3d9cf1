"""What must hold on a real model: the packaged one, in its middle block."""

import random

import pytest
import torch

from steering_utils import (
    capture,
    decoder_blocks,
    in_stream_units,
    label_flips,
    logit_difference,
    mean_difference,
    next_token_logits,
    random_directions,
    residual_norms,
    steer,
)
from steering_utils.pages.plans import sign_flip_p
from steering_utils.pages.sweeps import crossed
from steering_utils.pages.texts import (
    HELD_OUT_PROMPTS,
    NEGATIVE_WORDS,
    NEUTRAL_TEXTS,
    POSITIVE_WORDS,
    SENTIMENT_PAIRS,
)
from steering_utils.tokens import single_token_ids


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


def test_the_true_vector_moves_the_next_word_more_than_broken_ones_with_either_sign(packaged):
    """Broken vectors: flips with the true vector projected out, of the same length in units of the stream."""
    sides, layer = [capture(*packaged, side) for side in zip(*SENTIMENT_PAIRS, strict=True)], 15
    norms, prompts = residual_norms(*packaged, NEUTRAL_TEXTS), HELD_OUT_PROMPTS[::3]
    ids = [single_token_ids(packaged[1], words) for words in (POSITIVE_WORDS, NEGATIVE_WORDS)]
    broken = random.Random(0).sample(label_flips(*sides, layer, project_out=True), 8)
    vectors = [in_stream_units(v, norms) for v in (mean_difference(*sides, layer), *broken)]
    rows, alpha = crossed(prompts, vectors, [-0.1, 0.0, 0.1])
    with steer(packaged[0], vectors, alpha):
        log_p = next_token_logits(*packaged, rows).log_softmax(1)
    halves = torch.stack([log_p[:, i].logsumexp(1) for i in ids]).view(2, len(vectors), 3, len(prompts))
    m = halves[0] - halves[1]  # (n_vectors, 3, n_prompts)
    swings = (m[:, 2] - m[:, 0]).mean(dim=1) / 2
    assert swings[0] > 1.2 * swings[1:].abs().max(), swings


def test_counted_by_kind_v2_misses_its_level_and_v3_does_not(packaged):
    """What book/wrong.md says of chapter 4: of the 48 test prompts, i and i + 24 are of one kind."""
    sides, layer = [capture(*packaged, side) for side in zip(*SENTIMENT_PAIRS, strict=True)], 15
    vector = in_stream_units(mean_difference(*sides, layer), residual_norms(*packaged, NEUTRAL_TEXTS))
    rows, alpha = crossed(HELD_OUT_PROMPTS, [vector], [-0.15, 0.0, 0.15])
    with steer(packaged[0], vector, alpha[0]):
        log_p = next_token_logits(*packaged, rows).log_softmax(1)
    ids = [single_token_ids(packaged[1], words) for words in (POSITIVE_WORDS, NEGATIVE_WORDS)]
    halves = torch.stack([log_p[:, i].logsumexp(1) for i in ids]).view(2, 3, 2, -1)  # twins in dimension 2
    signs, level = (1, -1), 0.05 / 9
    for at, signed, holds in ((2, signs, False), (0, signs[::-1], True)):
        moved = (halves[:, at] - halves[:, 1]).numpy()  # (2 halves, 2 twins, 24 kinds)
        assert moved.shape == (2, 2, 24)
        p = {
            name: max(sign_flip_p(sign * half) for sign, half in zip(signed, rows, strict=True))
            for name, rows in (("prompts", moved.reshape(2, 48)), ("kinds", moved.mean(axis=1)))
        }
        assert p["prompts"] <= level
        assert (p["kinds"] <= level) == holds
