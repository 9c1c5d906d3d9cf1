"""Figures that answer: what they show is what the model says, live and as a table, and it is harmless."""

import html
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from conftest import hooks_on, tiny_model

from steering_utils import SteeringVector, generate, steer
from steering_utils.pages import slider
from steering_utils.pages.plots import svg_points
from steering_utils.pages.slider import AlphaSlider, Slider

WIDGET = "application/vnd.jupyter.widget-view+json"
PROMPTS = ["The weather is", "I am"]
STRENGTHS = (-0.3, 0, 0.3)
NORM = 100.0  # of the stream, say, in whose units the vectors are: so that they change the text


def vectors():
    """A vector at each of two layers, long enough to change the text of a tiny model."""
    draw = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    draw = NORM * draw / draw.norm(dim=1, keepdim=True)
    return [SteeringVector(values, layer) for values, layer in zip(draw, (1, 3), strict=True)]


def alpha_slider(model, tokenizer, prompts=PROMPTS, **options):
    options = {"strengths": STRENGTHS, "max_new_tokens": 3} | options
    return AlphaSlider(model, tokenizer, vectors(), prompts, **options)


@pytest.fixture
def made(model, tokenizer):
    """A slider on a model that must come out of each test without hooks."""
    yield alpha_slider(model, tokenizer)
    assert hooks_on(model) == 0


def wanted(made, r, layer, prompt):
    """The text that the book's own functions give for that setting."""
    vector = next(v for v in vectors() if v.layer == layer)
    with steer(made.model, vector, r):
        return prompt + generate(made.model, made.tokenizer, prompt, max_new_tokens=3, seed=0)[0]


def shown(made):
    """What the live form shows, without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", made.text.value))


def parsed(page):
    """The rows of a table by their settings: a dict of heading to text."""
    table = BeautifulSoup(page, "html.parser").find("table")
    heads = [head.get_text() for head in table.thead.find_all("th")]
    return {
        tuple(map(int, row["data-setting"].split(","))): dict(
            zip(heads, (cell.get_text() for cell in row.find_all(["th", "td"])), strict=True)
        )
        for row in table.tbody.find_all("tr")
    }


def test_the_table_has_a_row_for_each_setting_with_what_generate_gives_for_it(made):
    rows = parsed(made.table())
    assert len(rows) == 3 * 2 * 2
    for (i, j, k), row in rows.items():
        r, layer, prompt = STRENGTHS[i], (1, 3)[j], PROMPTS[k]
        assert (float(row["strength r"]), int(row["layer"]), row["prompt"]) == (r, layer, prompt)
        assert row["text"] == wanted(made, r, layer, prompt)
    assert len({row["text"] for row in rows.values()}) > 4
    assert made.table() == made.table()  # the same settings, the same bytes


@pytest.mark.parametrize(("at_once", "batches"), [(64, [12]), (5, [5, 5, 2])])
def test_the_table_is_generated_once_and_so_many_rows_at_a_time(made, monkeypatch, at_once, batches):
    calls = []
    monkeypatch.setattr(slider, "AT_ONCE", at_once)
    monkeypatch.setattr(
        slider, "generate", lambda m, t, prompts, **o: calls.append(prompts) or [""] * len(prompts)
    )
    made.table(), made.table()
    assert [len(prompts) for prompts in calls] == batches


def test_rows_do_not_depend_on_how_many_are_written_at_a_time(model, tokenizer, monkeypatch):
    tables = []
    for at_once in (64, 5):
        monkeypatch.setattr(slider, "AT_ONCE", at_once)
        tables.append([row["text"] for row in parsed(alpha_slider(model, tokenizer).table()).values()])
    assert tables[0] == tables[1]


def test_the_bars_are_the_likeliest_next_tokens_under_steering(made):
    (row,) = made.rows([{"strength r": 0.3, "layer": 3, "prompt": PROMPTS[0]}])
    vector = vectors()[1]
    ids = torch.tensor([made.tokenizer(PROMPTS[0])["input_ids"]])
    with steer(made.model, vector, 0.3), torch.no_grad():
        p = made.model(ids).logits[0, -1].softmax(0)
    assert list(row["next token"].values()) == pytest.approx(p.topk(4).values.tolist(), rel=1e-3)
    assert list(row["next token"]) == [made.tokenizer.decode([i]) for i in p.topk(4).indices.tolist()]


def test_each_live_control_shows_what_generate_gives_for_its_setting(made):
    made._update()
    seen = set()
    for r, layer, prompt in [
        (0.0, 3, PROMPTS[0]),
        (0.3, 3, PROMPTS[0]),
        (0.3, 1, PROMPTS[0]),
        (0.3, 1, "Typed"),
    ]:
        for name, value in (("strength r", r), ("layer", layer), ("prompt", prompt)):
            made.inputs[name].value = value  # moving a control is enough
        assert wanted(made, r, layer, prompt) in shown(made)
        seen.add(made.text.value)
    assert len(seen) == 4


def test_a_drag_is_one_generation_and_not_fifty(made):
    waiting = [one for one in made.inputs.values() if one.has_trait("continuous_update")]
    assert len(waiting) == 3
    assert not any(control.continuous_update for control in waiting)


def test_an_error_is_named_in_place_of_the_text(made, monkeypatch):
    made.inputs["prompt"].value = ""
    assert "is empty" in shown(made)

    def broken(*args, **options):
        raise RuntimeError("out of <memory>")

    monkeypatch.setattr(slider, "generate", broken)
    made.inputs["prompt"].value = "I was"
    assert "out of <memory>" in shown(made)
    assert "&lt;memory&gt;" in made.text.value


@pytest.mark.parametrize(
    "bad", ["<script>alert('x')</script>", "</script><img src=x onerror=alert(1)>", '"><b id="bad">']
)
def test_model_text_and_prompts_are_escaped_in_both_forms(model, tokenizer, monkeypatch, bad):
    monkeypatch.setattr(slider, "generate", lambda m, t, prompts, **o: [bad] * len(prompts))
    made = alpha_slider(model, tokenizer, [f"One {bad}", f"Two {bad}"])
    made._update()
    assert html.escape(bad) in made.text.value
    for page in (made.text.value, made.table()):
        assert bad not in page.replace(slider.SCRIPT.split("SLIDER")[0], "")
        soup = BeautifulSoup(page, "html.parser")
        assert not soup.find("img") and not soup.find(id="bad")
        assert len(soup.find_all("script")) == page.count('class="steering-slider"')
    assert parsed(made.table())[0, 0, 0]["text"] == f"One {bad}{bad}"


def test_one_layer_and_one_prompt_are_said_and_not_offered(model, tokenizer):
    made = AlphaSlider(model, tokenizer, vectors()[0], "I <am>", strengths=STRENGTHS, max_new_tokens=2)
    assert list(made.controls) == ["strength r"]
    assert list(made.inputs) == ["strength r", "prompt"]  # with a kernel, any prompt can be typed
    assert "layer 1" in made.table()
    assert "I &lt;am&gt;" in made.table()


def test_it_is_shown_in_both_forms_and_as_a_widget_alone_in_colab(made, monkeypatch):
    bundle = made._repr_mimebundle_()
    assert bundle[WIDGET]["model_id"] == made.box.model_id
    assert bundle["text/html"] == made.table()
    assert PROMPTS[0] in shown(made)
    monkeypatch.setitem(slider.sys.modules, "google.colab", None)
    assert set(made._repr_mimebundle_()) == {WIDGET, "text/plain"}


def test_any_reading_can_have_a_slider_with_numbers_bars_and_drawings():
    def read(settings):
        return [
            {"square": one["x"] ** 2.0, "bars": {" <a>": 0.5}, "drawing": dot(one["x"])} for one in settings
        ]

    def dot(x):
        limits = ((0, 4), (0, 4))
        return svg_points(
            [(np.array([[x, x]]), "#0072b2", "filled")],
            limits=limits,
            xlabel="<x>",
            ylabel="y",
            about="a dot",
        )

    made = Slider("Squares", {"x": [1, 2, 3]}, read)
    assert [row["square"] for row in parsed(made.table()).values()] == ["+1.00", "+4.00", "+9.00"]
    page = BeautifulSoup(made.table(), "html.parser")
    assert page.find("div")["data-start"] == "1"
    assert [float(c["cx"]) for c in page.find_all("circle")] == [80, 150, 220]
    assert "<a>50%" in page.get_text()
    assert page.find("svg")["aria-label"] == "a dot"
    made.inputs["x"].value = 3
    assert "+9.00" in shown(made)


def test_what_is_no_code_is_installed_with_the_package():
    folder = Path(slider.__file__).parent
    others = {file.name for file in folder.iterdir() if file.is_file() and file.suffix != ".py"}
    project = tomllib.loads((folder.parent.parent / "pyproject.toml").read_text())
    data = project["tool"]["setuptools"]["package-data"]
    assert set(data["steering_utils.pages"]) == others == {"slider.js"}
    assert {file.name for file in folder.parent.glob("*.toml")} == set(data["steering_utils"])


@pytest.mark.parametrize("controls", [{}, {"x": []}])
def test_nothing_to_choose_is_refused(controls):
    with pytest.raises(ValueError, match="at least one control"):
        Slider("Nothing", controls, lambda settings: settings)


@pytest.mark.parametrize(
    ("given", "prompt", "error", "said"),
    [
        (vectors(), "", ValueError, "empty"),
        (vectors(), [3], TypeError, "must be a string"),
        ([], "I am", ValueError, "at least one vector"),
        (vectors() * 2, "I am", ValueError, "one for each layer"),
        ([SteeringVector(torch.ones(32), 4)], "I am", ValueError, "does not exist"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_generated(tokenizer, given, prompt, error, said):
    with pytest.raises(error, match=said):
        AlphaSlider(tiny_model("gpt2"), tokenizer, given, prompt)
