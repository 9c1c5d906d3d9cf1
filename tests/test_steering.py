"""`steer` adds exactly alpha * v where it says, and leaves the model as it was."""

import contextlib
import threading

import pytest
import torch
from conftest import FAMILIES, PROMPTS, block_outputs, hooks_on, some_vector, tiny_model

from steering_utils import SteeringVector, decoder_blocks, next_token_logits, steer
from steering_utils.steering import POSITIONS
from steering_utils.tokens import encode

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318], [1026, 373, 257, 845, 922, 1110]])


@torch.no_grad()
def logits(model, ids=IDS):
    return model(ids).logits


def close(a, b, atol=2e-4):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


def changed(a, b):
    return float((a - b).abs().max()) > 0.05


@contextlib.contextmanager
def added_by_hand(model, layer, where):
    """Add `where(n_tokens)`, a tensor (n_tokens, d_model), to a block's output: the reference."""

    def hook(module, args, output):
        h = output[0] if isinstance(output, tuple) else output
        h = h + where(h.shape[1])
        return (h, *output[1:]) if isinstance(output, tuple) else h

    handle = decoder_blocks(model)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def columns(positions, n_prompt, n_tokens):
    """1 for each column that `positions` names, for one prompt without padding: (n_tokens, 1)."""
    column = torch.arange(n_tokens)
    chosen = {
        "all": column >= 0,
        "prompt": column < n_prompt,
        "new": column >= n_prompt,
        "last": column == n_prompt - 1,
    }
    return chosen[positions].float()[:, None]


def greedy_by_hand(model, ids, vector, alpha, positions, n_new):
    """Greedy decoding of one prompt, run afresh for each token: ids and logits (n_new, n_vocabulary)."""
    ids, rows, n_prompt = torch.tensor([ids]), [], len(ids)

    def where(n_tokens):
        return alpha * vector.values * columns(positions, n_prompt, n_tokens)

    with added_by_hand(model, vector.layer, where):
        for _ in range(n_new):
            rows.append(logits(model, ids)[0, -1])
            ids = torch.cat([ids, rows[-1].argmax().view(1, 1)], dim=1)
    return ids[0, n_prompt:], torch.stack(rows)


def greedy(model, tokenizer, prompts, n_new=5, **options):
    """The model's own greedy decoding: ids (n_prompts, n_new) and logits (n_prompts, n_new, n_vocabulary)."""
    inputs = encode(tokenizer, prompts, padding_side="left")
    settings = {"do_sample": False, "pad_token_id": 50256, "eos_token_id": None, "max_new_tokens": n_new}
    full = {"output_logits": True, "return_dict_in_generate": True}
    output = model.generate(**inputs, **settings, **full, **options)
    return output.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(output.logits, dim=1)


# --- what is added -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", range(4))
def test_exactly_alpha_v_is_added_at_the_blocks_output(family, layer):
    model, vector, alpha = tiny_model(family), some_vector(layer), -1.7
    before = block_outputs(model, IDS[0].tolist())
    with steer(model, vector, alpha):
        after = block_outputs(model, IDS[0].tolist())
    close(after[layer] - before[layer] - alpha * vector.values, torch.zeros(6, 32), atol=1e-5)
    assert torch.equal(after[:layer], before[:layer])
    assert all(changed(after[k], before[k]) for k in range(layer + 1, 4))


def test_alpha_zero_is_bit_identical(model):
    for alpha in (0, 0.0, [0.0, 0.0]):
        with steer(model, [some_vector(k) for k in range(4)], alpha):
            assert torch.equal(logits(model), logits(tiny_model(model.config.model_type)))


def test_several_vectors_add_up(model):
    u, v, w = some_vector(1), some_vector(1, seed=1), some_vector(2, seed=2)
    with steer(model, [u, v, w], 0.5):
        together = logits(model)
    with steer(model, w, 0.5), steer(model, u, 0.5), steer(model, v, 0.5):
        nested = logits(model)
    with steer(model, [SteeringVector(u.values + v.values, 1), w], 0.5):
        summed = logits(model)
    close(together, summed)
    close(nested, summed)
    assert changed(summed, logits(model))


def test_one_alpha_per_row_is_as_many_calls(model):
    alphas, vector = [-2.0, 0.0, 0.5, 3.0], some_vector()
    with steer(model, vector, alphas):
        at_once = logits(model, IDS[:1].expand(4, -1))
    for row, alpha in zip(at_once, alphas, strict=True):
        with steer(model, vector, alpha):
            close(row, logits(model, IDS[:1])[0])


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}])
def test_rows_keep_their_alpha_with_beams(model, tokenizer, options, use_cache):
    alphas, vector = [-2.0, 2.0, 0.5], some_vector()
    options = options | {"use_cache": use_cache}
    with steer(model, vector, alphas):
        at_once, _ = greedy(model, tokenizer, PROMPTS[:3], **options)
    one_by_one = []
    for prompt, alpha in zip(PROMPTS, alphas, strict=False):
        with steer(model, vector, alpha):
            one_by_one.append(greedy(model, tokenizer, [prompt], **options)[0])
    assert torch.equal(at_once, torch.cat(one_by_one))


def test_rows_keep_their_alpha_with_several_samples(tokenizer):
    model, sure = tiny_model("gpt2"), {"temperature": 1e-4, "num_return_sequences": 3, "max_new_tokens": 2}
    inputs = encode(tokenizer, [PROMPTS[0]] * 2, padding_side="left")
    with steer(model, some_vector(), [3, -3]):
        ids = model.generate(**inputs, do_sample=True, pad_token_id=0, **sure)[:, -2:].tolist()
    assert ids == [ids[0]] * 3 + [ids[3]] * 3
    assert ids[0] != ids[3]


# --- where it is added ---------------------------------------------------------------------------


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("use_cache", [True, False])
def test_positions_hold_with_and_without_cache_and_padding(model, tokenizer, positions, use_cache):
    vector, alphas = some_vector(), [1.5, -1.5, 1.0, -1.0, 2.0]
    with steer(model, vector, alphas, positions=positions):
        ids, found = greedy(model, tokenizer, PROMPTS, use_cache=use_cache)
    for row, alpha in enumerate(alphas):
        prompt = tokenizer(PROMPTS[row])["input_ids"]
        wanted_ids, wanted = greedy_by_hand(model, prompt, vector, alpha, positions, n_new=5)
        assert torch.equal(ids[row], wanted_ids)
        close(found[row], wanted)


def test_positions_differ(model, tokenizer):
    found = [greedy(model, tokenizer, PROMPTS)[1]]
    for positions in POSITIONS:
        with steer(model, some_vector(), 2.0, positions=positions):
            found.append(greedy(model, tokenizer, PROMPTS)[1])
    assert all(changed(a[:, 1], b[:, 1]) for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", ["prompt", "new"])
def test_positions_hold_in_every_family(family, tokenizer, positions):
    model, vector = tiny_model(family), some_vector()
    with steer(model, vector, 1.5, positions=positions):
        _, found = greedy(model, tokenizer, PROMPTS[:1], n_new=3)
    prompt = tokenizer(PROMPTS[0])["input_ids"]
    close(found[0], greedy_by_hand(model, prompt, vector, 1.5, positions, n_new=3)[1])


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("use_cache", [True, False])
def test_each_generate_call_has_its_own_prompt(model, tokenizer, positions, use_cache):
    vector, options = some_vector(), {"n_new": 2, "use_cache": use_cache}
    calls = ["No", "She said that", "She said that the weather is nice", "I am"]  # 1, 3, 7 and 2 tokens
    with steer(model, vector, 1.5, positions=positions):
        together = [greedy(model, tokenizer, [prompt], **options)[1] for prompt in calls]
    for prompt, found in zip(calls, together, strict=True):
        with steer(model, vector, 1.5, positions=positions):
            assert torch.equal(found, greedy(model, tokenizer, [prompt], **options)[1])


def test_what_is_not_generated_is_prompt(model, tokenizer):
    texts = ["I am", "I am sad", "I am sad today"]  # each is the one before with one more token
    with steer(model, some_vector(), 1.5):
        wanted = next_token_logits(model, tokenizer, texts, batch_size=1)
    with steer(model, some_vector(), 1.5, positions="prompt"):
        close(next_token_logits(model, tokenizer, texts, batch_size=1), wanted)
        close(next_token_logits(model, tokenizer, texts), wanted)
    with steer(model, some_vector(), 1.5, positions="last"):
        alone = next_token_logits(model, tokenizer, texts, batch_size=1)
        close(next_token_logits(model, tokenizer, texts), alone)
    assert changed(alone, wanted)
    with steer(model, some_vector(), 1.5, positions="new"):
        plain = next_token_logits(model, tokenizer, texts, batch_size=1)
    assert torch.equal(plain, next_token_logits(model, tokenizer, texts, batch_size=1))


@pytest.mark.parametrize("positions, steered", [("prompt", [3, 4, 5]), ("last", [5]), ("new", [])])
@torch.no_grad()
def test_a_prompt_that_is_partly_in_the_cache_is_all_prompt(model, positions, steered):
    cache, vector = model(IDS[:, :3]).past_key_values, some_vector()
    with steer(model, vector, 1.5, positions=positions):
        found = model(IDS[:, 3:], past_key_values=cache, attention_mask=torch.ones_like(IDS)).logits
    where = torch.isin(torch.arange(6), torch.tensor(steered)).float()[:, None]
    with added_by_hand(model, vector.layer, lambda n_tokens: 1.5 * vector.values * where):
        close(found, logits(model)[:, 3:])


def test_embeddings_in_place_of_ids(model):
    with steer(model, some_vector(), [1.5, -1.5], positions="last"), torch.no_grad():
        found = model(inputs_embeds=model.get_input_embeddings()(IDS)).logits
        close(found, logits(model))


# --- how it goes away ----------------------------------------------------------------------------


def leave_normally(model):
    with steer(model, some_vector(), positions="new"):
        logits(model)


def leave_by(error):
    def leave(model):
        with contextlib.suppress(error), steer(model, [some_vector(0), some_vector(3)], positions="last"):
            logits(model)
            raise error

    return leave


def leave_in_the_order_entered(model):
    first, second = steer(model, some_vector(1)), steer(model, some_vector(1, seed=1), 2.0)
    first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    with torch.no_grad():
        left = logits(model)
    second.__exit__(None, None, None)
    with steer(model, some_vector(1, seed=1), 2.0):
        assert torch.equal(left, logits(model))


def leave_by_a_failing_block(model):
    block = decoder_blocks(model)[3]
    handle = block.register_forward_pre_hook(lambda module, args: 1 / 0)
    with contextlib.suppress(ZeroDivisionError), steer(model, some_vector(), [1, 2], positions="prompt"):
        logits(model)
    handle.remove()


@pytest.mark.parametrize(
    "leave",
    [
        leave_normally,
        leave_by(RuntimeError),
        leave_by(KeyboardInterrupt),
        leave_by(GeneratorExit),
        leave_in_the_order_entered,
        leave_by_a_failing_block,
    ],
)
def test_the_model_is_as_it_was(model, leave):
    before = logits(model)
    leave(model)
    assert hooks_on(model) == 0
    assert torch.equal(logits(model), before)


# --- what it works with --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tensor", "tuple"])
def test_blocks_may_return_tensors_or_tuples(model, monkeypatch, kind):
    """transformers 4 and 5 differ in it, so both forms are made here and looked at by the next block."""
    block, following, seen = decoder_blocks(model)[1], decoder_blocks(model)[2], []
    forward, read = block.forward, following.forward

    def as_kind(*args, **kwargs):
        output = forward(*args, **kwargs)
        h = output[0] if isinstance(output, tuple) else output
        return (h, "kept") if kind == "tuple" else h

    def unwrapped(h, *args, **kwargs):
        seen.append(h)
        return read(h[0] if isinstance(h, tuple) else h, *args, **kwargs)

    with steer(model, some_vector()):
        wanted = logits(model)
    monkeypatch.setattr(block, "forward", as_kind)
    monkeypatch.setattr(following, "forward", unwrapped)
    with steer(model, some_vector()):
        assert torch.equal(logits(model), wanted)
    assert isinstance(seen[0], tuple) == (kind == "tuple")
    assert kind == "tensor" or seen[0][1] == "kept"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(tokenizer, dtype):
    model, vector = tiny_model("llama").to(dtype), some_vector()
    before = block_outputs(model, IDS[0].tolist())[1]
    with steer(model, vector, [2.0], positions="prompt"):
        after = block_outputs(model, IDS[0].tolist())[1]
        assert greedy(model, tokenizer, PROMPTS[:1])[1].dtype == torch.float32
    assert after.dtype == dtype
    wanted = before.double() + 2.0 * vector.values
    assert ((after - wanted).abs() <= wanted.abs() * 2 * torch.finfo(dtype).eps + 1e-2).all()


def test_the_blocks_own_output_is_not_written_into(model):
    own = []
    block = decoder_blocks(model)[1]
    handle = block.register_forward_hook(lambda module, args, output: own.append(output))
    logits(model)
    handle.remove()
    forward = block.forward
    block.forward = lambda *args, **kwargs: own[0]
    with steer(model, some_vector(), [1, 2], positions="last"):
        before = own[0].clone()
        logits(model)
    block.forward = forward
    assert torch.equal(own[0], before)


def test_gradients_flow_through(model):
    embeddings = model.get_input_embeddings()(IDS).detach().requires_grad_()
    with steer(model, some_vector(3), 1.0):
        model(inputs_embeds=embeddings).logits.sum().backward()
    assert embeddings.grad.isfinite().all() and embeddings.grad.abs().sum() > 0


@torch.no_grad()
def test_hidden_states_show_the_steered_state_though_asked_for_before(tokenizer):
    model = tiny_model("llama")
    before = model(IDS, output_hidden_states=True).hidden_states[2]
    with steer(model, some_vector(1)):
        close(model(IDS, output_hidden_states=True).hidden_states[2], before + some_vector(1).values)


def test_two_threads_with_two_models_do_not_meet():
    models = {family: tiny_model(family) for family in ("gpt2", "llama")}
    wanted, found = {}, {family: [] for family in models}

    def run(family, times):
        for alpha in torch.linspace(-3, 3, times).tolist():
            with steer(models[family], some_vector(), [alpha, -alpha], positions="last"):
                found[family].append(logits(models[family]))

    for family in models:
        run(family, 20)
    wanted, found = found, {family: [] for family in models}
    threads = [threading.Thread(target=run, args=(family, 20)) for family in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for family, model in models.items():
        assert hooks_on(model) == 0
        assert all(torch.equal(a, b) for a, b in zip(found[family], wanted[family], strict=True))
