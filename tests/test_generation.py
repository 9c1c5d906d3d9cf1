"""`generate` samples from the model's own distribution, each row by its own seed and by nothing else."""

import logging
import warnings

import pytest
import torch
from conftest import PROMPTS, some_vector, tiny_model
from transformers import GenerationConfig, TopPLogitsWarper

from steering_utils import generate, steer
from steering_utils.generation import GumbelNoise, TopP
from steering_utils.tokens import encode

FIELDS = {k for k in vars(GenerationConfig()) if k[0] != "_"} - {"transformers_version"}
OLD = "top_h" not in FIELDS  # transformers 4


@pytest.fixture
def said():
    """What transformers logs and what Python warns of, from here on."""
    messages = []

    class Keep(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    handler, logger = Keep(logging.WARNING), logging.getLogger("transformers")
    logging.Logger.warning_once.cache_clear()  # what was said once before counts too
    logger.addHandler(handler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: messages + [str(w.message) for w in caught]
    logger.removeHandler(handler)


@pytest.mark.parametrize("alpha", [None, 1.5])
@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_p": 0.5, "temperature": 0.7}])
def test_a_rows_text_does_not_depend_on_its_batch(model, tokenizer, alpha, options):
    options = options | {"max_new_tokens": 8}
    with steer(model, some_vector(), alpha or 0.0):
        together = generate(model, tokenizer, PROMPTS, seed=7, **options)
        alone = [generate(model, tokenizer, p, seed=7 + i, **options)[0] for i, p in enumerate(PROMPTS)]
        turned = generate(model, tokenizer, PROMPTS[::-1], seed=range(11, 6, -1), **options)
    assert together == alone == turned[::-1]


def test_the_seed_decides(model, tokenizer):
    texts = [generate(model, tokenizer, PROMPTS[:1] * 3, seed=seed, max_new_tokens=8) for seed in (5, 5, 6)]
    assert texts[0] == texts[1]
    assert texts[0][1:] == texts[2][:2]  # row i has seed + i
    assert len({*texts[0], *texts[2]}) == 4
    assert len(set(generate(model, tokenizer, PROMPTS[:1] * 3, seed=[9] * 3, max_new_tokens=8))) == 1


def test_dropout_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"in training mode, where dropout adds noise: call model.eval\(\)"):
        generate(tiny_model("gpt2").train(), tokenizer, "I am")


@pytest.mark.parametrize("seed", [0, -3, 2**40, 2**70])
def test_any_int_is_a_seed(tokenizer, seed):
    assert generate(tiny_model("gpt2"), tokenizer, PROMPTS[:2], seed=seed, max_new_tokens=2)


@pytest.mark.parametrize("top_p", [0.0, 1e-6, 0.3, 0.95, 1.0])
def test_top_p_keeps_what_the_sort_of_the_whole_vocabulary_keeps(top_p):
    draw = torch.randn(4, 20_000, generator=torch.Generator().manual_seed(0))
    scores = draw * torch.tensor([0.1, 1.0, 3.0, 20.0])[:, None]  # from flat to sharp
    wanted = TopPLogitsWarper(top_p)(None, scores)
    assert torch.equal(TopP(top_p)(None, scores), wanted)
    if top_p == 0.95:  # rows of both kinds: found among the likeliest, and not
        assert (wanted.isfinite().sum(dim=1) > 1_000).tolist() == [True, True, True, False]


def test_gumbel_noise_samples_the_softmax():
    n, scores = 20_000, torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5, -torch.inf, -3.0, 1.5])
    ids = torch.zeros(n, 4, dtype=torch.long)
    draws = GumbelNoise(range(n), start=3)(ids, scores.expand(n, -1)).argmax(dim=1)
    counts, expected = draws.bincount(minlength=8).double(), n * scores.double().softmax(dim=0)
    real = expected > 0
    assert counts[~real].sum() == 0
    chi_square = ((counts - expected)[real] ** 2 / expected[real]).sum()
    assert chi_square < 22.46  # the 99.9th percentile with 6 degrees of freedom


def test_steps_and_neighbouring_seeds_have_noise_of_their_own():
    ids, scores = torch.zeros(400, 3, dtype=torch.long), torch.zeros(400, 100)
    now, later = (GumbelNoise(range(400), start=start)(ids, scores) for start in (3, 2))
    for a, b in ((now, later), (now[1:], now[:-1]), (now[1:], later[:-1])):
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) < 0.02


def test_sampling_follows_the_models_distribution(tokenizer):
    """Over many seeds, the share of the likeliest next token is its probability, within top_p."""
    model, n = tiny_model("llama"), 400
    with torch.no_grad():
        z = model(**encode(tokenizer, PROMPTS[0])).logits[0, -1] / 0.2
    p, order = z.softmax(dim=0).sort(descending=True)
    nucleus = int((p.cumsum(0) < 0.9).sum()) + 1
    share = float(p[0] / p[:nucleus].sum())
    texts = generate(model, tokenizer, PROMPTS[:1] * n, temperature=0.2, top_p=0.9, max_new_tokens=1)
    allowed = {tokenizer.decode([token]) for token in order[:nucleus]}
    assert set(texts) <= allowed
    drawn = texts.count(tokenizer.decode([order[0]])) / n
    assert drawn == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)


def test_the_global_generator_is_left_alone(model, tokenizer):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    text = generate(model, tokenizer, PROMPTS, max_new_tokens=8)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert generate(model, tokenizer, PROMPTS, max_new_tokens=8) == text


def own_greedy(model, tokenizer, prompts, **options):
    """transformers' own greedy texts, each prompt by itself."""
    texts = []
    for prompt in prompts:
        inputs = encode(tokenizer, prompt)
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=8, pad_token_id=50256, **options)
        texts += [tokenizer.decode(r[inputs["input_ids"].shape[1] :], skip_special_tokens=True) for r in ids]
    return texts


BEAMS = {"num_beams": 3}
HONOURED = [  # that of transformers' own `generate`; in a batch too, where prompts are padded
    {},
    BEAMS,
    BEAMS | {"length_penalty": -3.0},
    BEAMS | {"early_stopping": True},
    BEAMS | {"num_return_sequences": 2},
    BEAMS | {"renormalize_logits": True},
    BEAMS | {"repetition_penalty": 0.2},
    {"repetition_penalty": 0.2},
    {"no_repeat_ngram_size": 1, "sequence_bias": {(50256,): 99.0}},
    {"min_new_tokens": 4, "sequence_bias": {(50256,): 99.0}},
    {"sequence_bias": {(11,): 99.0}},
    {"bad_words_ids": "greedy"},
    {"suppress_tokens": "greedy"},
    {"begin_suppress_tokens": "greedy"},
    {"eos_token_id": "greedy"},
    {"forced_eos_token_id": 11},
    {"exponential_decay_length_penalty": (2, 9.0)},
    {"prefix_allowed_tokens_fn": lambda row, ids: [5, 6, 7]},
    {"logits_processor": [lambda ids, scores: scores.roll(1, dims=1)]},
    {"stopping_criteria": [lambda ids, scores: ids[:, -1] % 2 == 0]},
    {"max_time": 1e-9},
]
UNSEEN = [{name: False} for name in ("use_cache", "synced_gpus")]  # these do not change a text
UNSEEN += [{"cache_implementation": kind} for kind in ("static", "dynamic")] + [{"disable_compile": True}]
UNSEEN += [{"renormalize_logits": True}, {"bos_token_id": 3}, {"pad_token_id": 3}, {"max_time": 600.0}]


def filled(options, model, tokenizer):
    """The options, with "greedy" replaced by the tokens that greedy decoding writes first."""
    firsts = [generate(model, tokenizer, p, temperature=0, max_new_tokens=2)[0].ids[-1] for p in PROMPTS]
    lists = {"bad_words_ids": [[token] for token in firsts]}
    return {
        k: lists.get(k, firsts) if isinstance(v, str) and v == "greedy" else v for k, v in options.items()
    }


@pytest.mark.parametrize("options", HONOURED, ids=" ".join)
def test_temperature_0_is_the_models_greedy_decoding_and_options_act(model, tokenizer, options):
    options = filled(options, model, tokenizer)
    texts = generate(model, tokenizer, PROMPTS, temperature=0, max_new_tokens=8, **options)
    assert texts == own_greedy(model, tokenizer, PROMPTS, **options)
    assert not options or texts != own_greedy(model, tokenizer, PROMPTS)


@pytest.mark.parametrize("options", HONOURED, ids=" ".join)
def test_options_leave_a_sampled_row_to_its_seed(model, tokenizer, options):
    options = {"temperature": "num_beams" not in options} | filled(options, model, tokenizer)
    together = generate(model, tokenizer, PROMPTS, seed=7, max_new_tokens=8, **options)
    alone = [
        generate(model, tokenizer, p, seed=7 + i, max_new_tokens=8, **options) for i, p in enumerate(PROMPTS)
    ]
    assert together == [text for texts in alone for text in texts]


@pytest.mark.parametrize("options", UNSEEN, ids=str)
def test_some_options_change_no_text(model, tokenizer, options):
    plain, texts = (generate(model, tokenizer, PROMPTS, max_new_tokens=8, **o) for o in ({}, options))
    assert texts == plain
