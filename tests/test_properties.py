"""What must hold for all shapes, paddings, layers, strengths and precisions, on what Hypothesis draws."""

import functools
import tempfile
from pathlib import Path

import torch
from by_hand import greedy, logits
from conftest import hooks_on, some_vector, tiny_model
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from steering_utils import SteeringVector, capture, cosine, decoder_blocks, exchange, steer
from steering_utils.blocks import residual
from steering_utils.operations import ablate, add, add_and_keep_norm, set_projection
from steering_utils.positions import WORDS

tried = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,  # a test must not fail on one machine and pass on the next
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
families = st.sampled_from(["gpt2", "llama", "bloom"])  # three ways to know positions; tuples and tensors
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.float64])
layers = st.integers(0, 3)
alphas = st.floats(-20, 20, width=32)
words = st.sampled_from(["the", "weather", "is", "not", "very", "good", "bad", "mountains", "7", ",", "!"])
prompts = st.lists(st.lists(words, min_size=1, max_size=9).map(" ".join), min_size=1, max_size=5)


@functools.cache
def small(family, dtype=torch.float32):
    """One model of a family and precision, made once."""
    return tiny_model(family).to(dtype)


@st.composite
def batches(draw):
    """Token ids and an attention mask with padding on one side, both (n_rows, n_tokens)."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    ids = torch.tensor(draw(st.lists(st.integers(0, 50256), min_size=9, max_size=9))).expand(len(lengths), 9)
    ids, lengths = ids[:, : max(lengths)], torch.tensor(lengths)[:, None]
    mask = (torch.arange(ids.shape[1])[None] < lengths).long()
    return ids, mask.flip(1) if draw(st.booleans()) else mask


@tried
@given(families, dtypes, layers, batches(), st.data())
def test_the_hook_does_its_arithmetic_and_no_more(family, dtype, layer, batch, data):
    model, (ids, mask), seen = small(family, dtype), batch, []
    assume(family != "bloom" or mask[:, 0].all())  # Bloom makes NaN of padding on the left
    positions = data.draw(st.sampled_from([*WORDS, "mask"]))
    alpha = data.draw(st.lists(alphas, min_size=len(ids), max_size=len(ids)) | alphas)
    where = torch.ones_like(ids, dtype=torch.bool)
    if positions == "mask":
        positions = where = torch.rand(ids.shape, generator=torch.Generator().manual_seed(ids.shape[1])) < 0.5
    elif positions == "new":
        where = ~where
    columns = torch.arange(ids.shape[1])
    first, last = mask.argmax(1, keepdim=True), (mask * columns).argmax(1, keepdim=True)
    by_word = {"last": columns == last, "from_last": columns >= last, "after_first": columns > first}
    if isinstance(positions, str):
        where = (by_word | {"front": columns == first}).get(positions, where)
    before = logits(model, ids)
    vector = some_vector(layer)
    keep = lambda module, args, output: seen.append(residual(output))  # noqa: E731
    with decoder_blocks(model)[layer].register_forward_hook(keep), torch.no_grad():
        model(ids, attention_mask=mask)
        with steer(model, vector, alpha, positions=positions):
            model(ids, attention_mask=mask)
    h, steered = seen
    v = (torch.tensor(alpha).reshape(-1, 1, 1) * vector.values).to(dtype)
    real = mask.bool()
    assert torch.equal(steered[real], torch.where(where[..., None], h + v, h)[real])
    assert torch.equal(logits(model, ids), before)
    assert hooks_on(model) == 0


@tried
@given(families, prompts, st.lists(layers, min_size=1, max_size=4), st.integers(1, 6), st.data())
def test_a_batch_reads_as_one_at_a_time(tokenizer, family, prompts, layers, batch_size, data):
    positions = data.draw(st.sampled_from(["last", "mean", "all", 0, -1]))
    model = small(family)
    together = capture(model, tokenizer, prompts, layers, positions=positions, batch_size=batch_size)
    for i, prompt in enumerate(prompts):
        alone = capture(model, tokenizer, prompt, layers, positions=positions)
        pair = (together[i], *alone) if positions == "all" else (together[[i]], alone)
        torch.testing.assert_close(*(activations.values for activations in pair), rtol=1e-4, atol=2e-5)


@tried
@given(families, prompts, layers, st.sampled_from(WORDS), st.booleans(), st.data())
def test_one_alpha_per_row_is_as_many_calls(tokenizer, family, prompts, layer, positions, use_cache, data):
    model, vector = small(family), some_vector(layer)
    rows = data.draw(st.lists(alphas, min_size=len(prompts), max_size=len(prompts)))
    with steer(model, vector, rows, positions=positions):
        _, together = greedy(model, tokenizer, prompts, n_new=3, use_cache=use_cache)
    for row, (prompt, alpha) in enumerate(zip(prompts, rows, strict=True)):
        with steer(model, vector, alpha, positions=positions):
            _, alone = greedy(model, tokenizer, [prompt], n_new=3, use_cache=use_cache)
        # the first token's; the next ones hang on a choice between logits that may be equal
        torch.testing.assert_close(together[row, 0], alone[0, 0], rtol=1e-3, atol=1e-3)


@tried
@given(families, st.permutations(range(4)), st.lists(layers, min_size=4, max_size=4))
def test_contexts_may_close_in_any_order(family, order, layers):
    model, ids = small(family), torch.tensor([[464, 6193, 287]])
    before = logits(model, ids)
    operations = [add, ablate, set_projection(2.0), add_and_keep_norm]
    opened = [
        steer(model, some_vector(layer), [1.0], operation=operation, positions="prompt")
        for layer, operation in zip(layers, operations, strict=True)
    ]
    for context in opened:
        context.__enter__()
    logits(model, ids)
    for n_closed, number in enumerate(order, start=1):
        opened[number].__exit__(None, None, None)
        assert hooks_on(model) == (4 - n_closed) + 4 * (n_closed < 4)  # and four that watch the passes
    assert torch.equal(logits(model, ids), before)


vectors = st.lists(st.floats(-1e4, 1e4, width=32), min_size=6, max_size=6).map(torch.tensor)


@tried
@given(vectors, vectors, st.floats(-100, 100, width=32))
def test_vector_algebra(a, b, factor):
    u, v = SteeringVector(a, 2), SteeringVector(b, 2)
    close = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-2)
    close((u + v).values, a + b)
    close((u - v).values, (-(v - u)).values)
    close((factor * u).values, a * factor)
    if u.norm > 1 and v.norm > 1:
        assert abs(cosine(u, v)) <= 1 + 1e-5
        left = u.project_out(v)
        assert abs(float(left.values @ (v / v.norm).values)) <= 1e-5 * u.norm
        close((left + (cosine(u, v) * u.norm) * (v / v.norm)).values, a, atol=1e-2)


@tried
@given(vectors, layers, st.text(), st.text(), st.dictionaries(st.text(), st.lists(st.text()), max_size=3))
def test_a_file_gives_back_what_was_saved(values, layer, model, method, provenance):
    saved = SteeringVector(values, layer, model, method, provenance)
    with tempfile.TemporaryDirectory() as folder:
        exchange.save(saved, Path(folder) / "v.safetensors")
        loaded = exchange.load(Path(folder) / "v.safetensors")
    assert torch.equal(loaded.values, values)
    for name in ("layer", "model", "method", "provenance"):
        assert getattr(loaded, name) == getattr(saved, name)
