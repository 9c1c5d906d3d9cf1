"""The α slider: live where a kernel answers, and the table of its settings where none does."""

import html
import sys

import ipywidgets as widgets

from .generation import generate
from .metrics import alpha_for, relative_strength
from .steering import check_vector, steer
from .tokens import check_prompts


class AlphaSlider:
    """Text against α, layer and prompt; show it by making it the last line of a cell.

    A notebook with a running kernel shows sliders, which generate when they are let go. A page without one
    shows the table of `alphas`, which is what the sliders stand for.

    Args:
        vectors: one SteeringVector for each layer on offer; the middle one is shown first.
        prompt: the text to continue.
        norms: (n_layers,), from `residual_norms`; they give the relative strength beside each α.
        strengths: the relative strengths in the table, with signs; the largest ends the slider.
        seed: every setting is sampled with the same random numbers.

    Raises:
        TypeError, ValueError: as `steer` and `encode` do, before anything is generated.
    """

    def __init__(
        self,
        model,
        tokenizer,
        vectors,
        prompt,
        norms,
        *,
        strengths=(-0.5, -0.3, -0.15, 0, 0.15, 0.3, 0.5),
        max_new_tokens=25,
        seed=0,
    ):
        for vector in vectors:
            check_vector(model, vector)
        check_prompts(prompt)
        self.model, self.tokenizer, self.norms, self.seed = model, tokenizer, norms, seed
        self.max_new_tokens, self.vectors = max_new_tokens, {v.layer: v for v in vectors}
        layers = sorted(self.vectors)
        start = layers[len(layers) // 2]
        self.alphas = [alpha_for(self.vectors[start], r, norms) for r in strengths]
        end = round(max(map(abs, self.alphas)), 1)
        wide, slow = {"description_width": "4em"}, {"continuous_update": False}
        self.alpha = widgets.FloatSlider(
            0.0, min=-end, max=end, step=end / 20, description="α", style=wide, **slow
        )
        self.layer = widgets.SelectionSlider(
            options=layers, value=start, description="layer", style=wide, **slow
        )
        self.prompt = widgets.Text(prompt, description="prompt", style=wide, **slow)
        self.text = widgets.HTML()
        self.box = widgets.VBox([self.alpha, self.layer, self.prompt, self.text])
        for control in (self.alpha, self.layer, self.prompt):
            control.observe(self._update, names="value")

    def continuations(self, alphas, layer, prompt) -> list[str]:
        """The prompt continued at each α, in one batch and with the same random numbers."""
        n = len(alphas)
        with steer(self.model, self.vectors[layer], list(alphas)):
            return generate(
                self.model,
                self.tokenizer,
                [prompt] * n,
                max_new_tokens=self.max_new_tokens,
                seed=[self.seed] * n,
            )

    def _update(self, change=None):
        try:
            text = self.continuations([self.alpha.value], self.layer.value, self.prompt.value)[0]
            r = relative_strength(self.vectors[self.layer.value], self.alpha.value, self.norms)
            said = f"<i>r = {r:.2f}</i><br><b>{html.escape(self.prompt.value)}</b>{html.escape(text)}"
        except ValueError as error:
            said = f"<i>{html.escape(str(error))}</i>"
        self.text.value = f'<div style="line-height:1.5">{said}</div>'

    def table(self) -> str:
        """The prompt continued at each α of the table, as HTML with all model text escaped."""
        layer, prompt = self.layer.value, self.prompt.value
        vector, rows = self.vectors[layer], []
        for alpha, text in zip(self.alphas, self.continuations(self.alphas, layer, prompt), strict=True):
            r = relative_strength(vector, alpha, self.norms)
            rows.append(
                f'<tr><th scope="row">{alpha:+.2f}</th><td>{r:.2f}</td>'
                f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            )
        return (
            f"<table><caption>“{html.escape(prompt)} …” at layer {layer}, one seed</caption>"
            "<thead><tr>"
            + "".join(f'<th scope="col">{name}</th>' for name in ("α", "r", "continuation"))
            + "</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table>"
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        bundle = {"application/vnd.jupyter.widget-view+json": view, "text/plain": "AlphaSlider"}
        self._update()
        if "google.colab" not in sys.modules:  # Colab always has a kernel, and may prefer the HTML
            bundle["text/html"] = self.table()
        return bundle
