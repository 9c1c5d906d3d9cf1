"""Figures that answer: live where a kernel runs; on a page without one, a slider through a table."""

import hashlib
import itertools
import json
import sys
from html import escape
from pathlib import Path

import ipywidgets as widgets

from ..generation import generate
from ..measuring import next_token_logits
from ..steering import check_vector, steer
from ..tokens import check_prompts, token_texts
from ..vectors import SteeringVector
from .judges import sentiment
from .tables import html_cell, html_table

AT_ONCE = 64  # settings that are written in one batch
STRENGTHS = (-0.5, -0.3, -0.15, 0.0, 0.15, 0.3, 0.5)
STYLE = {"style": {"description_width": "6em"}, "layout": {"width": "95%"}}
SCRIPT = Path(__file__).with_name("slider.js").read_text()


class Slider:
    """What changes with a setting, as a figure that answers; show it by making it the last line of a cell.

    With a running kernel its controls are widgets, and each move calls `read`. A page without one has the
    table of all settings, and a script of its own that goes through the rows.

    Args:
        caption: what it shows.
        controls: a dict of name to the values on offer; numbers make a slider, texts a menu. Each starts in
            the middle, a menu at its top.
        read: a function of a list of settings, each a dict of name to value, that gives for each a dict of
            column to what stands there: text, a number, a dict of label to share (drawn as bars), or a
            drawing (`plots.svg_points`).
        live: a dict of name to a widget that stands for a control, or is one more, where a kernel runs.

    Raises:
        ValueError: no controls, or one with nothing to choose.
    """

    def __init__(self, caption, controls, read, live=None):
        self.caption, self.read, self._seen = caption, read, {}
        self.controls = {name: list(values) for name, values in controls.items()}
        if not self.controls or not all(self.controls.values()):
            raise ValueError(f"give at least one control, each with values to choose from; got {controls}")
        self.inputs = {name: self._widget(name) for name in self.controls} | (live or {})
        self.text = widgets.HTML()
        self.box = widgets.VBox([*self.inputs.values(), self.text])
        for control in self.inputs.values():
            if control.has_trait("continuous_update"):
                control.continuous_update = False  # a drag is one call of `read`, not fifty
            control.observe(self._update, names="value")

    def rows(self, settings) -> list[dict]:
        """What `read` gives for each setting; what is not known yet is asked for in one call."""
        keys = [json.dumps(setting, sort_keys=True) for setting in settings]
        if new := {key: one for key, one in zip(keys, settings, strict=True) if key not in self._seen}:
            self._seen |= zip(new, self.read(list(new.values())), strict=True)
        return [self._seen[key] for key in keys]

    def table(self) -> str:
        """All settings as an HTML table, which the script makes a slider of; all text is escaped."""
        numbers = list(itertools.product(*(range(len(values)) for values in self.controls.values())))
        settings = [
            {name: values[i] for i, (name, values) in zip(chosen, self.controls.items(), strict=True)}
            for chosen in numbers
        ]
        rows = self.rows(settings)
        table = html_table(
            self.caption,
            [*self.controls, *rows[0]],
            [[*one.values(), *row.values()] for one, row in zip(settings, rows, strict=True)],
            row_heads=len(self.controls),
            settings=[",".join(map(str, chosen)) for chosen in numbers],
        ).data
        start = ",".join(str(_start(values)) for values in self.controls.values())
        name = "slider-" + hashlib.sha256(table.encode()).hexdigest()[:12]  # the same content, the same name
        script = f"<script>{SCRIPT.replace('SLIDER', name)}</script>"
        return f'<div class="steering-slider" id="{name}" data-start="{start}">{table}</div>{script}'

    def _widget(self, name):
        values = self.controls[name]
        kind = widgets.Dropdown if isinstance(values[0], str) else widgets.SelectionSlider
        options = [(html_cell(value), value) for value in values]
        return kind(options=options, value=values[_start(values)], description=name, **STYLE)

    def _update(self, change=None):
        self.text.value = "<i>working …</i>"
        try:
            (row,) = self.rows([{name: control.value for name, control in self.inputs.items()}])
            self.text.value = "".join(
                f"<div><b>{escape(k)}:</b> {html_cell(v)}</div>" for k, v in row.items()
            )
        except Exception as error:  # nobody would see what a callback raises
            self.text.value = f"<i>{escape(str(error))}</i>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        bundle = {"application/vnd.jupyter.widget-view+json": view, "text/plain": type(self).__name__}
        if "google.colab" not in sys.modules:  # Colab always has a kernel, and may prefer the HTML
            bundle["text/html"] = self.table()
        self._update()
        return bundle


class AlphaSlider(Slider):
    """Text, its tone and the likeliest next tokens, against strength, layer and prompt.

    Every setting is written with the same random numbers. With a kernel any prompt can be typed.

    Args:
        vectors: one SteeringVector for each layer on offer, in units of the stream (`in_stream_units`), so
            that alpha is the relative strength.
        prompts: a text to continue, or several.
        strengths: relative strengths r, signed.
        seed: that of every setting.

    Raises:
        TypeError, ValueError: as `steer` and `generate` do, before anything is generated.
    """

    def __init__(self, model, tokenizer, vectors, prompts, *, strengths=STRENGTHS, max_new_tokens=25, seed=0):
        vectors = [vectors] if isinstance(vectors, SteeringVector) else list(vectors)
        for vector in vectors:
            check_vector(model, vector)
        self.prompts, layers = check_prompts(prompts, ids=False), sorted(v.layer for v in vectors)
        if not layers or len(set(layers)) < len(layers):
            raise ValueError("give at least one vector, and one for each layer")
        self.model, self.tokenizer, self.vectors = model, tokenizer, vectors
        self.options = {"max_new_tokens": max_new_tokens, "seed": seed}
        strengths = [float(r) for r in strengths]
        controls, fixed = {"strength r": strengths}, []
        for name, values in (("layer", layers), ("prompt", self.prompts)):
            if len(values) > 1:
                controls[name] = values
            else:
                fixed.append(f"“{values[0]} …”" if name == "prompt" else f"{name} {values[0]}")
        end = max(map(abs, strengths))
        live = {
            "strength r": widgets.FloatSlider(
                0.0, min=-end, max=end, step=end / 20, description="r", **STYLE
            ),
            "prompt": widgets.Combobox(
                value=self.prompts[0], options=self.prompts, description="prompt", **STYLE
            ),
        }
        caption = ", ".join(["What the model writes", *fixed, "one seed"])
        super().__init__(caption, controls, self._write, live)

    def _write(self, settings) -> list[dict]:
        """The rows for these settings, so many at a time that memory is bounded."""
        starts = range(0, len(settings), AT_ONCE)
        return [row for i in starts for row in self._write_some(settings[i : i + AT_ONCE])]

    def _write_some(self, settings) -> list[dict]:
        prompts = [setting.get("prompt", self.prompts[0]) for setting in settings]
        layers = [setting.get("layer", self.vectors[0].layer) for setting in settings]
        alpha = [  # (n_vectors, n_rows): each vector works on the rows of its own layer
            [s["strength r"] * (layer == vector.layer) for s, layer in zip(settings, layers, strict=True)]
            for vector in self.vectors
        ]
        seeds = [self.options["seed"]] * len(prompts)
        with steer(self.model, self.vectors, alpha):
            texts = generate(self.model, self.tokenizer, prompts, **self.options | {"seed": seeds})
            logits = next_token_logits(self.model, self.tokenizer, prompts)
        likeliest, ids = logits.softmax(dim=1).topk(4)
        bars = [
            dict(zip(token_texts(self.tokenizer, row), shares, strict=True))
            for row, shares in zip(ids.tolist(), likeliest.tolist(), strict=True)
        ]
        parts = zip(prompts, texts, sentiment(texts).tolist(), bars, strict=True)
        return [
            {"text": prompt + text, "tone (VADER)": tone, "next token": bar}
            for prompt, text, tone, bar in parts
        ]


def _start(values) -> int:
    """The number of the value that a control shows first."""
    return 0 if isinstance(values[0], str) else len(values) // 2
