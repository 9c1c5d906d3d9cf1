"""`capture` reads what each block returns, as if each prompt had been alone."""

import pytest
import torch
from by_hand import block_outputs
from conftest import PROMPTS, hooks_on, some_vector, tiny_model

from steering_utils import Activations, capture, decoder_blocks, residual_norms, steer


@pytest.fixture(scope="module")
def alone(model, tokenizer):
    """Each prompt's residual streams from a pass of its own: a list of (n_tokens, n_layers, d_model)."""
    return [block_outputs(model, tokenizer(prompt)["input_ids"]).transpose(0, 1) for prompt in PROMPTS]


def close(a, b):
    torch.testing.assert_close(torch.Tensor(a), b, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 32])
def test_a_prompt_reads_the_same_in_any_batch_with_any_tokenizer_setting(
    model, tokenizer, alone, side, batch_size, monkeypatch
):
    monkeypatch.setattr(tokenizer, "padding_side", side)
    found = capture(model, tokenizer, PROMPTS, batch_size=batch_size)
    close(found, torch.stack([tokens[-1] for tokens in alone]))


@pytest.mark.parametrize("positions", ["last", "all", 0])
def test_more_prompts_than_are_sorted_together_stay_in_order(model, tokenizer, alone, positions, monkeypatch):
    monkeypatch.setattr("steering_utils.activations.STRETCH", 2)
    found = capture(model, tokenizer, PROMPTS, positions=positions, batch_size=2)
    for row, tokens in zip(found, alone, strict=True):
        close(row, tokens if positions == "all" else tokens[-1 if positions == "last" else 0])


def test_thousands_of_prompts_stay_in_order_under_a_progress_bar(tokenizer, capsys):
    model, prompts = tiny_model("gpt2"), [" ".join(["no"] * (1 + i % 7)) for i in range(2_100)]
    found = capture(model, tokenizer, prompts, layers=0, batch_size=100, progress=True)
    assert "capture: 100%" in (shown := capsys.readouterr().err) and "2100/2100" in shown
    close(found, torch.Tensor(capture(model, tokenizer, prompts[:7], layers=0)).repeat(300, 1, 1))
    assert not capsys.readouterr().err  # none unless asked for


@pytest.mark.parametrize("positions", ["last", "mean", "all", 0])
def test_the_result_is_on_the_device_asked_for(model, tokenizer, positions):
    for asked, wanted in (
        ({}, "cpu"),
        ({"device": "meta"}, "meta"),
    ):  # a second device that every machine has
        found = capture(model, tokenizer, PROMPTS, positions=positions, **asked)
        assert {one.device.type for one in found} == {wanted}


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
    for one, tokens in zip(found, alone, strict=True):
        close(one, pick(tokens))


def test_layers_come_in_the_order_asked_for(model, tokenizer):
    every = capture(model, tokenizer, PROMPTS)
    some = capture(model, tokenizer, PROMPTS, layers=[2, 0, 2])
    assert some.layers == (2, 0, 2)
    close(some, torch.Tensor(every)[:, [2, 0, 2]])
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
    close(steered[:, 0], plain[:, 0])
    close(steered[:, 1], plain[:, 1] + alphas[:, None] * vector.values)
    assert torch.equal(capture(model, tokenizer, PROMPTS, layers=[0, 1]), plain)


@pytest.mark.parametrize("positions", ["last", "mean", "all"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_is_the_models(tokenizer, dtype, positions):
    found = capture(tiny_model("llama").to(dtype), tokenizer, PROMPTS, positions=positions)
    assert {one.dtype for one in found} == {dtype}


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
    assert torch.equal(picked, activations.detach()[list(rows)])


def test_other_operations_give_plain_tensors(tokenizer):
    a = capture(tiny_model("gpt2"), tokenizer, PROMPTS)
    made = [a + 1, a[0], a[:, 0], a[1:3, 0], a[None], a.mean(0), a.clone(), a.double(), torch.cat([a, a])]
    assert {type(x) for x in made} == {torch.Tensor}


def test_all_positions_carry_their_prompt(tokenizer):
    texts = capture(tiny_model("gpt2"), tokenizer, PROMPTS, positions="all")
    assert all(set(one.prompts) == {prompt} for one, prompt in zip(texts, PROMPTS, strict=True))
    assert all(one.untyped_storage().size() == one.nbytes for one in texts)  # none keeps a batch alive


def test_residual_norms_are_medians_without_first_positions(model, tokenizer, alone):
    norms = torch.cat([tokens[1:] for tokens in alone]).norm(dim=-1)
    close(residual_norms(model, tokenizer, PROMPTS), norms.sort(dim=0).values[(len(norms) - 1) // 2])
