"""`capture` reads what each block returns, as if each prompt had been alone."""

import pytest
import torch
from by_hand import block_outputs
from conftest import PROMPTS, hooks_on, some_vector, tiny_model

from steering_utils import Activations, capture, decoder_blocks, residual_norms, steer, token_positions


@pytest.fixture(scope="module")
def alone(model, tokenizer):
    """Each prompt's residual streams from a pass of its own: a list of (n_tokens, n_layers, d_model)."""
    return [block_outputs(model, tokenizer(prompt)["input_ids"]).transpose(0, 1) for prompt in PROMPTS]


def close(a, b):
    values = [x.values if isinstance(x, Activations) else x for x in (a, b)]
    torch.testing.assert_close(*values, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 32])
def test_a_prompt_reads_the_same_in_any_batch_with_any_tokenizer_setting(
    model, tokenizer, alone, side, batch_size, monkeypatch
):
    monkeypatch.setattr(tokenizer, "padding_side", side)
    found = capture(model, tokenizer, PROMPTS, batch_size=batch_size)
    close(found, torch.stack([tokens[-1] for tokens in alone]))


def test_thousands_of_prompts_stay_in_order(tokenizer):
    model, prompts = tiny_model("gpt2"), [" ".join(["no"] * (1 + i % 7)) for i in range(2_100)]
    found = capture(model, tokenizer, prompts, layers=0, batch_size=100)
    close(found, capture(model, tokenizer, prompts[:7], layers=0).values.repeat(300, 1, 1))


@pytest.mark.parametrize("positions", ["last", "mean", "all", 0])
def test_the_result_is_on_the_device_asked_for(model, tokenizer, positions):
    for asked, wanted in (
        ({}, "cpu"),
        ({"device": "meta"}, "meta"),
    ):  # a second device that every machine has
        found = capture(model, tokenizer, PROMPTS, positions=positions, **asked)
        each = found if positions == "all" else [found]
        assert {activations.values.device.type for activations in each} == {wanted}


def test_hidden_states_are_not_asked_for_and_are_whole_afterwards(tokenizer):
    model, asked = tiny_model("llama"), []
    model.config.output_hidden_states = True
    before = model(torch.tensor([[464, 6193]])).hidden_states
    with model.register_forward_pre_hook(lambda m, a, kwargs: asked.append(kwargs), with_kwargs=True):
        capture(model, tokenizer, PROMPTS, layers=[1])
    assert [kwargs.keys() for kwargs in asked] == [{"input_ids", "attention_mask", "use_cache"}]
    after = model(torch.tensor([[464, 6193]])).hidden_states
    assert len(after) == 5 and all(map(torch.equal, after, before))


def test_a_tokenizer_needs_no_padding_token(model, tokenizer, alone):
    tokenizer.pad_token = None  # as GPT-2's comes
    try:
        close(capture(model, tokenizer, PROMPTS), torch.stack([tokens[-1] for tokens in alone]))
    finally:
        tokenizer.pad_token = tokenizer.eos_token


@pytest.mark.parametrize(
    "positions, pick",
    [
        ("last", lambda tokens: tokens[-1]),
        ("mean", lambda tokens: tokens.mean(0)),
        (0, lambda tokens: tokens[0]),
        (-1, lambda tokens: tokens[-1]),
        ("all", lambda tokens: tokens),
    ],
)
def test_positions(model, tokenizer, alone, positions, pick):
    found = capture(model, tokenizer, PROMPTS, positions=positions, batch_size=2)
    for row, tokens in zip(found if positions == "all" else found.values, alone, strict=True):
        close(row, pick(tokens))


def test_layers_come_in_the_order_asked_for(model, tokenizer):
    every = capture(model, tokenizer, PROMPTS)
    some = capture(model, tokenizer, PROMPTS, layers=[2, 0, 2])
    assert some.layers == (2, 0, 2)
    close(some, every.values[:, [2, 0, 2]])
    assert capture(model, tokenizer, PROMPTS, layers=2).layers == (2,)


def test_neither_deeper_blocks_nor_the_head_run(tokenizer):
    model, ran = tiny_model("llama"), []
    for name, module in [("head", model.get_output_embeddings()), *enumerate(decoder_blocks(model))]:
        module.register_forward_pre_hook(lambda module, args, name=name: ran.append(name))
    before = hooks_on(model)
    capture(model, tokenizer, PROMPTS[0], layers=[1])
    assert ran == [0, 1]
    capture(model, tokenizer, PROMPTS[0])
    assert ran == [0, 1, 0, 1, 2, 3]
    assert hooks_on(model) == before


def test_hooks_come_off_when_a_block_fails(tokenizer):
    model = tiny_model("gpt2")
    decoder_blocks(model)[2].forward = lambda *args, **kwargs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        capture(model, tokenizer, PROMPTS)
    assert hooks_on(model) == 0


def test_an_open_steer_is_in_what_is_read(model, tokenizer):
    vector, alphas = some_vector(layer=1), torch.linspace(-2, 2, len(PROMPTS))
    plain = capture(model, tokenizer, PROMPTS, layers=[0, 1])
    with steer(model, vector, alphas):
        steered = capture(model, tokenizer, PROMPTS, layers=[0, 1])
    close(steered.at(0), plain.at(0))
    close(steered.at(1), plain.at(1) + alphas[:, None] * vector.values)
    assert torch.equal(capture(model, tokenizer, PROMPTS, layers=[0, 1]).values, plain.values)


@pytest.mark.parametrize("positions", ["last", "mean", "all"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_is_the_models(tokenizer, dtype, positions):
    found = capture(tiny_model("llama").to(dtype), tokenizer, PROMPTS, positions=positions)
    each = found if positions == "all" else [found]
    assert {activations.values.dtype for activations in each} == {dtype}
    assert {activations.at(2).dtype for activations in each} == {torch.float32}  # for NumPy, too


def test_training_mode_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        capture(tiny_model("gpt2").train(), tokenizer, PROMPTS)


@pytest.mark.parametrize(
    "index, rows",
    [
        (slice(1, 3), [1, 2]),
        ([2, 0], [2, 0]),
        (torch.tensor([0, 1, 0, 0, 1]).bool(), [1, 4]),
        (..., range(5)),
    ],
)
def test_picked_rows_know_where_they_come_from(tokenizer, index, rows):
    activations = capture(tiny_model("gpt2"), tokenizer, PROMPTS, layers=[1, 3])
    picked = activations[index]
    assert isinstance(picked, Activations)
    assert (picked.layers, picked.source) == ((1, 3), activations.source)
    assert picked.prompts == tuple(PROMPTS[i] for i in rows)
    assert torch.equal(picked.values, activations.values[list(rows)])


def test_a_layer_is_read_by_its_number_and_never_by_its_column(tokenizer):
    model = tiny_model("gpt2")
    every, some = (capture(model, tokenizer, PROMPTS, layers) for layers in (None, [3, 1]))
    for layer in (1, 3):
        close(some.at(layer), every.at(layer))
    with pytest.raises(ValueError, match=r"layer 0 was not captured: choose one of \[3, 1\]"):
        some.at(0)
    for index in (0, (slice(None), 1)):
        with pytest.raises(TypeError, match=r"picks no prompts: use a slice or a list, and .at\(layer\)"):
            some[index]


def test_one_position_a_prompt(model, tokenizer, alone):
    numbers = [1, -2, 0, 3, 0]
    read = capture(model, tokenizer, PROMPTS, positions=numbers, batch_size=2)
    close(read, torch.stack([tokens[i] for tokens, i in zip(alone, numbers, strict=True)]))
    with pytest.raises(ValueError, match="2 positions for 5 prompts: give one, or one each"):
        capture(model, tokenizer, PROMPTS, positions=[0, 1])


def test_a_token_searched_for_in_each_prompt(model, tokenizer):
    prompts = ["It was good.", "It was not very good.", "Was it good? No, not good at all."]
    numbers = token_positions(tokenizer, prompts, " good")
    assert numbers == [2, 4, 7]
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    assert len({row[i] for row, i in zip(ids, numbers, strict=True)}) == 1
    with pytest.raises(ValueError, match=r"no token of 'I am' reads ' good': its tokens are \['I', ' am'\]"):
        token_positions(tokenizer, ["I am"], " good")


def test_all_positions_carry_their_prompt(tokenizer):
    texts = capture(tiny_model("gpt2"), tokenizer, PROMPTS, positions="all")
    assert all(set(text.prompts) == {prompt} for text, prompt in zip(texts, PROMPTS, strict=True))
    held = [text.values.untyped_storage().size() - text.values.nbytes for text in texts]
    assert not any(held)  # none keeps a batch alive


def test_residual_norms_are_medians_without_first_positions(model, tokenizer, alone):
    norms = torch.cat([tokens[1:] for tokens in alone]).norm(dim=-1)
    close(residual_norms(model, tokenizer, PROMPTS), norms.sort(dim=0).values[(len(norms) - 1) // 2])
