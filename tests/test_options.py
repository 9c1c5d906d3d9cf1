"""Each option of transformers' `generate` is honoured or refused by name, with what to do instead."""

import copy
import pickle

import pytest
import torch
import transformers
from conftest import PROMPTS, tiny_model
from transformers import GenerationConfig

from steering_utils import generate
from steering_utils.options import REFUSED, TAKEN, WARPERS
from steering_utils.tokens import encode

FIELDS = {name for name in vars(GenerationConfig()) if name[0] != "_"} - {"transformers_version"}
NARROW = {  # what leaves less than the whole vocabulary, or another shape of it
    "top_k": 5,
    "min_p": 0.3,
    "typical_p": 0.2,
    "epsilon_cutoff": 2e-4,
    "eta_cutoff": 2e-4,
    "temperature": 0.3,
    "top_p": 0.02,
}


def test_every_field_has_a_place():
    assert not FIELDS - TAKEN - REFUSED.keys(), "say in options.toml what becomes of these"
    assert not TAKEN & REFUSED.keys()


@pytest.mark.parametrize("name", sorted(name for name in REFUSED if "=" not in name))
def test_a_refused_option_is_named_with_a_remedy(tokenizer, name):
    with pytest.raises(ValueError, match=f"^{name} is refused: .*(give|leave|set)"):
        generate(tiny_model("gpt2"), tokenizer, PROMPTS, **{name: 2})


@pytest.mark.parametrize("name", sorted(name for name in WARPERS if name not in NARROW))
def test_what_this_version_lacks_is_said(tokenizer, name):
    if name in FIELDS:
        assert generate(tiny_model("gpt2"), tokenizer, PROMPTS, max_new_tokens=2, **{name: 0.3})
    else:
        with pytest.raises(ValueError, match=f"transformers .* has no option {name}: leave it out"):
            generate(tiny_model("gpt2"), tokenizer, PROMPTS, **{name: 0.3})


@pytest.mark.parametrize("name", NARROW)
def test_a_sampling_option_gives_transformers_own_distribution(tokenizer, name):
    model, n, value = tiny_model("gpt2"), 800, NARROW[name]
    options = {"top_p": 1.0} | {name: value}
    rows = generate(model, tokenizer, ["The weather"] * n, max_new_tokens=1, **options)
    ids = torch.tensor([text.ids[0] for text in rows])
    with torch.no_grad():
        z = model(**encode(tokenizer, "The weather")).logits[:, -1]
    warper = getattr(transformers, f"{WARPERS[name]}LogitsWarper")(value)
    p = warper(None, z).softmax(-1)[0]
    assert (p[ids] > 0).all() and 1 < (p > 0).sum() < len(p) + (name == "temperature")
    likeliest = p.topk(5).indices
    drawn = torch.stack([(ids == token).double().mean() for token in likeliest])
    error = (p[likeliest] * (1 - p[likeliest]) / n).sqrt()
    assert ((drawn - p[likeliest]).abs() < 4.5 * error + 1e-3).all()


def test_the_models_own_settings_do_not_count(tokenizer, recwarn):
    model, chatty = tiny_model("llama"), tiny_model("llama")
    own = {"temperature": 0.2, "top_p": 0.3, "top_k": 3, "do_sample": True, "repetition_penalty": 3.0}
    chatty.generation_config = GenerationConfig(**own, no_repeat_ngram_size=1, eos_token_id=50256)
    for options in ({}, {"temperature": 0}, {"temperature": 0.7, "min_p": 0.01}):
        options = options | {"max_new_tokens": 6}
        assert generate(chatty, tokenizer, PROMPTS, **options) == generate(
            model, tokenizer, PROMPTS, **options
        )
    assert not [warning for warning in recwarn if "generation" in str(warning.message)]


def test_several_samples_of_a_prompt_follow_each_other_each_with_its_seed(tokenizer):
    model = tiny_model("gpt2")
    rows = generate(model, tokenizer, PROMPTS[:2], num_return_sequences=3, max_new_tokens=4, seed=5)
    repeated = [prompt for prompt in PROMPTS[:2] for _ in range(3)]
    assert rows == generate(model, tokenizer, repeated, max_new_tokens=4, seed=5)
    assert len(set(rows)) == 6


def test_what_contradicts_is_refused_and_its_remedy_works(tokenizer):
    model = tiny_model("gpt2")
    with pytest.raises(ValueError, match="do_sample=True contradicts temperature=0"):
        generate(model, tokenizer, PROMPTS, do_sample=True, temperature=0)
    assert generate(model, tokenizer, PROMPTS, do_sample=False, max_new_tokens=3) == generate(
        model, tokenizer, PROMPTS, temperature=0, max_new_tokens=3
    )
    with pytest.raises(ValueError, match="num_beams is refused while sampling: give temperature=0 too"):
        generate(model, tokenizer, PROMPTS, num_beams=2)
    assert generate(model, tokenizer, PROMPTS, num_beams=2, temperature=0, max_new_tokens=3)
    with pytest.raises(ValueError, match=r"num_return_sequences=2 needs .* as many num_beams"):
        generate(model, tokenizer, PROMPTS, num_return_sequences=2, temperature=0)
    options = {"num_return_sequences": 2, "num_beams": 2, "temperature": 0, "max_new_tokens": 3}
    assert len(generate(model, tokenizer, PROMPTS, **options)) == 10


def test_stop_strings_need_nothing_more(tokenizer):
    model = tiny_model("gpt2")
    (whole,) = generate(model, tokenizer, PROMPTS[1], max_new_tokens=12, seed=3)
    stop = tokenizer.decode(whole.ids[5:6])
    (cut,) = generate(model, tokenizer, PROMPTS[1], max_new_tokens=12, seed=3, stop_strings=[stop])
    assert len(cut.ids) < len(whole.ids) and cut == tokenizer.decode(whole.ids[: len(cut.ids)])
    both = generate(model, tokenizer, PROMPTS[:2], max_new_tokens=12, seed=[8, 3], stop_strings=[stop])
    assert both[1] == cut and both[1].ids == cut.ids and len(both[0].ids) == 12
    model.generation_config.eos_token_id = None  # nothing marks where the second row ended
    with pytest.raises(ValueError, match="stop_strings works for one row: give one prompt"):
        generate(model, tokenizer, PROMPTS[:2], max_new_tokens=12, stop_strings=[stop])


def test_a_dict_is_transformers_own(tokenizer):
    output = generate(
        tiny_model("gpt2"),
        tokenizer,
        PROMPTS[:2],
        max_new_tokens=3,
        return_dict_in_generate=True,
        output_logits=True,
    )
    assert output.sequences.shape[0] == 2 and len(output.logits) == 3


def test_a_continuation_is_a_str_with_its_tokens(tokenizer):
    (text,) = generate(tiny_model("gpt2"), tokenizer, "I am", max_new_tokens=5)
    assert isinstance(text, str) and tokenizer.decode(text.ids) == text and len(text.ids) == 5
    for again in (copy.copy(text), copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
        assert again == text and again.ids == text.ids
