"""A model that is reached through another object is steered as the plain one or refused, never in silence."""

import copy

import accelerate
import peft
import pytest
import torch
from by_hand import changed, close, greedy, logits
from conftest import PROMPTS, hooks_on, some_vector, tiny_model
from torch import nn

from steering_utils import capture, continuation_nll, decoder_blocks, generate, next_token_logits, steer
from steering_utils.baking import bake, unbake
from steering_utils.identity import identity
from steering_utils.tokens import encode

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318], [1026, 373, 257, 845, 922, 1110]])


# --- compiled, in each of the ways ---------------------------------------------------------------


def module(model):
    return torch.compile(model, backend="eager")


def whole_graph(model):
    return torch.compile(model, backend="eager", fullgraph=True, dynamic=True)


def in_place(model):
    model.compile(backend="eager")
    return model


def decoder(model):
    name = "transformer" if hasattr(model, "transformer") else "model"
    setattr(model, name, torch.compile(getattr(model, name), backend="eager"))
    return model


def forward(model):
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def each_block(model):
    for block in decoder_blocks(model):
        block.compile(backend="eager")
    return model


def each_blocks_forward(model):
    for block in decoder_blocks(model):
        block.forward = torch.compile(block.forward, backend="eager")
    return model


def blocks_replaced(model):
    blocks = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    for i in range(4):
        blocks[i] = torch.compile(blocks[i], backend="eager")
    return model


FORMS = [module, whole_graph, in_place, decoder, forward, each_block, each_blocks_forward, blocks_replaced]


def readings(model, tokenizer):
    """What the library's functions give for the model as it is."""
    ids = torch.cat([*map(torch.tensor, generated(model, tokenizer))])
    nll = torch.tensor(continuation_nll(model, tokenizer, PROMPTS, [" so"] * 5))
    return [capture(model, tokenizer, PROMPTS).values, next_token_logits(model, tokenizer, PROMPTS), nll, ids]


def generated(model, tokenizer):
    return [text.ids for text in generate(model, tokenizer, PROMPTS, max_new_tokens=2, seed=0)]


@pytest.mark.parametrize(
    "family, form, warm",
    [(family, form, family == "gpt2") for form in FORMS for family in ("gpt2", "llama")]
    + [("gpt2", module, False), ("llama", whole_graph, True)],
)
def test_a_compiled_model_is_steered_and_plain_again(tokenizer, family, form, warm):
    torch._dynamo.reset()
    plain, made = tiny_model(family), form(tiny_model(family))
    with torch.no_grad():
        for _ in range(2 * warm):
            made(IDS)
    before = readings(made, tokenizer)
    with steer(plain, some_vector(), 3.0, positions="from_last"):
        wanted = readings(plain, tokenizer)
    with steer(made, some_vector(), 3.0, positions="from_last"):
        steered = readings(made, tokenizer)
        with torch.no_grad():
            inside = made(IDS).logits
    for a, b in zip([*steered, *before], [*wanted, *readings(plain, tokenizer)], strict=True):
        close(a.float(), b.float())
    assert changed(steered[1], before[1])
    with steer(plain, some_vector(), 3.0, positions="from_last"):
        close(inside, logits(plain, IDS))
    with torch.no_grad():  # what was compiled meanwhile, or before, holds no hook
        close(made(IDS).logits, logits(plain, IDS))


def test_a_static_cache_that_generation_would_compile_is_steered(tokenizer):
    model = tiny_model("llama")
    with steer(model, some_vector(), 2.0, positions="new"):
        wanted, _ = greedy(model, tokenizer, PROMPTS)
        static, _ = greedy(model, tokenizer, PROMPTS, cache_implementation="static")
    assert torch.equal(static, wanted)


def test_baking_works_on_a_compiled_model():
    plain, made = tiny_model("gpt2"), module(tiny_model("gpt2"))
    with torch.no_grad():
        before = made(IDS).logits
        bake(made, some_vector(), 3.0)
        baked = made(IDS).logits
        unbake(made)
        after = made(IDS).logits
    with steer(plain, some_vector(), 3.0):
        close(baked, logits(plain, IDS))
    close(after, before)


def test_nothing_stays_eager_afterwards():
    torch._dynamo.reset()
    model, graphs = tiny_model("gpt2"), []

    def count(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    made = torch.compile(model, backend=count)
    with torch.no_grad():
        with steer(made, some_vector()):
            made(IDS)
        assert not graphs
        made(IDS)
    assert graphs


# --- a pass that does not meet the hooks ---------------------------------------------------------


def test_a_pass_that_runs_past_the_hooks_is_an_error_and_no_plain_text(tokenizer):
    for family in ("gpt2", "llama"):
        model = tiny_model(family)
        output = model(IDS)
        model.forward = lambda *args, output=output, **kwargs: output
        said = "ran past the hook of layer 1: use the model as loaded"
        with pytest.raises(RuntimeError, match=said), steer(model, some_vector(1)):
            model(IDS)
        model = tiny_model(family)
        past = model.transformer if family == "gpt2" else model.model
        past.forward = lambda *args, output=output, **kwargs: output
        with pytest.raises((RuntimeError, AttributeError, TypeError)), steer(model, some_vector(1)):
            generate(model, tokenizer, PROMPTS)
        assert hooks_on(model) == 0


def test_a_traced_model_is_refused():
    traced = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))  # any module: what was traced is all alike
    traced.config = tiny_model("gpt2").config
    with pytest.raises(TypeError, match="traced or scripted model runs no hooks: give the model"):
        steer(traced, some_vector())


def test_a_pipeline_is_refused_and_its_model_named(tokenizer):
    from transformers import pipeline

    pipe = pipeline("text-generation", model=tiny_model("gpt2"), tokenizer=tokenizer)
    with pytest.raises(TypeError, match=r"got TextGenerationPipeline: give the model in it, its \.model"):
        steer(pipe, some_vector())
    with steer(pipe.model, some_vector(), 5.0):
        steered = pipe("I am", max_new_tokens=3, do_sample=False)
    assert steered != pipe("I am", max_new_tokens=3, do_sample=False)


# --- several devices, and weights elsewhere ------------------------------------------------------


def test_data_parallel_of_one_device_is_unwrapped_and_of_more_refused(tokenizer):
    plain, made = tiny_model("gpt2"), nn.DataParallel(tiny_model("gpt2"), device_ids=[])
    with steer(plain, some_vector(), 3.0):
        wanted = readings(plain, tokenizer)
    for form in (made, torch.compile(made, backend="eager")):
        with steer(form, some_vector(), 3.0):
            assert all(map(torch.equal, readings(form, tokenizer), wanted))
    made.device_ids = [0, 1]
    with pytest.raises(ValueError, match=r"DataParallel copies the model .*: give its \.module"):
        steer(made, some_vector())


def test_a_sweep_gives_accelerate_its_own_forwards_back(tokenizer, tmp_path):
    places = {f"model.layers.{k}": "cpu" if k < 2 else "disk" for k in range(4)}
    places |= {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    plain = tiny_model("llama")
    spread = accelerate.dispatch_model(tiny_model("llama"), places, main_device="cpu", offload_dir=tmp_path)
    own = [block.__dict__["forward"] for block in decoder_blocks(spread)]
    results = []
    for model in (plain, spread):
        with steer(model, [some_vector(2), some_vector(2, seed=1)], torch.eye(2).repeat_interleave(2, dim=1)):
            results.append(next_token_logits(model, tokenizer, PROMPTS[:2] * 2))
    close(*results)
    assert [block.__dict__["forward"] for block in decoder_blocks(spread)] == own


# --- adapters ------------------------------------------------------------------------------------


def with_lora(family="gpt2"):
    """A model with a LoRA adapter that changes something."""
    torch.manual_seed(1)
    targets = ["c_attn", "c_proj"] if family == "gpt2" else ["q_proj", "o_proj", "down_proj"]
    config = peft.LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=False)
    model = tiny_model(family)
    model.name_or_path = "someone/base"
    return peft.get_peft_model(model, config).eval()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_model_with_lora_is_steered_from_outside_and_inside(tokenizer, family):
    adapted = with_lora(family)
    inner = adapted.get_base_model()
    before = readings(adapted, tokenizer)
    assert changed(before[1], next_token_logits(tiny_model(family), tokenizer, PROMPTS))
    outside, inside = [], []
    for model, results in ((adapted, outside), (inner, inside)):
        with steer(model, some_vector(), [1.0, 2.0, 0.0, -1.0, 3.0], positions="from_last"):
            results += readings(adapted, tokenizer)
            results += [
                adapted.generate(**encode(tokenizer, PROMPTS, "left"), max_new_tokens=2, pad_token_id=0)
            ]
    assert all(map(torch.equal, outside, inside))
    assert changed(outside[1], before[1])
    assert all(map(torch.equal, readings(adapted, tokenizer), before))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_baking_into_a_model_with_lora_is_exact(family):
    adapted = with_lora(family)
    before = logits(adapted, IDS)
    with steer(adapted, some_vector(2), 2.0):
        wanted = logits(adapted, IDS)
    bake(adapted, some_vector(2), 2.0)
    close(logits(adapted, IDS), wanted)
    unbake(adapted)
    assert torch.equal(logits(adapted, IDS), before)


def test_an_adapter_is_part_of_the_models_name():
    adapted = with_lora()
    assert identity(adapted)["model"] == "someone/base + default"
    vector = some_vector().replaced(model="someone/base")
    with pytest.raises(ValueError, match=r"the model is 'someone/base \+ default'.*carried_to\(model\)"):
        steer(adapted, vector)
    with steer(adapted, vector.carried_to(adapted)):
        logits(adapted, IDS)


def test_a_learned_prompt_is_refused(tokenizer):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    adapted = peft.get_peft_model(copy.deepcopy(tiny_model("gpt2")), config).eval()
    for call in (
        lambda: steer(adapted, some_vector()),
        lambda: capture(adapted, tokenizer, PROMPTS),
        lambda: next_token_logits(adapted, tokenizer, PROMPTS),
        lambda: generate(adapted, tokenizer, PROMPTS),
    ):
        with pytest.raises(ValueError, match="a learned prompt shifts the positions of the input"):
            call()
