"""Each measure against a case worked by hand, or against a reference that is slow and plain."""

import contextlib
import math

import numpy as np
import pytest
import scipy.stats
import torch
from by_hand import logits
from conftest import PROMPTS, hooks_on, some_vector, tiny_model

from steering_utils import (
    continuation_kl,
    continuation_nll,
    decoder_blocks,
    logit_difference,
    next_token_kl,
    next_token_logits,
    steer,
)
from steering_utils.operations import ablate

TAILS = [" happy today", "", " sunny, and the snow is white.", " so", " no"]


def test_logit_difference_by_hand(tokenizer):
    logits = torch.full((2, len(tokenizer)), 3.0)
    token = {word: tokenizer(" " + word)["input_ids"][0] for word in ("good", "nice", "bad")}
    logits[1, [token["good"], token["nice"], token["bad"]]] = torch.tensor([math.log(2), math.log(6), 0.0])
    found = logit_difference(logits, tokenizer, ["good", "nice"], ["bad"])
    torch.testing.assert_close(found, torch.tensor([math.log(2), math.log(8)]))
    torch.testing.assert_close(logit_difference(logits, tokenizer, "bad", ["good", "nice"]), -found)


@pytest.mark.parametrize("tokens", [6, 20, 8_000])
def test_next_token_logits_are_those_of_one_prompt_at_a_time(model, tokenizer, tokens, monkeypatch):
    monkeypatch.setattr("steering_utils.passes.TOKENS_AT_ONCE", tokens)
    together = next_token_logits(model, tokenizer, PROMPTS)
    assert (together.dtype, together.device.type) == (torch.float32, "cpu")
    for row, prompt in zip(together, PROMPTS, strict=True):
        wanted = logits(model, torch.tensor([tokenizer(prompt)["input_ids"]]))[0, -1]
        torch.testing.assert_close(row, wanted, rtol=1e-4, atol=1e-4)


def test_what_is_read_of_the_logits_is_kept_in_their_place(model, tokenizer, monkeypatch):
    monkeypatch.setattr(
        "steering_utils.passes.POSITIONS_AT_ONCE", 2
    )  # so that five rows are read in three goes
    wanted = next_token_logits(model, tokenizer, PROMPTS)
    read = next_token_logits(model, tokenizer, PROMPTS, read=lambda rows: rows[:, :7].double())
    assert torch.equal(read, wanted[:, :7].double())


def losses_by_hand(model, tokenizer, prompt, tail):
    """The loss of each token of the tail, by a pass each, and all logits that predict them."""
    ids, losses, rows = tokenizer(prompt)["input_ids"], [], []
    for token in tokenizer(tail)["input_ids"]:
        rows.append(logits(model, torch.tensor([ids]))[0, -1].log_softmax(0))
        losses.append(-float(rows[-1][token]))
        ids = [*ids, token]
    return losses, rows


@pytest.mark.parametrize("at_once", [(8_000, 1_000), (12, 3)])
def test_continuation_nll_is_a_loop_over_tokens(model, tokenizer, at_once, monkeypatch):
    for name, value in zip(("TOKENS_AT_ONCE", "POSITIONS_AT_ONCE"), at_once, strict=True):
        monkeypatch.setattr(f"steering_utils.passes.{name}", value)
    means = continuation_nll(model, tokenizer, PROMPTS, TAILS)
    tokens = continuation_nll(model, tokenizer, PROMPTS, TAILS, per_token=True)
    for mean, each, prompt, tail in zip(means, tokens, PROMPTS, TAILS, strict=True):
        losses, _ = losses_by_hand(model, tokenizer, prompt, tail)
        np.testing.assert_allclose(each, losses, rtol=1e-4)
        assert mean == pytest.approx(np.mean(losses) if losses else math.nan, rel=1e-4, nan_ok=True)


def test_continuation_kl_is_scipys_entropy_along_the_text(model, tokenizer, monkeypatch):
    monkeypatch.setattr("steering_utils.passes.POSITIONS_AT_ONCE", 3)
    alphas = [1.0, 2.0, -1.0, 0.0, 3.0]
    steering = steer(model, some_vector(), alphas)
    tokens = continuation_kl(steering, tokenizer, PROMPTS, TAILS, per_token=True)
    means = continuation_kl(steering, tokenizer, PROMPTS, TAILS)
    for each, mean, prompt, tail, alpha in zip(tokens, means, PROMPTS, TAILS, alphas, strict=True):
        _, plain = losses_by_hand(model, tokenizer, prompt, tail)
        with steer(model, some_vector(), alpha):
            _, steered = losses_by_hand(model, tokenizer, prompt, tail)
        wanted = [scipy.stats.entropy(p.exp(), p0.exp()) for p, p0 in zip(steered, plain, strict=True)]
        np.testing.assert_allclose(each, wanted, rtol=1e-3, atol=1e-5)
        assert mean == pytest.approx(np.mean(wanted) if wanted else math.nan, rel=1e-3, abs=1e-5, nan_ok=True)
    assert hooks_on(model) == 0


def test_kl_between_two_prompts_is_along_the_same_text(model, tokenizer):
    """The price of an instruction: what is read steered, or not, against the same without it."""
    asked, tail = [f"Be kind. {prompt}" for prompt in PROMPTS], " and then more"
    steering = steer(model, some_vector(), 0.0)
    found = continuation_kl(steering, tokenizer, asked, [tail] * len(asked), plain_prompts=PROMPTS)
    for value, prompt, plain in zip(found, asked, PROMPTS, strict=True):
        _, p = losses_by_hand(model, tokenizer, prompt, tail)
        _, p0 = losses_by_hand(model, tokenizer, plain, tail)
        each = [scipy.stats.entropy(a.exp(), b.exp()) for a, b in zip(p, p0, strict=True)]
        assert value == pytest.approx(np.mean(each), rel=1e-3, abs=1e-5)
    assert found.max() > 1e-3


@pytest.mark.parametrize("word", ["prompt", "new", "last", "from_last", "after_first"])
def test_the_words_for_positions_know_where_a_continuation_begins(model, tokenizer, word):
    """As in generation: what is steered is what would be if the model had written the continuation."""
    block = decoder_blocks(model)[1]
    acts = {
        "prompt": lambda i, n: i < n,
        "new": lambda i, n: i >= n,
        "last": lambda i, n: i == n - 1,
        "from_last": lambda i, n: i >= n - 1,
        "after_first": lambda i, n: i > 0,
    }[word]
    found = continuation_kl(
        steer(model, some_vector(), 2.0, positions=word), tokenizer, PROMPTS, TAILS, per_token=True
    )
    for each, prompt, tail in zip(found, PROMPTS, TAILS, strict=True):
        added = tokenizer(tail, add_special_tokens=False)["input_ids"]
        ids = tokenizer(prompt)["input_ids"]
        n, row = len(ids), torch.tensor([ids + added])
        where = torch.tensor([acts(i, n) for i in range(row.shape[1])])[:, None]

        def add(module, args, output, where=where):
            h = output[0] if isinstance(output, tuple | list) else output
            h += 2.0 * some_vector().values * where

        with torch.no_grad():
            p0 = model(row).logits[0].log_softmax(-1)
            hook = block.register_forward_hook(add)
            p = model(row).logits[0].log_softmax(-1)
            hook.remove()
        wanted = (p.exp() * (p - p0)).sum(-1)[n - 1 : -1]
        np.testing.assert_allclose(each, wanted, rtol=2e-3, atol=1e-4)
        if len(added) > 1:
            assert wanted.abs().max() > 1e-2


def test_kl_takes_a_steer_that_is_not_entered(model, tokenizer):
    with pytest.raises(
        TypeError, match=r"steering must be a steer\(model, vector, alpha\) that is not entered, got"
    ):
        continuation_kl(model, tokenizer, PROMPTS, TAILS)
    entered = steer(model, some_vector())
    with entered, pytest.raises(TypeError, match="that is not entered, got <steer at layers"):
        continuation_kl(entered, tokenizer, PROMPTS, TAILS)


def test_measures_see_the_steering_that_is_on(model, tokenizer):
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


# --- many directions and strengths in one call ---------------------------------------------------


def sweep(model):
    """Vectors at layers 1 to 3 and an alpha for each of them and of 12 rows; a row in four has none."""
    vectors = [some_vector(layer, seed=layer) for layer in (1, 2, 3)]
    alpha = torch.eye(3).repeat_interleave(4, dim=1) * torch.tensor([1.0, -2.0, 0.0, 3.0]).repeat(3)
    return vectors, alpha


@pytest.mark.parametrize("operation", [None, ablate])
@pytest.mark.parametrize("positions", ["all", "last", "after_first"])
def test_a_sweep_in_one_call_is_its_settings_one_by_one(model, tokenizer, positions, operation):
    vectors, alpha = sweep(model)
    options = {"positions": positions} | ({"operation": operation} if operation else {})
    rows, tails = [PROMPTS[row % 2] for row in range(12)], [" so", " happy today"] * 6
    with steer(model, vectors, alpha, **options):
        at_once = next_token_logits(model, tokenizer, rows), continuation_nll(model, tokenizer, rows, tails)
    for row, (prompt, tail) in enumerate(zip(rows, tails, strict=True)):
        with contextlib.ExitStack() as stack:
            for vector, a in zip(vectors, alpha[:, row].tolist(), strict=True):
                stack.enter_context(steer(model, vector, a, **options))
            alone = (
                next_token_logits(model, tokenizer, prompt),
                continuation_nll(model, tokenizer, prompt, tail),
            )
        torch.testing.assert_close(at_once[0][row], alone[0][0], rtol=1e-4, atol=2e-4)
        assert at_once[1][row] == pytest.approx(alone[1][0], rel=1e-4)


def test_below_the_lowest_steered_layer_a_prompt_runs_once(tokenizer):
    model, rows = tiny_model("llama"), {k: [] for k in range(4)}
    for k, block in enumerate(decoder_blocks(model)):
        own = block.forward
        block.forward = lambda h, *args, k=k, own=own, **kwargs: (
            rows[k].append(len(h)) or own(h, *args, **kwargs)
        )
    before = [block.__dict__["forward"] for block in decoder_blocks(model)]
    with steer(model, [some_vector(2, seed=i) for i in range(5)], torch.eye(5).repeat_interleave(2, dim=1)):
        next_token_logits(model, tokenizer, PROMPTS[:2] * 5)
    assert rows == {0: [2], 1: [2], 2: [2], 3: [10]}  # blocks 0 to 2 for two prompts, block 3 for ten rows
    assert [block.__dict__["forward"] for block in decoder_blocks(model)] == before


def test_kl_is_scipys_entropy_of_one_relative_to_the_other():
    plain, steered = torch.randn(2, 3, 11, generator=torch.Generator().manual_seed(0)).unbind()
    wanted = scipy.stats.entropy(plain.softmax(1), steered.softmax(1), axis=1)
    np.testing.assert_allclose(next_token_kl(plain, steered), wanted, rtol=1e-5)
    assert (next_token_kl(plain, plain + 3.0) < 1e-12).all()  # logits are free up to a constant
    with pytest.raises(ValueError, match="same prompts"):
        next_token_kl(plain, steered[:2])
