"""Every decoder family, its blocks found by structure: tiny models, random weights, one set of tests."""

import pytest
import torch
from by_hand import block_outputs, changed, close, greedy, greedy_by_hand, logits
from conftest import FAMILIES, PROMPTS, hooks_on, some_vector, tiny_model
from transformers import AutoModelForCausalLM

from steering_utils import capture, decoder_blocks, steer
from steering_utils.baking import bake, save_baked, unbake
from steering_utils.operations import ablate, add, add_and_keep_norm, set_projection
from steering_utils.positions import WORDS
from steering_utils.tokens import encode

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318], [1026, 373, 257, 845, 922, 1110]])
SAVED_AS = {  # the family that a baked model is written as; the others have no place for a bias
    "gpt2": "gpt2",
    "gpt_neo": "gpt_neo",
    "gpt_neox": "gpt_neox",
    "opt": "opt",
    "llama": "llama",
    "smollm2": "llama",
    "mistral": "llama",
    "qwen2": "llama",
    "phi": "phi",
    "bloom": "bloom",
    "falcon": "falcon",
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    return tiny_model(family)


def test_capture_reads_every_block_and_the_last_one_before_the_final_norm(model, tokenizer):
    ids = torch.tensor([tokenizer(PROMPTS[1])["input_ids"]])
    with torch.no_grad():
        entries = torch.stack(model(ids, output_hidden_states=True).hidden_states)[:, 0, -1]
    found = capture(model, tokenizer, PROMPTS[1]).values[0]
    close(found[:-1], entries[1:-1])
    close(found, block_outputs(model, ids[0].tolist())[:, -1])
    assert (found[-1] - entries[-1]).norm() > 0.1 * found[-1].norm()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("positions", ["last", "mean", "all", 0])
def test_a_batch_reads_as_one_prompt_at_a_time(model, tokenizer, monkeypatch, side, positions):
    monkeypatch.setattr(tokenizer, "padding_side", side)
    options = {"layers": [0, 3], "positions": positions}
    together = capture(model, tokenizer, PROMPTS, **options)
    alone = [capture(model, tokenizer, [prompt], **options) for prompt in PROMPTS]
    if positions == "all":
        alone = [states for (states,) in alone]
    for a, b in zip(together if positions == "all" else together.values, alone, strict=True):
        close(a.values, b.values) if positions == "all" else close(a, b.values[0])


@pytest.mark.parametrize("layer", range(4))
def test_exactly_alpha_v_is_added_at_the_blocks_output(model, layer):
    vector, alpha = some_vector(layer), -1.7
    before = block_outputs(model, IDS[0].tolist())
    with steer(model, vector, alpha):
        after = block_outputs(model, IDS[0].tolist())
    close(after[layer] - before[layer] - alpha * vector.values, torch.zeros(6, 32), atol=2e-5)
    assert torch.equal(after[:layer], before[:layer])
    assert all(changed(after[k], before[k]) for k in range(layer + 1, 4))
    assert torch.equal(block_outputs(model, IDS[0].tolist()), before)


@pytest.mark.parametrize("operation", [add, ablate, set_projection(3.0), add_and_keep_norm])
def test_operations_at_alpha_zero_and_not(model, operation):
    before, hooks = block_outputs(model, IDS[0].tolist()), hooks_on(model)  # transformers leaves its own
    with steer(model, some_vector(), 0, operation=operation):
        assert torch.equal(block_outputs(model, IDS[0].tolist()), before)
    with steer(model, some_vector(), 1.0, operation=operation):
        close(block_outputs(model, IDS[0].tolist())[1], operation(before[1], some_vector().values))
    assert hooks_on(model) == hooks


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("positions", [*WORDS, "mask"])
def test_positions_and_alphas_in_a_left_padded_batch(model, tokenizer, positions, use_cache):
    vector, alphas, prompts = some_vector(), [1.5, -1.5, 0.0], PROMPTS[:3]
    where = positions
    if positions == "mask":  # the first and the last token of each prompt
        real = encode(tokenizer, prompts, padding_side="left")["attention_mask"].bool()
        where = real & ((real.cumsum(1) == 1) | (torch.arange(real.shape[1]) == real.shape[1] - 1))
    with steer(model, vector, alphas, positions=where):
        ids, found = greedy(model, tokenizer, prompts, n_new=3, use_cache=use_cache)
    for row, alpha in enumerate(alphas):
        prompt = tokenizer(prompts[row])["input_ids"]
        by_hand = {0, len(prompt) - 1} if positions == "mask" else positions
        wanted_ids, wanted = greedy_by_hand(model, prompt, vector, alpha, by_hand, n_new=3)
        assert torch.equal(ids[row], wanted_ids)
        close(found[row], wanted)


def test_beams_keep_their_prompts_alpha(model, tokenizer):
    vector, alphas = some_vector(), [-2.0, 2.0]
    with steer(model, vector, alphas):
        together, _ = greedy(model, tokenizer, PROMPTS[:2], n_new=3, num_beams=3)
    for prompt, alpha, ids in zip(PROMPTS, alphas, together, strict=False):
        with steer(model, vector, alpha):
            assert torch.equal(greedy(model, tokenizer, [prompt], n_new=3, num_beams=3)[0][0], ids)


@pytest.mark.parametrize("layer", [0, 3])
def test_a_baked_model_is_the_steered_one_and_unbaking_is_exact(model, layer):
    before, hooks = logits(model, IDS), hooks_on(model)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    with steer(model, some_vector(layer), -1.5):
        wanted = logits(model, IDS)
    bake(model, some_vector(layer), -1.5)
    baked = logits(model, IDS)
    assert hooks_on(model) == hooks
    unbake(model)
    close(baked, wanted, atol=2e-5)
    assert changed(baked, before)
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert torch.equal(logits(model, IDS), before)


def test_a_baked_model_is_saved_as_a_plain_checkpoint_or_refused(family, tmp_path):
    model = tiny_model(family)
    with steer(model, some_vector(2), 1.5):
        wanted = logits(model, IDS)
    bake(model, some_vector(2), 1.5)
    if family not in SAVED_AS:
        with pytest.raises(ValueError, match="no config has a place for a bias in this part of"):
            save_baked(model, tmp_path)
        assert not list(tmp_path.iterdir())
        return
    save_baked(model, tmp_path)
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert loaded.config.model_type == SAVED_AS[family]
    close(logits(loaded.eval(), IDS), wanted, atol=2e-5)
    assert len(decoder_blocks(loaded)) == 4
