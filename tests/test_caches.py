"""Positions are counted rightly whatever holds the columns before: states, windows, static caches, chunks."""

import pytest
import torch
import transformers
from by_hand import close, greedy, greedy_by_hand, logits
from conftest import FAMILIES, PROMPTS, SMALL, some_vector, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from steering_utils import capture, decoder_blocks, generate, next_token_logits, steer
from steering_utils.positions import WORDS

RECURRENT = {  # the config's type and settings
    "mamba": ("mamba", SMALL | {"state_size": 8}),
    "mamba2": (
        "mamba2",
        SMALL | {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 4},
    ),
    "rwkv": ("rwkv", SMALL | {"attention_hidden_size": 32}),
    "recurrent_gemma": (
        "recurrent_gemma",
        SMALL
        | {"num_key_value_heads": 1, "intermediate_size": 96, "lru_width": 32, "attention_window_size": 8},
    ),
    "jamba": (
        "jamba",
        SMALL
        | {"num_key_value_heads": 2, "intermediate_size": 64, "attn_layer_period": 2, "attn_layer_offset": 1}
        | {"num_experts": 2, "use_mamba_kernels": False, "mamba_d_state": 8, "pad_token_id": 0},
    ),
}


@pytest.fixture(scope="module", params=RECURRENT)
def recurrent(request):
    torch.manual_seed(0)
    kind, settings = RECURRENT[request.param]
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()


@pytest.mark.parametrize("positions", WORDS)
def test_recurrent_models_are_steered_where_it_says(recurrent, tokenizer, positions):
    prompt = tokenizer(PROMPTS[1])["input_ids"]
    _, plain = greedy_by_hand(recurrent, prompt, some_vector(), 0.0, positions, n_new=4)
    if not torch.allclose(greedy(recurrent, tokenizer, PROMPTS[1:2], n_new=4)[1][0], plain, atol=2e-3):
        pytest.skip(f"{type(recurrent).__name__} itself goes on otherwise with its cache than without")
    wanted_ids, wanted = greedy_by_hand(recurrent, prompt, some_vector(), 1.5, positions, n_new=4)
    with steer(recurrent, some_vector(), 1.5, positions=positions):
        ids, seen = greedy(recurrent, tokenizer, PROMPTS[1:2], n_new=4)
    assert torch.equal(ids[0], wanted_ids)
    close(seen[0], wanted, atol=2e-3)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral_window"])
@pytest.mark.parametrize("positions", WORDS)
@pytest.mark.parametrize("options", [{"cache_implementation": "static"}, {"use_cache": False}], ids=str)
def test_other_caches_give_the_same_text(tokenizer, family, positions, options):
    model = tiny_model(family)
    with steer(model, some_vector(), [1.5, -1.5, 1.0], positions=positions):
        wanted, seen = greedy(model, tokenizer, PROMPTS[:3], n_new=3)
        ids, other = greedy(model, tokenizer, PROMPTS[:3], n_new=3, **options)
    assert torch.equal(ids, wanted)
    close(other, seen)


@pytest.mark.parametrize("positions", WORDS)
def test_a_prompt_that_is_read_in_chunks_is_all_prompt(tokenizer, positions):
    model, ids = tiny_model("llama"), torch.tensor([tokenizer(PROMPTS[3])["input_ids"]])
    options = {"do_sample": False, "max_new_tokens": 4, "pad_token_id": 0, "eos_token_id": None}
    with steer(model, some_vector(), 2.0, positions=positions):
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        chunks = model.generate(ids, attention_mask=torch.ones_like(ids), **options, prefill_chunk_size=3)
    assert torch.equal(chunks, whole)


@pytest.mark.parametrize("positions", WORDS)
def test_an_assistants_drafts_change_nothing(tokenizer, positions):
    model, assistant = tiny_model("gpt2"), tiny_model("gpt2")
    with torch.no_grad():
        assistant.transformer.wte.weight.add_(0.05 * torch.randn_like(assistant.transformer.wte.weight))
    with steer(model, some_vector(), 2.0, positions=positions):
        (wanted,) = generate(model, tokenizer, PROMPTS[1], max_new_tokens=6, seed=3)
        (assisted,) = generate(
            model, tokenizer, PROMPTS[1], max_new_tokens=6, seed=3, assistant_model=assistant
        )
    assert assisted == wanted


def test_blocks_that_return_lists(tokenizer):
    model, plain = tiny_model("llama"), tiny_model("llama")

    def unpacked(module, args):
        return tuple(arg[0] if isinstance(arg, list) else arg for arg in args)

    for block in decoder_blocks(model):
        block.register_forward_pre_hook(unpacked)
        block.register_forward_hook(
            lambda module, args, output: [output] if not isinstance(output, tuple) else [*output]
        )
    model.model.norm.register_forward_pre_hook(unpacked)
    if not isinstance(capture(plain, tokenizer, PROMPTS).values, torch.Tensor):
        pytest.fail("a block gives no tensor")
    if int(transformers.__version__.split(".")[0]) < 5:
        pytest.skip("in transformers 4 the model itself unpacks what its blocks return")
    results = []
    for m in (model, plain):
        with steer(m, some_vector(), [1.0, 2.0, 0.0, -1.0, 3.0]):
            results.append((capture(m, tokenizer, PROMPTS).values, next_token_logits(m, tokenizer, PROMPTS)))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("name", [*FAMILIES, *RECURRENT])
def test_a_sweep_that_shares_its_lower_blocks_is_as_many_passes(tokenizer, name):
    kind, settings = (FAMILIES | RECURRENT)[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()
    vectors = [some_vector(1), some_vector(2, seed=1)]
    alpha = torch.tensor([[1.0, 1.0, -2.0, -2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 3.0, 1.0, 1.0]])
    with steer(model, vectors, alpha):
        together = next_token_logits(model, tokenizer, PROMPTS[:2] * 3)
    for row, prompt in enumerate(PROMPTS[:2] * 3):
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        with steer(model, vectors, alpha[:, [row]]):
            close(together[row], logits(model, ids)[0, -1], atol=2e-3)
