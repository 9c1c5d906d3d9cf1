"""The α slider: its live form says what generate says, its static form is the table, both are harmless."""

import html
import re

import pytest
import torch
from conftest import hooks_on, tiny_model

from steering_utils import AlphaSlider, SteeringVector, generate, slider, steer

WIDGET = "application/vnd.jupyter.widget-view+json"
PROMPT = "The weather is"


def vectors():
    """A vector at each of two layers, long enough to change the text of a tiny model."""
    draw = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    return [SteeringVector(values, layer) for values, layer in zip(draw, (1, 3), strict=True)]


@pytest.fixture
def made(model, tokenizer):
    """A slider on a model that must come out of each test without hooks."""
    options = {"strengths": (-0.3, 0, 0.3), "max_new_tokens": 3}
    yield AlphaSlider(model, tokenizer, vectors(), PROMPT, torch.ones(4), **options)
    assert hooks_on(model) == 0


def shown(made):
    """What the live form's text says, without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", made.text.value))


def wanted(made, alpha, layer, prompt=PROMPT):
    """The text that the book's own functions give for that setting."""
    vector = next(v for v in vectors() if v.layer == layer)
    with steer(made.model, vector, alpha):
        return generate(made.model, made.tokenizer, prompt, max_new_tokens=3, seed=0)[0]


def test_each_control_shows_what_generate_gives_for_its_setting(made):
    seen = set()
    for alpha, layer, prompt in [(0.0, 3, PROMPT), (0.05, 3, PROMPT), (0.05, 1, PROMPT), (0.05, 1, "I am")]:
        made.alpha.value, made.layer.value, made.prompt.value = alpha, layer, prompt
        made._update()
        assert shown(made).endswith(prompt + wanted(made, alpha, layer, prompt))
        seen.add(made.text.value)
    assert len(seen) == 4


def test_moving_a_control_is_enough(made, monkeypatch):
    written = iter(["alpha", "layer", "prompt"])
    monkeypatch.setattr(slider, "generate", lambda *args, **options: [next(written)])
    for control, value in ((made.alpha, 0.05), (made.layer, 1), (made.prompt, "I am")):
        control.value = value
        assert shown(made).endswith(control.description.replace("α", "alpha"))
        assert control.continuous_update is False  # a drag is one generation, not fifty


def test_a_prompt_that_cannot_be_used_is_named_in_place_of_the_text(made):
    made.prompt.value = "  "
    assert "is empty" in shown(made)
    made.prompt.value = "I am"
    assert "I am" in shown(made)


def test_any_other_error_is_shown_too(made, monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("out of <memory>")

    monkeypatch.setattr(slider, "generate", broken)
    made.alpha.value = 0.05
    assert "out of <memory>" in shown(made)
    assert "&lt;memory&gt;" in made.text.value


def test_model_text_and_prompt_are_escaped_in_both_forms(model, tokenizer, monkeypatch):
    bad = "<script>alert('x')</script>"
    monkeypatch.setattr(slider, "generate", lambda *args, **options: [bad] * len(args[2]))
    made = AlphaSlider(model, tokenizer, vectors(), f'"{bad}', torch.ones(4))
    made._update()
    assert html.escape(bad) in made.text.value
    for page in (made.text.value, made.table()):
        assert "<script>alert" not in page
        assert 'data-prompt=""' not in page


def test_the_table_has_one_row_per_strength_and_the_text_of_that_alpha(made):
    cells = re.findall(r'"row">(.*?)</th><td>(.*?)</td><td[^>]*>(.*?)</td></tr>', made.table(), re.DOTALL)
    assert [float(r) for _, r, _ in cells] == [0.3, 0, 0.3]
    for alpha, (label, _, text) in zip(made.alphas, cells, strict=True):
        assert float(label) == pytest.approx(alpha, abs=0.005)
        assert html.unescape(text) == wanted(made, alpha, layer=3)
    assert made.table() == made.table()  # the same settings, the same bytes


def test_it_is_shown_in_both_forms_and_as_a_widget_alone_in_colab(made, monkeypatch):
    bundle = made._repr_mimebundle_()
    assert bundle[WIDGET]["model_id"] == made.box.model_id
    assert bundle["text/html"] == made.table()
    assert PROMPT in shown(made)
    monkeypatch.setitem(slider.sys.modules, "google.colab", None)
    assert set(made._repr_mimebundle_()) == {WIDGET, "text/plain"}


def test_the_table_stays_with_the_first_prompt_whatever_is_typed(made):
    before = made.table()
    made.prompt.value, made.layer.value = "", 1
    assert made._repr_mimebundle_()["text/html"] == before


@pytest.mark.parametrize(
    ("given", "prompt", "error", "said"),
    [
        (vectors(), "", ValueError, "empty"),
        (vectors(), [PROMPT], TypeError, "must be a string"),
        ([], PROMPT, ValueError, "at least one vector"),
        (vectors() * 2, PROMPT, ValueError, "one for each layer"),
        ([SteeringVector(torch.ones(32), 4)], PROMPT, ValueError, "does not exist"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_generated(tokenizer, given, prompt, error, said):
    with pytest.raises(error, match=said):
        AlphaSlider(tiny_model("gpt2"), tokenizer, given, prompt, torch.ones(4))
