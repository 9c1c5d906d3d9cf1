"""`steer` adds exactly alpha * v where it says, and leaves the model as it was."""

import contextlib
import functools
import threading

import accelerate
import pytest
import torch
import transformers
from by_hand import added_by_hand, block_outputs, changed, close, greedy, greedy_by_hand, logits
from conftest import PROMPTS, hooks_on, some_vector, tiny_model
from torch.utils._pytree import tree_map_only

from steering_utils import SteeringVector, capture, decoder_blocks, generate, next_token_logits, steer
from steering_utils.blocks import residual
from steering_utils.positions import WORDS
from steering_utils.tokens import encode

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318], [1026, 373, 257, 845, 922, 1110]])


# --- what is added -------------------------------------------------------------------------------


def test_alpha_zero_is_bit_identical(model):
    for alpha in (0, 0.0, [0.0, 0.0]):
        with steer(model, [some_vector(k) for k in range(4)], alpha):
            assert torch.equal(logits(model, IDS), logits(tiny_model(model.config.model_type), IDS))


def test_several_vectors_add_up(model):
    u, v, w = some_vector(1), some_vector(1, seed=1), some_vector(2, seed=2)
    with steer(model, [u, v, w], 0.5):
        together = logits(model, IDS)
    with steer(model, w, 0.5), steer(model, u, 0.5), steer(model, v, 0.5):
        nested = logits(model, IDS)
    with steer(model, [SteeringVector(u.values + v.values, 1), w], 0.5):
        summed = logits(model, IDS)
    close(together, summed)
    close(nested, summed)
    assert changed(summed, logits(model, IDS))


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


@pytest.mark.parametrize("positions", WORDS)
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


@pytest.mark.parametrize("positions", [*WORDS, "mask"])
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("options", [{}, {"temperature": 0, "num_beams": 3}])
def test_positions_hold_for_sampling_and_beams(model, tokenizer, positions, use_cache, options):
    alphas, options = [1.5, -1.5, 2.0], options | {"max_new_tokens": 5, "use_cache": use_cache}
    real = encode(tokenizer, PROMPTS[:3], padding_side="left")["attention_mask"].bool()
    mask = real & (torch.arange(real.shape[1]) % 2 == 1)
    with steer(model, some_vector(), alphas, positions=mask if positions == "mask" else positions):
        together = generate(model, tokenizer, PROMPTS[:3], **options)
    alone = []
    for seed, (prompt, alpha) in enumerate(zip(PROMPTS[:3], alphas, strict=True)):
        where = mask[seed : seed + 1, real[seed]] if positions == "mask" else positions
        with steer(model, some_vector(), alpha, positions=where):
            alone += generate(model, tokenizer, prompt, seed=seed, **options)
    assert together == alone


def test_a_mask_may_reach_into_what_is_generated(model, tokenizer):
    prompt = tokenizer(PROMPTS[1])["input_ids"]
    mask = torch.zeros(1, len(prompt) + 2, dtype=torch.bool)
    mask[0, [1, len(prompt)]] = True  # the second token of the prompt, and the first new one
    _, wanted = greedy_by_hand(model, prompt, some_vector(), 1.5, {1, len(prompt)}, n_new=5)
    for use_cache in (True, False):
        with steer(model, some_vector(), 1.5, positions=mask):
            _, found = greedy(model, tokenizer, PROMPTS[1:2], use_cache=use_cache)
        close(found[0], wanted)


def test_a_mask_keeps_to_its_prompt_with_beams(model, tokenizer):
    prompts, options = PROMPTS[:2], {"num_beams": 3, "num_return_sequences": 2}
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, 5] = True  # the last token of the first prompt; nothing of the second
    with steer(model, some_vector(), 2.0, positions=mask):
        ids, _ = greedy(model, tokenizer, prompts, **options)
    with steer(model, some_vector(), 2.0, positions="last"):
        assert torch.equal(ids[:2], greedy(model, tokenizer, prompts[:1], **options)[0])
    assert torch.equal(ids[2:], greedy(model, tokenizer, prompts[1:], **options)[0])


def test_positions_differ(model, tokenizer):
    found = [greedy(model, tokenizer, PROMPTS)[1]]
    for positions in WORDS:
        with steer(model, some_vector(), 2.0, positions=positions):
            found.append(greedy(model, tokenizer, PROMPTS)[1])
    assert all(changed(a[:, 1], b[:, 1]) for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("positions", WORDS)
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
        wanted = next_token_logits(model, tokenizer, texts)
    with steer(model, some_vector(), 1.5, positions="prompt"):
        close(next_token_logits(model, tokenizer, texts), wanted)
        close(next_token_logits(model, tokenizer, texts), wanted)
    with steer(model, some_vector(), 1.5, positions="last"):
        alone = next_token_logits(model, tokenizer, texts)
        close(next_token_logits(model, tokenizer, texts), alone)
    assert changed(alone, wanted)
    with steer(model, some_vector(), 1.5, positions="new"):
        plain = next_token_logits(model, tokenizer, texts)
    assert torch.equal(plain, next_token_logits(model, tokenizer, texts))


@pytest.mark.parametrize("positions, steered", [("prompt", [3, 4, 5]), ("last", [5]), ("new", [])])
@torch.no_grad()
def test_a_prompt_that_is_partly_in_the_cache_is_all_prompt(model, positions, steered):
    cache, vector = model(IDS[:, :3]).past_key_values, some_vector()
    with steer(model, vector, 1.5, positions=positions):
        found = model(IDS[:, 3:], past_key_values=cache, attention_mask=torch.ones_like(IDS)).logits
    where = torch.isin(torch.arange(6), torch.tensor(steered)).float()[:, None]
    with added_by_hand(model, vector.layer, lambda n_tokens: 1.5 * vector.values * where):
        close(found, logits(model, IDS)[:, 3:])


def test_embeddings_in_place_of_ids(model):
    with steer(model, some_vector(), [1.5, -1.5], positions="last"), torch.no_grad():
        found = model(inputs_embeds=model.get_input_embeddings()(IDS)).logits
        close(found, logits(model, IDS))


# --- how it goes away ----------------------------------------------------------------------------


def leave_normally(model):
    with steer(model, some_vector(), positions="new"):
        logits(model, IDS)


def leave_by(error):
    def leave(model):
        with contextlib.suppress(error), steer(model, [some_vector(0), some_vector(3)], positions="last"):
            logits(model, IDS)
            raise error

    return leave


def leave_in_the_order_entered(model):
    first, second = steer(model, some_vector(1)), steer(model, some_vector(1, seed=1), 2.0)
    first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    with torch.no_grad():
        left = logits(model, IDS)
    second.__exit__(None, None, None)
    with steer(model, some_vector(1, seed=1), 2.0):
        assert torch.equal(left, logits(model, IDS))


def leave_by_a_failing_block(model):
    block = decoder_blocks(model)[3]
    handle = block.register_forward_pre_hook(lambda module, args: 1 / 0)
    with contextlib.suppress(ZeroDivisionError), steer(model, some_vector(), [1, 2], positions="prompt"):
        logits(model, IDS)
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
    before = logits(model, IDS)
    leave(model)
    assert hooks_on(model) == 0
    assert torch.equal(logits(model, IDS), before)


# --- what it works with --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, KeyboardInterrupt, RuntimeError])
def test_the_model_is_clean_after_generation_breaks_off_inside_a_block(model, tokenizer, error):
    before, steps = logits(model, IDS), []

    def break_off(module, args):
        steps.append(1)
        if len(steps) == 3:
            raise error("in the middle")

    with (
        decoder_blocks(model)[3].register_forward_pre_hook(break_off),
        pytest.raises(error, match="in the middle"),
        steer(model, some_vector(), [1.0, 2.0], positions="new"),
    ):
        generate(model, tokenizer, PROMPTS[:2])
    assert hooks_on(model) == 0
    assert torch.equal(logits(model, IDS), before)


def on_two_devices():
    """A tiny model whose later half is on the device meta: a second device that every machine has."""
    model = tiny_model("llama")
    to_meta = functools.partial(tree_map_only, torch.Tensor, lambda x: x.to("meta"))
    for module in [*decoder_blocks(model)[2:], model.model.norm, model.lm_head]:
        module.to("meta").register_forward_pre_hook(lambda m, *inputs: to_meta(inputs), with_kwargs=True)
    return model


@pytest.mark.parametrize("alpha", [2.0, [1.0, -1.0]])
def test_each_block_is_steered_on_its_own_device(alpha):
    model, devices = on_two_devices(), []
    for block in decoder_blocks(model):
        block.register_forward_hook(lambda m, args, output: devices.append(residual(output).device.type))
    with steer(model, [some_vector(k) for k in range(4)], alpha, positions="last"), torch.no_grad():
        model(IDS, use_cache=False)
    assert devices == ["cpu", "cpu", "meta", "meta"]


def test_blocks_on_two_devices_are_read_into_one_result(tokenizer):
    found = capture(on_two_devices(), tokenizer, PROMPTS, layers=[3, 0], device="meta")
    assert (found.values.device.type, found.shape) == ("meta", (5, 2, 32))


def test_weights_that_accelerate_keeps_on_disk(tokenizer, tmp_path):
    model, vector = tiny_model("llama"), some_vector(2)
    with steer(model, vector, 1.5):
        wanted = logits(model, IDS)
    places = {f"model.layers.{k}": "cpu" if k < 2 else "disk" for k in range(4)}
    places |= {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    spread = accelerate.dispatch_model(tiny_model("llama"), places, main_device="cpu", offload_dir=tmp_path)
    assert next(decoder_blocks(spread)[2].parameters()).device.type == "meta"  # brought in when it runs
    with steer(spread, vector, 1.5):
        close(logits(spread, IDS), wanted)
    close(capture(spread, tokenizer, PROMPTS).values, capture(model, tokenizer, PROMPTS).values)


def test_alpha_can_be_learned(model):
    alpha = torch.tensor([0.5, 0.0], requires_grad=True)
    for _ in range(2):  # the second backward pass must not meet the graph of the first
        with steer(model, some_vector(3), alpha):
            loss = model(IDS).logits[:, -1, 7].sum()
        loss.backward()
    step, grads = 1e-2, alpha.grad / 2
    for row in range(2):
        ends = []
        for sign in (1, -1):
            shifted = alpha.detach().clone()
            shifted[row] += sign * step
            with steer(model, some_vector(3), shifted):
                ends.append(logits(model, IDS)[:, -1, 7].double().sum())
        assert grads[row] == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=0.05, abs=1e-3)


def test_a_block_that_runs_by_itself_is_refused_where_positions_matter():
    model, calls = tiny_model("llama"), []
    block = decoder_blocks(model)[1]
    with block.register_forward_pre_hook(lambda m, *inputs: calls.append(inputs), with_kwargs=True):
        logits(model, IDS)
    args, kwargs = calls[0]
    with (
        steer(model, some_vector(), positions="last"),
        pytest.raises(RuntimeError, match="a block ran outside a forward pass of the model: call the model"),
    ):
        block(*args, **kwargs)


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


def test_the_blocks_own_output_is_not_written_into(model, monkeypatch):
    block, own = decoder_blocks(model)[1], []
    with block.register_forward_hook(lambda module, args, output: own.append(output)):
        logits(model, IDS)
    monkeypatch.setattr(block, "forward", lambda *args, **kwargs: own[0])
    h = own[0][0] if isinstance(own[0], tuple) else own[0]
    before = h.clone()
    with steer(model, some_vector(), [1, 2], positions="last"):
        logits(model, IDS)
    assert torch.equal(h, before)


def test_gradients_flow_through(model):
    embeddings = model.get_input_embeddings()(IDS).detach().requires_grad_()
    with steer(model, some_vector(3), 1.0):
        model(inputs_embeds=embeddings).logits.sum().backward()
    assert embeddings.grad.isfinite().all() and embeddings.grad.abs().sum() > 0


@pytest.mark.skipif(
    transformers.__version__ < "5",
    reason="transformers 4 records a block's state before any hook can change it",
)
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
                found[family].append(logits(models[family], IDS))

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
