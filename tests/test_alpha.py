"""alpha of every shape: one call for many directions, layers and strengths is as many calls one at a time."""

import functools

import numpy as np
import pytest
import torch
from by_hand import added_by_hand, block_outputs, changed, close, greedy, logits
from conftest import PROMPTS, hooks_on, some_vector, tiny_model

from steering_utils import (
    capture,
    continuation_kl,
    continuation_nll,
    generate,
    next_token_logits,
    steer,
)
from steering_utils.operations import ablate, add, add_and_keep_norm, set_projection
from steering_utils.tokens import encode

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318], [1026, 373, 257, 845, 922, 1110]])
ROWS = IDS.repeat(2, 1)  # 4 rows
DIRECTIONS = [some_vector(layer, seed=layer, norm=3.0) for layer in (0, 1, 3)]
DIRECTIONS.insert(2, DIRECTIONS[1] + some_vector(1, seed=9, norm=3.0))  # not at right angles to the other
# each row has one direction at one strength, or none
ALONE = torch.tensor([[2.0, 0, 0, 0], [0, -1.5, 0, 0], [0, 0, 0.7, 0], [0, 0, 0, 0]])
# each row has several
MIXED = torch.tensor([[2.0, 0, 1.0, 0], [0.3, -1.5, 0, 0], [0, 0.5, 0.7, 0], [-1.0, 0, 2.0, 0]])
GROWING = ["I am", "I am sad", "I am sad today", "I am sad today and"]  # each is the one before and a token
TEXTS = [" good", " so very bad", " a day of rain", " here"]


def one_by_one(read, model, vectors, alpha, **options):
    """`read()` under each row's own alphas, of which that row is kept: one nested `steer` a vector."""
    rows = []
    for row in range(alpha.shape[1]):
        with contexts(model, vectors, alpha[:, row].tolist(), **options):
            rows.append(read()[row])
    return rows


class contexts:
    """A `steer` for each vector and its alpha, the first one innermost."""

    def __init__(self, model, vectors, alphas, **options):
        self.all = [
            steer(model, v, a, **options)
            for v, a in reversed(list(zip(vectors, alphas, strict=True)))
            if a  # rows at 0 are skipped
        ]

    def __enter__(self):
        for context in self.all:
            context.__enter__()

    def __exit__(self, *error):
        for context in reversed(self.all):
            context.__exit__(*error)


def test_a_direction_a_row_is_bit_for_bit_what_it_is_alone(model):
    read = functools.partial(logits, model, ROWS)
    with steer(model, DIRECTIONS, ALONE):
        together = read()
    for row, wanted in zip(together, one_by_one(read, model, DIRECTIONS, ALONE), strict=True):
        assert torch.equal(row, wanted)
    assert torch.equal(together[3], read()[3])  # its alphas are all 0
    assert all(changed(together[row], read()[row]) for row in range(3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_direction_a_row_is_bit_for_bit_what_it_is_alone_in_half_precision(dtype):
    model = tiny_model("llama").to(dtype)
    read = functools.partial(logits, model, ROWS)
    with steer(model, DIRECTIONS, ALONE):
        together = read()
    for row, wanted in zip(together, one_by_one(read, model, DIRECTIONS, ALONE), strict=True):
        assert torch.equal(row, wanted)


def test_several_directions_in_a_row_add_up(model):
    with steer(model, DIRECTIONS, MIXED):
        together = logits(model, ROWS)
    for row in range(4):
        sums = {}
        for vector, alpha in zip(DIRECTIONS, MIXED[:, row], strict=True):
            sums[vector.layer] = sums.get(vector.layer, 0) + float(alpha) * vector
        with steer(model, sums.values(), 1.0):
            close(together[row], logits(model, ROWS)[row])


@pytest.mark.parametrize("operation", [ablate, set_projection(-2.0), add_and_keep_norm])
def test_other_operations_follow_each_other_and_skip_rows_at_zero(model, operation):
    read = functools.partial(logits, model, ROWS)
    with steer(model, DIRECTIONS, MIXED, operation=operation):
        together = read()
    alone = one_by_one(read, model, DIRECTIONS, MIXED, operation=operation)
    close(together, torch.stack(alone))
    backwards = one_by_one(read, model, DIRECTIONS[::-1], MIXED.flip(0), operation=operation)
    assert not torch.equal(alone[1], backwards[1])  # so that the order shows


def test_an_operation_is_never_given_a_row_that_it_then_changes(model):
    """A row at 0 keeps its state even if the operation does something to it."""
    with steer(model, DIRECTIONS[1], [0.0, 1.0, 0.0, 1.0], operation=lambda h, v: h * 0 + 7):
        together = logits(model, ROWS)
    assert torch.equal(together[[0, 2]], logits(model, ROWS)[[0, 2]])
    assert changed(together[1], logits(model, ROWS)[1])


@pytest.mark.parametrize(
    "alpha, wanted",
    [
        (2.0, [[2.0] * 4] * 2),
        (np.float32(2.0), [[2.0] * 4] * 2),
        (torch.tensor(2), [[2.0] * 4] * 2),
        ([[2.0]], [[2.0] * 4] * 2),
        ([1.0, 0.0, -1.0, 2.0], [[1.0, 0.0, -1.0, 2.0]] * 2),
        (np.array([1, 0, -1, 2]), [[1.0, 0.0, -1.0, 2.0]] * 2),
        ([[1.0, 0.0, -1.0, 2.0]], [[1.0, 0.0, -1.0, 2.0]] * 2),  # (1, n_rows)
        ([[1.0], [-0.5]], [[1.0] * 4, [-0.5] * 4]),  # (n_vectors, 1)
        (torch.tensor([[1.0], [-0.5]], dtype=torch.float64), [[1.0] * 4, [-0.5] * 4]),
        ([[1.0, 0, 2, 0], [0, 1, 0, -3]], [[1.0, 0, 2, 0], [0, 1, 0, -3]]),
    ],
)
@pytest.mark.parametrize("operation", [add, ablate])
def test_each_shape_means_what_it_says(model, alpha, wanted, operation):
    vectors = [DIRECTIONS[0], DIRECTIONS[2]]
    with steer(model, vectors, alpha, operation=operation):
        together = logits(model, ROWS)
    with steer(model, vectors, torch.tensor(wanted), operation=operation):
        close(together, logits(model, ROWS))
    alone = one_by_one(
        functools.partial(logits, model, ROWS), model, vectors, torch.tensor(wanted), operation=operation
    )
    close(together, torch.stack(alone))


def test_as_many_vectors_as_rows_and_one_dimension_means_rows(model):
    """(n,) is one per row even where it could be one per vector; ((n, 1) says so)."""
    with steer(model, DIRECTIONS[:2], [2.0, 0.0]):
        found = logits(model, IDS)
    assert torch.equal(found[1], logits(model, IDS)[1])
    with steer(model, DIRECTIONS[:2], [[2.0], [0.0]]):
        assert changed(logits(model, IDS)[1], found[1])


@pytest.mark.parametrize(
    "n_vectors, alpha, message",
    [
        (2, torch.ones(3, 4), "alpha must be .*one per row.* per vector and row"),
        (2, torch.ones(4, 2), "alpha must be"),  # the wrong way round
        (1, torch.ones(2, 4), "alpha must be"),
        (2, torch.ones(1, 2, 4), "alpha must be"),
        (2, torch.ones(2, 0), "alpha must be"),
        (2, [], "alpha must be"),
        (2, torch.ones(2, 3), "alpha has 3 rows, the batch 4"),
        (2, torch.ones(1, 3), "alpha has 3 rows, the batch 4"),
        (2, torch.ones(2, 5), "alpha has 5 rows, the batch 4"),
        (2, torch.ones(8), "alpha has 8 rows, the batch 4"),
        (2, torch.ones(2), "alpha has 2 rows, the batch 4"),
        (2, torch.ones(1), "alpha has 1 rows, the batch 4"),
        (2, [[1.0, float("nan")]] * 2, "alpha must be .*finite"),
    ],
)
def test_other_shapes_are_refused(tokenizer, n_vectors, alpha, message):
    model, prompts = tiny_model("gpt2"), ["I am", "She is", "I am", "She is"]
    for read in (
        lambda: logits(model, ROWS),
        lambda: next_token_logits(model, tokenizer, prompts),
        lambda: capture(model, tokenizer, prompts),
        lambda: continuation_nll(model, tokenizer, prompts, TEXTS),
        lambda: generate(model, tokenizer, prompts, max_new_tokens=1),
    ):
        with pytest.raises(ValueError, match=message), steer(model, DIRECTIONS[:n_vectors], alpha):
            read()
    assert hooks_on(model) == 0


def test_two_alphas_for_four_times_the_same_prompt_are_refused(tokenizer):
    """They are four prompts, and not two with two beams each."""
    model, prompts = tiny_model("gpt2"), ["I am"] * 4
    for read in (
        lambda: next_token_logits(model, tokenizer, prompts),
        lambda: capture(model, tokenizer, prompts),
        lambda: generate(model, tokenizer, prompts, max_new_tokens=1),
    ):
        with (
            pytest.raises(ValueError, match="alpha has 2 rows, the batch 4"),
            steer(model, DIRECTIONS[0], [1.0, -1.0]),
        ):
            read()


# --- one call for a sweep ------------------------------------------------------------------------


def sweep(n_prompts):
    """Directions at three layers, each at two strengths, on rows of their own: (n_directions, n_rows)."""
    r = torch.tensor([1.0, -2.0])
    alpha = torch.block_diag(*[r.repeat_interleave(n_prompts)[None]] * len(DIRECTIONS))
    return alpha, len(DIRECTIONS) * len(r)


def in_loops(model, read):
    """The same, with a `steer` for each direction and strength: what `read()` gives, one after the other."""
    results = []
    for vector in DIRECTIONS:
        for r in (1.0, -2.0):
            with steer(model, vector, r):
                results += list(read())
    return results


def test_a_sweep_of_next_token_logits(model, tokenizer):
    alpha, n = sweep(len(PROMPTS))
    with steer(model, DIRECTIONS, alpha):
        together = next_token_logits(model, tokenizer, PROMPTS * n)
    close(together, torch.stack(in_loops(model, lambda: next_token_logits(model, tokenizer, PROMPTS))))


def test_a_sweep_of_continuation_nll(model, tokenizer):
    alpha, n = sweep(4)
    with steer(model, DIRECTIONS, alpha):
        together = continuation_nll(model, tokenizer, GROWING * n, TEXTS * n)
    alone = in_loops(model, lambda: continuation_nll(model, tokenizer, GROWING, TEXTS))
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_a_sweep_of_continuation_kl(model, tokenizer):
    alpha, n = sweep(4)
    together = continuation_kl(steer(model, DIRECTIONS, alpha), tokenizer, GROWING * n, TEXTS * n)
    alone = [
        value
        for vector in DIRECTIONS
        for r in (1.0, -2.0)
        for value in continuation_kl(steer(model, vector, r), tokenizer, GROWING, TEXTS)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("positions", ["last", "mean", 0])
def test_a_sweep_of_capture(model, tokenizer, batch_size, positions):
    """It sorts the rows by length and batches them: each must keep its alpha."""
    alpha, n = sweep(len(PROMPTS))
    options = {"batch_size": batch_size, "positions": positions}
    with steer(model, DIRECTIONS, alpha):
        together = capture(model, tokenizer, PROMPTS * n, **options).values
    alone = in_loops(model, lambda: capture(model, tokenizer, PROMPTS, positions=positions).values)
    close(together, torch.stack(alone))


@pytest.mark.parametrize("options", [{"temperature": 0}, {}, {"temperature": 0, "num_beams": 3}])
def test_a_sweep_of_generate(model, tokenizer, options):
    alpha, n = sweep(len(PROMPTS))
    options = options | {"max_new_tokens": 3}
    with steer(model, DIRECTIONS, alpha):
        together = generate(model, tokenizer, PROMPTS * n, seed=[*range(len(PROMPTS))] * n, **options)
    alone = in_loops(model, lambda: generate(model, tokenizer, PROMPTS, **options))
    assert together == alone
    assert len(set(together)) > n  # so that it matters which row gets what


@pytest.mark.parametrize("use_cache", [True, False])
def test_beams_expand_the_last_axis(model, tokenizer, use_cache):
    options = {"num_beams": 3, "num_return_sequences": 2, "use_cache": use_cache}
    with steer(model, DIRECTIONS, ALONE):
        together, _ = greedy(model, tokenizer, PROMPTS[:4], **options)
    for row in range(4):
        with contexts(model, DIRECTIONS, ALONE[:, row].tolist()):
            alone, _ = greedy(model, tokenizer, PROMPTS[row : row + 1], **options)
        assert torch.equal(together[2 * row : 2 * row + 2], alone)


@pytest.mark.parametrize("positions", ["all", "last", "mask"])
def test_several_samples_of_a_prompt_have_its_alphas(model, tokenizer, positions):
    real = encode(tokenizer, PROMPTS[:4], padding_side="left")["attention_mask"].bool()
    mask = real & (torch.arange(real.shape[1]) % 2 == 1)
    options = {"num_return_sequences": 2, "max_new_tokens": 3}
    with steer(model, DIRECTIONS, ALONE, positions=mask if positions == "mask" else positions):
        together = generate(model, tokenizer, PROMPTS[:4], **options)
    alone = []
    for row in range(4):
        where = mask[row : row + 1, real[row]] if positions == "mask" else positions
        with contexts(model, DIRECTIONS, ALONE[:, row].tolist(), positions=where):
            alone += generate(model, tokenizer, PROMPTS[row], seed=2 * row, **options)
    assert together == alone


@pytest.mark.parametrize("positions", ["all", "last", "new", "prompt", "after_first", "from_last", "front"])
def test_what_is_measured_while_generating_is_a_call_of_its_own(model, tokenizer, positions):
    """By a processor or a stopping criterion that asks the model something, on other prompts."""
    texts, seen = ["She said that", "No"], []

    def ask(ids, scores):
        seen.append(next_token_logits(model, tokenizer, texts))
        return scores

    with steer(model, DIRECTIONS[1], 2.0, positions=positions):
        wanted = next_token_logits(model, tokenizer, texts)
        plain = generate(model, tokenizer, PROMPTS, max_new_tokens=4)
        assert generate(model, tokenizer, PROMPTS, max_new_tokens=4, logits_processor=[ask]) == plain
    assert len(seen) == 4
    for found in seen:
        close(found, wanted)


@pytest.mark.parametrize("positions", ["all", "last", "new", "prompt", "after_first", "from_last", "front"])
@pytest.mark.parametrize("alpha", [2.0, [2.0, -1.0, 0.5, 0.0]])
def test_prompts_that_grow_by_one_token_are_prompts_of_their_own(model, tokenizer, positions, alpha):
    """One by one they look like decoding without a cache, which they are not."""
    with steer(model, DIRECTIONS[1], alpha, positions=positions):
        together = capture(model, tokenizer, GROWING, batch_size=4).values
        close(capture(model, tokenizer, GROWING, batch_size=1).values, together)


def test_long_prompts_that_grow_by_one_token_are_prompts_of_their_own(model, tokenizer, monkeypatch):
    alphas, texts = [2.0, -1.0, 0.5, 0.0], [" good"] * 4
    for positions in ("all", "last"):
        with steer(model, DIRECTIONS[1], alphas, positions=positions):
            wanted = (
                next_token_logits(model, tokenizer, GROWING),
                continuation_nll(model, tokenizer, GROWING, texts),
            )
            with monkeypatch.context() as patch:
                patch.setattr("steering_utils.passes.TOKENS_AT_ONCE", 1)  # each is too long to share a pass
                close(next_token_logits(model, tokenizer, GROWING), wanted[0])
                found = continuation_nll(model, tokenizer, GROWING, texts)
        np.testing.assert_allclose(found, wanted[1], rtol=1e-4)


@pytest.mark.parametrize("side", ["right"])
def test_a_mask_over_the_padded_prompts_holds_in_batches_too(model, tokenizer, side):
    real = encode(tokenizer, PROMPTS, padding_side=side)["attention_mask"].bool()
    mask = real & (torch.arange(real.shape[1]) % 2 == 0)
    alphas = [1.0, -1.0, 2.0, 0.0, -2.0]
    with steer(model, DIRECTIONS[1], alphas, positions=mask):
        together = capture(model, tokenizer, PROMPTS, layers=3).at(3)
        close(capture(model, tokenizer, PROMPTS, layers=3, batch_size=2).at(3), together)
        found = next_token_logits(model, tokenizer, PROMPTS)
    for row, alpha in enumerate(alphas):
        with steer(model, DIRECTIONS[1], alpha, positions=mask[row : row + 1, real[row]]):
            close(together[row], capture(model, tokenizer, PROMPTS[row], layers=3).at(3)[0])
            close(found[row], next_token_logits(model, tokenizer, PROMPTS[row])[0])


# --- at the front, one vector for each position --------------------------------------------------

FRONT = [some_vector(1, seed=seed, norm=3.0) for seed in range(3)]


def at_front(alphas, n_tokens):
    """Vector i times its alpha at token i: (n_tokens, d_model)."""
    rows = torch.zeros(n_tokens, 32)
    rows[:3] = torch.stack([float(a) * v.values for a, v in zip(alphas, FRONT, strict=True)])
    return rows


@pytest.mark.parametrize("side", ["left", "right"])
def test_activation_addition_at_the_front(model, tokenizer, side):
    prompts = ["The weather in the mountains is", "She said that"]
    alphas = torch.tensor([[1.5, 0.0], [-2.0, 1.0], [0.5, 3.0]])  # (n_vectors, n_rows)
    inputs = encode(tokenizer, prompts, padding_side=side)
    place = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with steer(model, FRONT, alphas, positions="front"), torch.no_grad():
        found = model(**inputs, position_ids=place).logits
    for row, prompt in enumerate(prompts):
        ids = tokenizer(prompt)["input_ids"]
        with added_by_hand(model, 1, functools.partial(at_front, alphas[:, row])):
            wanted = logits(model, torch.tensor([ids]))[0]
        close(found[row, inputs["attention_mask"][row].bool()], wanted)


@pytest.mark.parametrize("alpha", [1.5, [[1.5], [-2.0], [0.5]]])
def test_activation_addition_while_generating_and_reading(model, tokenizer, alpha):
    prompts = [PROMPTS[1], PROMPTS[3], "She said that"]
    alphas = [1.5] * 3 if isinstance(alpha, float) else [a for (a,) in alpha]
    with steer(model, FRONT, alpha, positions="front"):
        ids, found = greedy(model, tokenizer, prompts, n_new=4)
        states = capture(model, tokenizer, prompts)
        read = next_token_logits(model, tokenizer, prompts)
    for row, prompt in enumerate(prompts):
        tokens = tokenizer(prompt)["input_ids"]
        with added_by_hand(model, 1, functools.partial(at_front, alphas)):
            close(states.values[row], block_outputs(model, tokens)[:, -1])
            for step in range(4):
                wanted = logits(model, torch.tensor([tokens]))[0, -1]
                close(found[row, step], wanted)
                if not step:
                    close(read[row], wanted)
                tokens = [*tokens, int(ids[row, step])]


def test_the_start_token_is_the_front(tokenizer):
    """As published: the first vector acts at the start token, where the tokenizer gives one."""
    model, start = tiny_model("llama"), tokenizer.bos_token_id
    prompt = [start, *tokenizer("She said")["input_ids"]]
    with steer(model, FRONT, positions="front"):
        found = next_token_logits(model, tokenizer, prompt)[0]
    with added_by_hand(model, 1, functools.partial(at_front, [1.0] * 3)):
        close(found, logits(model, torch.tensor([prompt]))[0, -1])


def test_front_vectors_may_be_at_different_layers(model, tokenizer):
    vectors = [some_vector(layer, seed=layer, norm=3.0) for layer in (2, 0)]
    with steer(model, vectors, positions="front"):
        found = next_token_logits(model, tokenizer, "She said that")[0]

    def at(vector, i):
        return lambda n_tokens: vector.values * (torch.arange(n_tokens) == i)[:, None]

    ids = torch.tensor([tokenizer("She said that")["input_ids"]])
    with added_by_hand(model, 2, at(vectors[0], 0)), added_by_hand(model, 0, at(vectors[1], 1)):
        close(found, logits(model, ids)[0, -1])


def test_a_prompt_that_is_shorter_than_its_front_is_refused(model, tokenizer):
    for read in (capture, next_token_logits, generate):
        with (
            pytest.raises(
                ValueError, match="3 vectors need as many tokens, a prompt has 2: use a longer one"
            ),
            steer(model, FRONT, positions="front"),
        ):
            read(model, tokenizer, [PROMPTS[1], "I am"])


def test_an_alpha_that_is_changed_afterwards_changes_nothing(tokenizer):
    """What was asked for is what is done, also where one tensor is used again."""
    model, alpha = tiny_model("gpt2"), torch.tensor([1.0, -1.0])
    steering = steer(model, some_vector(), alpha)
    alpha.zero_()
    with steering:
        assert changed(logits(model, IDS), logits(tiny_model("gpt2"), IDS))


def test_a_mask_that_generate_makes_by_itself_counts(tokenizer):
    model = tiny_model("gpt2")
    inputs = encode(tokenizer, ["No", "The weather in the hills is"], padding_side="left")
    padded = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 0)
    options = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None, "output_logits": True}
    options |= {"pad_token_id": 0, "return_dict_in_generate": True}
    for positions in ("after_first", "front", "last"):
        with steer(model, some_vector(), 4.0, positions=positions):
            told = model.generate(padded, attention_mask=inputs["attention_mask"], **options)
            left_out = model.generate(padded, **options)
        for a, b in zip(told.logits, left_out.logits, strict=True):
            torch.testing.assert_close(a, b)
