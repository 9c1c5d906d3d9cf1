"""Wrong input is refused with what was wrong and what to do, and leaves no hook behind."""

import copy

import numpy as np
import pytest
import torch
from conftest import PROMPTS, hooks_on, some_vector, tiny_model
from tokenizers import normalizers

from steering_utils import (
    Activations,
    SteeringVector,
    capture,
    continuation_nll,
    cosine,
    generate,
    in_stream_units,
    logit_difference,
    mean_difference,
    next_token_logits,
    operations,
    residual_norms,
    single_token_ids,
    steer,
)
from steering_utils.pages.tables import token_table

NAN, INF = float("nan"), float("inf")
ONES, SIDE, LOGITS = torch.ones(32), torch.ones(3, 32), torch.zeros(1, 50257)


def activations(layers=range(4), model="a/model"):
    return Activations(torch.ones(3, 4, 32), tuple(layers), tuple("xyz"), {"model": model, "revision": ""})


def steered(vectors=None, alpha=1.0, **options):
    """A forward pass of two prompts under `steer`."""

    def run(m, t):
        with steer(m, some_vector() if vectors is None else vectors, alpha, **options):
            m(torch.tensor([[5, 6], [7, 8]]))

    return run


def steered_with_too_few(m, t):
    with steer(m, some_vector(), [1.0, 2.0]):
        next_token_logits(m, t, ["I am", "She was", "He said"])


VALUE_ERRORS = {  # message: calls of (model, tokenizer) that give it
    # texts
    "no prompts: give at least one string": [
        lambda m, t: capture(m, t, []),
        lambda m, t: generate(m, t, ()),
        lambda m, t: next_token_logits(m, t, []),
        lambda m, t: residual_norms(m, t, []),
        lambda m, t: continuation_nll(m, t, [], []),
    ],
    r"prompt 0 is empty \(.*\): every prompt needs some text": [
        lambda m, t: capture(m, t, ""),
        lambda m, t: generate(m, t, [[]]),
        lambda m, t: next_token_logits(m, t, ["", "I am"]),
    ],
    "every text is a single token: give texts": [lambda m, t: residual_norms(m, t, ["I", "No"])],
    "no pairs: give at least one .positive, negative. pair": [lambda m, t: token_table(t, [])],
    "pair 0 must be .positive, negative., got 'ab'": [lambda m, t: token_table(t, ["ab"])],
    "pair 1 must be .positive, negative., got 7": [lambda m, t: token_table(t, [("good", "bad"), 7])],
    "pair 0 must be .* got .'a', 'b', 'c'.": [lambda m, t: token_table(t, [("a", "b", "c")])],
    "pair 0, prompt 1 is empty .''.": [lambda m, t: token_table(t, [("good", "")])],
    "2 continuations for 1 prompts: give one each": [lambda m, t: continuation_nll(m, t, "I am", ["a", "b"])],
    # layers, positions, batches
    "layer 4 does not exist: this model's layers are 0 to 3": [
        lambda m, t: capture(m, t, PROMPTS, layers=[0, 4]),
        steered(some_vector(4)),
    ],
    "layer -1 does not exist: this model's layers are 0 to 3": [
        lambda m, t: capture(m, t, PROMPTS, layers=[-1]),
        steered([some_vector(0), some_vector(-1)]),
    ],
    "no layers: name at least one, or leave `layers` out": [lambda m, t: capture(m, t, PROMPTS, layers=[])],
    "layer 4 was not captured: choose one of .0, 1, 2, 3.": [
        lambda m, t: mean_difference(activations(), activations(), 4)
    ],
    "layer 1 was not captured: choose one of .0, 2, 4, 6.": [
        lambda m, t: mean_difference(activations([0, 2, 4, 6]), SIDE, 1)
    ],
    "position 1 is outside 'No', which has 1 tokens": [
        lambda m, t: capture(m, t, ["The weather", "No"], positions=1)
    ],
    "position -2 is outside 'No'": [lambda m, t: capture(m, t, ["The weather", "No"], positions=-2)],
    "'last', 'mean', 'all' or ints, got 'first'": [lambda m, t: capture(m, t, "No", positions="first")],
    r"positions must be all, .*, front or a boolean mask \(n_prompts, n_columns\): ('first'|None)": [
        steered(positions="first"),
        steered(positions=None),
    ],
    r"boolean mask \(n_prompts, n_columns\): \[\[True\], \[True, False\]\]": [
        steered(positions=[[True], [True, False]])
    ],
    r"or a boolean mask \(n_prompts, n_columns\): 3": [steered(positions=3)],
    r"or a boolean mask \(n_prompts, n_columns\): tensor\(\[\[1, 1\]": [
        steered(positions=torch.ones(2, 2, dtype=torch.long))
    ],
    r"or a boolean mask \(n_prompts, n_columns\): tensor\(\[True": [
        steered(positions=torch.ones(2, dtype=torch.bool))
    ],
    "the mask for positions has 3 rows, the batch 2: give one for each prompt": [
        steered(positions=torch.ones(3, 2, dtype=torch.bool))
    ],
    "the mask has 1 columns, the padded prompts 2": [steered(positions=torch.ones(2, 1, dtype=torch.bool))],
    "batch_size must be 1 or more, got 0": [
        lambda m, t: capture(m, t, PROMPTS, batch_size=0),
    ],
    # models and vectors
    "the vector has 2 NaN or inf values: look for them in its activations": [
        lambda m, t: SteeringVector(torch.tensor([1.0, NAN, INF]), 1),
        lambda m, t: SteeringVector(torch.tensor([1.0, -INF, NAN]), 1),
        lambda m, t: SteeringVector(torch.ones(2), 1) * NAN,
        lambda m, t: mean_difference(torch.tensor([[NAN, NAN, 1.0]]), torch.ones(3, 3), 1),
    ],
    r"must have shape \(d_model,\), got \(2, 32\)": [lambda m, t: SteeringVector(torch.ones(2, 32), 1)],
    r"must have shape \(d_model,\), got \(0,\)": [lambda m, t: SteeringVector(torch.ones(0), 1)],
    "the vector is 31 wide, the stream 32: extract one from this model": [steered(some_vector(width=31))],
    "vector is from 'b/other', the model is 'a/model': extract one from this model": [
        steered(SteeringVector(ONES, 1, model="b/other"))
    ],
    "no vectors: give at least one SteeringVector": [steered([])],
    r"positive must be \(n_prompts, d_model\) at one layer, got \(0, 32\)": [
        lambda m, t: mean_difference(SIDE[:0], SIDE, 1),
        lambda m, t: mean_difference(activations()[:0], SIDE, 1),
    ],
    r"negative must be \(n_prompts, d_model\) at one layer, got \(3, 4, 32\)": [
        lambda m, t: mean_difference(SIDE, torch.ones(3, 4, 32), 1)
    ],
    "the sides are 32 and 30 wide: capture both from one model": [
        lambda m, t: mean_difference(SIDE, SIDE[:, 2:], 1)
    ],
    "negative is of .*b/other.*, the other side not: capture both from one model": [
        lambda m, t: mean_difference(activations(), activations(model="b/other"), 1)
    ],
    "layer=1.* and .*layer=2.* are not of one layer of one model": [
        lambda m, t: some_vector(1) + some_vector(2),
        lambda m, t: some_vector(1) - some_vector(2),
        lambda m, t: some_vector(1).project_out(some_vector(2)),
        lambda m, t: cosine(some_vector(1), some_vector(2)),
    ],
    "model='a/x'.* and .*model='b/y'.* are not of one layer of one model": [
        lambda m, t: SteeringVector(ONES, 1, "a/x") + SteeringVector(ONES, 1, "b/y"),
        lambda m, t: cosine(SteeringVector(ONES, 1, "a/x"), SteeringVector(ONES, 1, "b/y")),
    ],
    "d_model=32.* and .*d_model=31.* are not of one layer of one model": [
        lambda m, t: some_vector() + some_vector(width=31)
    ],
    "is zero: it has no direction": [
        lambda m, t: some_vector().project_out(some_vector(norm=0.0)),
    ],
    r"logits must be \(n_prompts, n_vocabulary\), got \(5,\)": [
        lambda m, t: logit_difference(torch.ones(5), t, ["good"], ["bad"])
    ],
    r"got shapes \(3,\) and \(4,\): both must be \(d_model,\)": [lambda m, t: cosine(ONES[:3], ONES[:4])],
    r"got shapes \(1,\) and \(4,\): both must be": [lambda m, t: cosine(ONES[:1], ONES[:4])],
    r"got shapes \(2, 2\) and \(2, 2\): both must be": [lambda m, t: cosine(torch.eye(2), torch.eye(2))],
    # strengths
    r"alpha must be a finite number, one per row, or one per vector and row \(1, n_rows\); got -?(nan|inf)": [
        steered(alpha=NAN),
        steered(alpha=INF),
        steered(alpha=-INF),
    ],
    r"alpha must be a finite number, .*; got \[1.0, nan\]": [steered(alpha=[1.0, NAN])],
    r"alpha must be a finite number, .*; got 1e\+39": [steered(alpha=1e39)],
    r"alpha must be a finite number, .*; got \[\]": [steered(alpha=[])],
    r"one per vector and row \(2, n_rows\); got tensor": [
        steered([some_vector(0), some_vector(1)], alpha=torch.ones(3, 2)),
        steered([some_vector(0), some_vector(1)], alpha=torch.ones(2, 1, 2)),
    ],
    r"alpha 3e\+38 times the vector overflows torch.float32: choose a smaller": [steered(alpha=3e38)],
    "alpha has 1 rows, the batch 2: give one for each prompt": [steered(alpha=[1.0])],
    "alpha has 3 rows, the batch 2: give one for each prompt": [
        steered(alpha=[1.0, 2.0, 3.0]),
        steered(alpha=[1.0, 2.0, 3.0], positions="last"),
    ],
    "alpha has 2 rows, the batch 3: give one for each prompt": [steered_with_too_few],
    r"SteeringVector\(layer=1.* is zero: .*no alpha gives it a strength": [
        lambda m, t: in_stream_units(some_vector(norm=0.0), torch.ones(4))
    ],
    # sampling
    "2 seeds for 3 rows: give one int, or one per row": [
        lambda m, t: generate(m, t, PROMPTS[:3], seed=[1, 2])
    ],
    "temperature must be 0 .greedy. or more, got -1": [lambda m, t: generate(m, t, "I am", temperature=-1)],
    "temperature must be 0 .greedy. or more, got nan": [lambda m, t: generate(m, t, "I am", temperature=NAN)],
    "`top_p` .* 1.*1.5": [lambda m, t: generate(m, t, "I am", top_p=1.5)],
    "`max_new_tokens` must be greater than 0, but": [lambda m, t: generate(m, t, "I am", max_new_tokens=0)],
    "num_beams is refused while sampling: give temperature=0 too": [
        lambda m, t: generate(m, t, "I am", num_beams=2)
    ],
    # words and numbers
    "no words: give at least one string": [lambda m, t: logit_difference(LOGITS, t, [], ["bad"])],
    "word 1 is empty": [lambda m, t: single_token_ids(t, ["good", ""])],
    "not a single token after a space: flabbergasting, so-so; choose words that are": [
        lambda m, t: single_token_ids(t, ["good", "flabbergasting", "so-so"]),
        lambda m, t: logit_difference(LOGITS, t, ["good"], ["flabbergasting", "so-so"]),
    ],
    "more than once: good, bad; give each word once, on one side": [
        lambda m, t: logit_difference(LOGITS, t, ["good", "nice", "bad"], ["bad", "good"]),
        lambda m, t: logit_difference(LOGITS, t, ["good", "good"], ["bad", "bad"]),
    ],
}

TYPE_ERRORS = {
    # texts
    "prompts must be strings or token ids, got (None|3|{'input_ids': 5})": [
        lambda m, t: capture(m, t, None),
        lambda m, t: generate(m, t, 3),
        lambda m, t: next_token_logits(m, t, {"input_ids": 5}),
    ],
    "prompt 1 must be a string, got None": [
        lambda m, t: capture(m, t, ["I am", None]),
        lambda m, t: residual_norms(m, t, ["I am", None]),
        lambda m, t: continuation_nll(m, t, ["I am", None], ["a", "b"]),
    ],
    "pair 1, prompt 0 must be a string, got None": [lambda m, t: token_table(t, [("a", "b"), (None, "c")])],
    "word 1 must be a string, got 5": [lambda m, t: single_token_ids(t, ["good", 5])],
    # layers, positions, batches, seeds
    "layer must be an int, got 1.0": [
        lambda m, t: capture(m, t, PROMPTS, layers=[1.0]),
        lambda m, t: SteeringVector(ONES, 1.0),
        lambda m, t: mean_difference(activations(), activations(), 1.0),
    ],
    "layer must be an int, got True": [
        lambda m, t: capture(m, t, PROMPTS, layers=True),
        lambda m, t: SteeringVector(ONES, True),
        lambda m, t: mean_difference(SIDE, SIDE, True),
    ],
    "layer must be an int, got '1'": [
        lambda m, t: capture(m, t, PROMPTS, layers="1"),
        lambda m, t: SteeringVector(ONES, "1"),
        lambda m, t: mean_difference(SIDE, SIDE, "1"),
    ],
    "positions other than words must be an int, got (None|1.0|True)": [
        lambda m, t: capture(m, t, "No", positions=None),
        lambda m, t: capture(m, t, "No", positions=1.0),
        lambda m, t: capture(m, t, "No", positions=True),
    ],
    "batch_size must be an int, got 2.0": [lambda m, t: capture(m, t, PROMPTS, batch_size=2.0)],
    "seed must be an int, got (None|0.5)": [
        lambda m, t: generate(m, t, "I am", seed=None),
        lambda m, t: generate(m, t, "I am", seed=[0.5]),
    ],
    # models and vectors
    r"expected a transformers model, got (str|tuple): load one with load_model\(\)": [
        lambda m, t: capture("gpt2", t, PROMPTS),
        lambda m, t: steered()((m, t), t),
    ],
    r"a SteeringVector, got (int|Tensor|str|NoneType): make one, with its layer": [
        steered(5),
        steered(ONES),
        steered("v"),
        steered([some_vector(), None]),
    ],
    r"values must be a tensor of floats, got (\[1.0, 2.0\]|torch.int64)": [
        lambda m, t: SteeringVector([1.0, 2.0], 1),
        lambda m, t: SteeringVector(ONES.long(), 1),
    ],
    r"got \{'input_ids': .*: give its 'input_ids'": [lambda m, t: capture(m, t, t("No"))],
    "a function of .h, v. such as add or set_projection.0.0., got ('ablate'|<function set_pro)": [
        steered(operation="ablate"),
        steered(operation=operations.set_projection),
    ],
    "expected a SteeringVector, got (Tensor|int|float)$": [
        lambda m, t: some_vector() + ONES,
        lambda m, t: some_vector() - 1,
        lambda m, t: some_vector().project_out(0.5),
    ],
    "give text, text and a dict, not .5, '', None.": [lambda m, t: SteeringVector(ONES, 1, model=5)],
    "give text, text and a dict, not .'', '', 'pairs'.": [
        lambda m, t: SteeringVector(ONES, 1, provenance="pairs")
    ],
    r"positive must be what capture\(\) returns, or a tensor; got list": [
        lambda m, t: mean_difference([SIDE], SIDE, 1)
    ],
    "negative must be what .* got ndarray": [lambda m, t: mean_difference(SIDE, np.ones((3, 32)), 1)],
    # strengths
    "alpha must be a finite number, one per row, .*; got (None|'2'|1j|.1.0, 'a'.)": [
        steered(alpha=None),
        steered(alpha="2"),
        steered(alpha=1j),
        steered(alpha=[1.0, "a"]),
    ],
}

ROWS = [
    pytest.param(call, error, message, id=f"{message[:50]}-{i}")
    for error, table in ((ValueError, VALUE_ERRORS), (TypeError, TYPE_ERRORS))
    for message, calls in table.items()
    for i, call in enumerate(calls)
]


@pytest.fixture(scope="module")
def named():
    """A model with a name."""
    model = tiny_model("gpt2")
    model.name_or_path = "a/model"
    return model


@pytest.mark.parametrize("call, error, message", ROWS)
def test_it_is_refused_by_name_with_a_remedy_and_no_hook_is_left(named, tokenizer, call, error, message):
    with pytest.raises(error, match=message):
        call(named, tokenizer)
    assert hooks_on(named) == 0


def test_refused_vectors_and_alphas_never_touch_the_model(named):
    """Found before the block is entered, except the number of alphas, which only a batch can show."""
    for vectors, alpha in (([some_vector(0), some_vector(9)], 1.0), (some_vector(), NAN)):
        with pytest.raises(ValueError), steer(named, vectors, alpha):
            pytest.fail("the block was entered")


@pytest.mark.parametrize("layer", [np.int64(1), torch.tensor(1)])
def test_whole_numbers_of_other_kinds_are_layers(named, tokenizer, layer):
    vector = mean_difference(SIDE, -SIDE, layer)
    assert type(vector.layer) is int
    assert capture(named, tokenizer, PROMPTS, layers=[layer]).layers == (1,)


def test_a_text_of_which_the_tokenizer_leaves_nothing_is_refused(tokenizer):
    picky = copy.deepcopy(tokenizer)
    picky.backend_tokenizer.normalizer = normalizers.Replace("!", "")
    with pytest.raises(ValueError, match="the tokenizer leaves nothing of prompt 1"):
        capture(tiny_model("gpt2"), picky, ["Hello!", "!!"])
