"""Numbers that leave the range of their type are named in an error, and are never made into text."""

import functools
import os

import numpy as np
import pytest
import torch
from by_hand import changed, close, logits
from conftest import FAMILIES, PROMPTS, SMALL, hooks_on, some_vector, tiny_model
from transformers import AutoConfig, AutoModelForSequenceClassification

from steering_utils import (
    SteeringVector,
    baking,
    capture,
    continuation_kl,
    continuation_nll,
    cosine,
    generate,
    in_stream_units,
    label_flips,
    logit_difference,
    mean_difference,
    next_token_kl,
    next_token_logits,
    random_directions,
    relative_strength,
    residual_norms,
    steer,
)
from steering_utils.operations import ablate, add, add_and_keep_norm, set_projection
from steering_utils.tokens import encode

NAN, INF = float("nan"), float("inf")
LARGE = SteeringVector(torch.full((32,), 65_000.0), 1)  # float16 goes up to 65,504
READS = {
    "generate": lambda m, t: generate(m, t, PROMPTS, max_new_tokens=2),
    "greedy": lambda m, t: generate(m, t, PROMPTS, max_new_tokens=2, temperature=0),
    "beams": lambda m, t: generate(m, t, PROMPTS, max_new_tokens=2, temperature=0, num_beams=2),
    "next_token_logits": lambda m, t: next_token_logits(m, t, PROMPTS),
    "read": lambda m, t: next_token_logits(m, t, PROMPTS, read=lambda z: z.argmax(1)),
    "continuation_nll": lambda m, t: continuation_nll(m, t, PROMPTS, [" good"] * len(PROMPTS)),
    "mean_difference": lambda m, t: mean_difference(*[capture(m, t, PROMPTS)] * 2, 3),
}


def plain(model, tokenizer, **options):
    """transformers' own generation, with nothing of ours around it."""
    inputs = encode(tokenizer, PROMPTS, padding_side="left")
    settings = {"max_new_tokens": 2, "pad_token_id": 50256, "eos_token_id": None}
    return model.generate(**inputs, **settings, **options)


READS_STEERED = READS | {
    "model.generate": functools.partial(plain, do_sample=False),
    "model.generate, sampled": functools.partial(plain, do_sample=True),
    "model.generate, beams": functools.partial(plain, do_sample=False, num_beams=2),
    "model": lambda m, t: logits(m, torch.tensor([[5, 6, 7]] * 5)),
}
NAMED = (FloatingPointError, ValueError)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def half(request):
    """A model in float16 whose state is near the end of its range at the steered layer."""
    model = tiny_model(request.param).half()
    shift = torch.full((32,), 30_000.0).half()  # 30,000 + 65,000 is no float16
    handle = model.get_submodule("transformer.h.0" if request.param == "gpt2" else "model.layers.0")
    handle = handle.register_forward_hook(
        lambda m, a, output: (output[0] + shift, *output[1:]) if isinstance(output, tuple) else output + shift
    )
    yield model
    handle.remove()


@pytest.mark.parametrize("read", READS_STEERED)
@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("alpha", [1.0, [1.0] * 5])
def test_a_state_that_leaves_float16_is_named(half, tokenizer, read, positions, alpha):
    hooks = hooks_on(half)
    with (
        pytest.raises(NAMED, match=r"float16|NaN or inf"),
        steer(half, LARGE, alpha, positions=positions),
    ):
        READS_STEERED[read](half, tokenizer)
    assert hooks_on(half) == hooks


@pytest.mark.parametrize("read", READS_STEERED)
def test_one_row_that_leaves_float16_is_enough(half, tokenizer, read):
    with pytest.raises(NAMED, match=r"float16|NaN or inf"), steer(half, LARGE, [0.0, 0.0, 0.0, 0.0, 1.0]):
        READS_STEERED[read](half, tokenizer)


def test_generated_tokens_that_leave_float16_are_named(half, tokenizer):
    with (
        pytest.raises(FloatingPointError, match="float16"),
        steer(half, LARGE, positions="new"),
    ):
        generate(half, tokenizer, PROMPTS, max_new_tokens=3)


def test_several_vectors_that_leave_float16_only_together_are_named(tokenizer):
    model, half_way = tiny_model("llama").half(), SteeringVector(torch.full((32,), 40_000.0), 1)
    with pytest.raises(FloatingPointError, match="float16"), steer(model, [half_way, half_way]):
        logits(model, torch.tensor([[5, 6, 7]]))
    inner, outer = steer(model, half_way), steer(model, half_way)
    with pytest.raises(FloatingPointError, match="float16"), outer, inner:
        logits(model, torch.tensor([[5, 6, 7]]))


@pytest.mark.parametrize("alpha", [1e4, [0.0, 1e4], [[0.0, 1e4]]])
def test_a_push_that_is_no_float16_is_refused_before_anything_runs(alpha):
    model = tiny_model("gpt2").half()
    with pytest.raises(ValueError, match=r"times the vector overflows torch\.float16: choose a smaller"):
        steer(model, some_vector(norm=100.0), alpha)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("steered", [False, True])
def test_weights_that_are_no_numbers_are_named(tokenizer, read, bad, steered):
    model = tiny_model("llama")
    model.model.layers[3].mlp.down_proj.weight.data[3, 5] = bad
    with pytest.raises(NAMED, match=r"not finite|NaN or inf"):
        if not steered:
            READS[read](model, tokenizer)
        with steer(model, some_vector(), [1.0, 0.0, 0.0, 2.0, 0.0]):
            READS[read](model, tokenizer)


@pytest.mark.parametrize("read", ["model.generate", "model.generate, sampled", "model.generate, beams"])
@pytest.mark.parametrize("bad", [NAN, INF])
def test_plain_generation_inside_steer_gives_no_text_of_nan(tokenizer, read, bad):
    model = tiny_model("gpt2")
    model.transformer.wte.weight.data[11, :] = bad  # one token's logit
    with pytest.raises(FloatingPointError, match="logits are not finite"), steer(model, some_vector()):
        READS_STEERED[read](model, tokenizer)


def test_nan_of_one_row_is_enough(tokenizer):
    """The model itself is sound: what a hook of somebody else's does to one row is seen all the same."""
    model = tiny_model("gpt2")

    def spoil(module, args, output):
        h = (output[0] if isinstance(output, tuple) else output).clone()
        h[-1, 0] = NAN
        return (h, *output[1:]) if isinstance(output, tuple) else h

    with model.transformer.h[3].register_forward_hook(spoil):
        for read in ("generate", "greedy", "next_token_logits", "read"):
            with pytest.raises(FloatingPointError, match="not finite"):
                READS[read](model, tokenizer)


def test_nan_in_only_one_layer_of_the_activations_spares_the_others(tokenizer):
    model = tiny_model("gpt2")
    model.transformer.h[3].mlp.c_proj.bias.data[0] = NAN
    sides = capture(model, tokenizer, PROMPTS[:2]), capture(model, tokenizer, PROMPTS[2:])
    assert mean_difference(*sides, 2).norm > 0
    with pytest.raises(ValueError, match="1 NaN or inf values: look for them in its activations"):
        mean_difference(*sides, 3)
    with pytest.raises(ValueError, match="NaN or inf"):
        in_stream_units(mean_difference(*sides, 2), torch.full((4,), NAN))
    with pytest.raises(ValueError, match="NaN or inf"):
        in_stream_units(mean_difference(*sides, 2), torch.full((4,), INF))


def test_what_lies_in_range_is_no_false_alarm(tokenizer):
    """The ends of float16's range, and logits at -inf as a model may give for tokens not to use."""
    model = tiny_model("llama").half()
    with steer(model, SteeringVector(torch.full((32,), 65_000.0), 1)):
        assert logits(model, torch.tensor([[5, 6, 7]])).isfinite().all()
    model = tiny_model("gpt2")
    forbid = torch.zeros(50257)
    forbid[7] = -INF
    with (
        model.lm_head.register_forward_hook(lambda m, a, output: output + forbid),
        steer(model, some_vector()),
    ):
        assert next_token_logits(model, tokenizer, PROMPTS)[0, 7] == -INF
        assert len(generate(model, tokenizer, PROMPTS, max_new_tokens=2)) == 5
        assert plain(model, tokenizer, do_sample=False).shape[0] == 5


@pytest.mark.parametrize("n_labels", [2, 5])
@pytest.mark.parametrize("n_tokens", [1, 3])
def test_logits_of_labels_are_looked_at_too(n_labels, n_tokens):
    """A classifier's logits are (n_rows, n_labels), with no place for each token."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("gpt2", **SMALL, num_labels=n_labels, pad_token_id=50256)
    model, ids = AutoModelForSequenceClassification.from_config(config).eval(), torch.ones(3, n_tokens).long()
    plain = logits(model, ids)
    with steer(model, some_vector(), 2.0):
        assert changed(logits(model, ids), plain)
    model.score.weight.data[1, 0] = NAN
    with pytest.raises(FloatingPointError, match="not finite"), steer(model, some_vector()):
        logits(model, ids)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padded_batches_in_half_precision_are_no_false_alarm(tokenizer, family, attention):
    """The columns of padding see nothing, and what a model makes of that differs by family."""
    model, few = tiny_model(family).half(), {"max_new_tokens": 2}
    try:
        model.set_attn_implementation(attention)
    except ValueError:
        pytest.skip(f"{family} has no {attention}")
    with steer(model, some_vector(), [1.0, -1.0, 2.0, 0.0, 1.0]):
        together = generate(model, tokenizer, PROMPTS, temperature=0, **few)
        assert next_token_logits(model, tokenizer, PROMPTS).isfinite().all()
    assert len(together) == len(PROMPTS)


@pytest.mark.parametrize("operation", [add, ablate, set_projection(1e4), add_and_keep_norm])
def test_bfloat16_has_the_range_of_float32(tokenizer, operation):
    model, vector = tiny_model("llama").bfloat16(), SteeringVector(torch.full((32,), 1e30), 1)
    with steer(model, vector, [1.0, -1.0, 1e3, 0.0, 1.0], operation=operation):
        if operation in (add, add_and_keep_norm):
            assert next_token_logits(model, tokenizer, PROMPTS).isfinite().all() or operation is add
        else:
            assert len(generate(model, tokenizer, PROMPTS, max_new_tokens=2)) == 5


def test_bfloat16_far_from_its_range_is_fine(tokenizer):
    model, vector = tiny_model("llama").bfloat16(), SteeringVector(torch.full((32,), 1e6), 1)
    with steer(model, vector, [1.0, -1.0, 1e3, 0.0, 1.0]):
        assert next_token_logits(model, tokenizer, PROMPTS).isfinite().all()
        assert len(generate(model, tokenizer, PROMPTS, max_new_tokens=2)) == 5
        assert capture(model, tokenizer, PROMPTS).values.isfinite().all()


def test_operations_in_float16_do_not_lose_small_or_large_vectors(tokenizer):
    """Products of numbers that float16 holds may leave it; lengths are taken in float32."""
    model, ids = tiny_model("llama").half(), torch.tensor([[5, 6, 7]])
    for scale in (1e-6, 1.0, 5e3):
        vector = SteeringVector(scale * some_vector().values, 1)
        for operation in (ablate, set_projection(3.0)):
            with steer(model, some_vector(), operation=operation):
                wanted = logits(model, ids).float()
            with steer(model, vector, operation=operation):
                torch.testing.assert_close(logits(model, ids).float(), wanted, rtol=0.05, atol=0.1)


def test_baking_what_leaves_float16_is_refused(tokenizer):
    model = tiny_model("llama").half()
    baking.bake(model, LARGE)
    with pytest.raises((ValueError, FloatingPointError), match=r"float16|not finite"):
        baking.bake(model, LARGE)
        generate(model, tokenizer, PROMPTS, max_new_tokens=2)


# --- half precision on its way to NumPy ----------------------------------------------------------

HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(scope="module", params=HALVES, ids=str)
def sides(request, tokenizer):
    """Activations of both sides in half precision, and their model."""
    model = tiny_model("llama").to(request.param)
    positive, negative = (capture(model, tokenizer, [f"{w} day {i}" for i in range(8)]) for w in ("A", "No"))
    assert positive.values.dtype == request.param
    return positive, negative, model


def test_half_precision_through_vectors(sides, tokenizer):
    positive, negative, model = sides
    vector = mean_difference(positive, negative, 2)
    wanted = positive.values[:, 2].double().mean(0) - negative.values[:, 2].double().mean(0)
    close(vector.values, wanted.float())  # added up in float32
    raw = mean_difference(positive.values[:, 2], negative.values[:, 2], 2)
    assert torch.equal(raw.values, vector.values)
    assert cosine(positive.values[0, 2], vector) == pytest.approx(cosine(positive.at(2)[0], vector))
    np.testing.assert_allclose(positive.at(2).numpy()[0], positive.values[0, 2].double())
    for made in (random_directions(vector, 2), label_flips(positive, negative, 2)):
        assert {v.values.dtype for v in made} == {torch.float32}
        assert made[0].norm == pytest.approx(vector.norm, rel=1e-4)
    norms = residual_norms(model, tokenizer, PROMPTS)
    assert norms.numpy().dtype == np.float32
    unit = in_stream_units(vector, norms.to(positive.values.dtype))
    assert relative_strength(unit, 0.5, norms) == pytest.approx(0.5, rel=1e-2)


def test_half_precision_through_measures(sides, tokenizer):
    _, _, model = sides
    z = next_token_logits(model, tokenizer, PROMPTS)
    assert z.numpy().dtype == np.float32
    with torch.no_grad():
        raw = model(**encode(tokenizer, PROMPTS)).logits[:, -1]  # as somebody has them from the model
    assert np.isfinite(next_token_kl(raw, raw * 1.5)).all()
    m = logit_difference(raw, tokenizer, ["good"], ["bad"])
    assert m.numpy().shape == (5,)
    wanted = logit_difference(raw.double(), tokenizer, ["good", "great"], ["bad"])
    found = logit_difference(raw, tokenizer, ["good", "great"], ["bad"])
    np.testing.assert_allclose(found.double(), wanted, atol=1e-4)  # not in steps of half precision
    texts = [" good"] * 5
    assert continuation_nll(model, tokenizer, PROMPTS, texts).dtype == np.float64
    v = some_vector()
    assert np.isfinite(continuation_kl(steer(model, v, 0.1), tokenizer, PROMPTS, texts)).all()


def test_half_precision_through_the_pages(sides):
    os.environ.setdefault("MPLBACKEND", "agg")
    import matplotlib.pyplot as plt

    from steering_utils.pages import plots
    from steering_utils.pages.stability import split_half_cosine, steerability

    positive, negative, _ = sides
    measured, expected = split_half_cosine(positive, negative, 2, sizes=[2, 4, 8], n_splits=5)
    assert np.isfinite(measured).all() and np.isfinite(expected).all()
    m = positive.values[:, 0]  # in half precision: (n_strengths, n_prompts), say
    np.testing.assert_allclose(steerability(range(8), m), steerability(range(8), m.float()))
    norms = positive.values.norm(dim=-1).mean(0)  # (n_layers,), in half precision
    assert norms.dtype == positive.values.dtype
    plots.plot_by_layer({"a": norms, "b": list(norms)}, title="t", ylabel="y")
    plots.plot_classes(positive.values[:, 2, :2], negative.values[:, 2, :2], ax=plt.subplots()[1])
    plots.plot_token_scores(["a", "b"], norms[:2], title="t", xlabel="x")
    curve = norms[:3]
    plots.plot_dose_response(norms[:3], {"m": (curve, curve, curve)}, title="t", ylabel="y", controls=[curve])
    plots.svg_points(
        [(positive.values[:, 2, :2], "red", "filled")],
        limits=((-9, 9), (-9, 9)),
        xlabel="x",
        ylabel="y",
        about="points",
    )
    plt.close("all")
