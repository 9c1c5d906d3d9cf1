"""The α slider: live where a kernel answers, and a table of its settings where none does."""

import hashlib
import sys
from html import escape

import ipywidgets as widgets

from .generation import generate
from .metrics import alpha_for, relative_strength
from .steering import check_vector, steer
from .tokens import check_prompts
from .vectors import SteeringVector

STRENGTHS = (-0.5, -0.3, -0.15, 0, 0.15, 0.3, 0.5)
HEAD = '<thead><tr><th scope="col">α</th><th scope="col">r</th><th scope="col">continuation</th></tr></thead>'
SCRIPT = """<script>(() => {  // a slider through the table's rows; where scripts do not run, the table is all
  const box = document.getElementById("%s"), rows = [...box.querySelectorAll("tbody tr")];
  const [label, input, output] = ["label", "input", "output"].map((tag) => document.createElement(tag));
  const show = () => {
    const [alpha, r, text] = [...rows[input.value].cells].map((cell) => cell.textContent);
    input.setAttribute("aria-valuetext", "α = " + alpha);
    output.textContent = `α = ${alpha}, r = ${r}: ${box.dataset.prompt}${text}`;
  };
  Object.assign(input, {type: "range", max: rows.length - 1, value: rows.length >> 1, oninput: show});
  input.setAttribute("data-lm-suppress-shortcuts", "true");  // JupyterLab would eat the arrow keys
  output.setAttribute("aria-live", "polite");
  for (const part of [label, input, output]) part.style.cssText = "display: block; width: 100%%";
  label.append("α", input), box.prepend(label, output), show();
})()</script>"""


class AlphaSlider:
    """Text against α, layer and prompt; show it by making it the last line of a cell.

    A notebook with a running kernel shows sliders, which generate when they are let go. A page without one
    shows the first prompt at each of `strengths`, as a table with a slider that goes through its rows.

    Args:
        vectors: one SteeringVector for each layer on offer; the middle one is shown first.
        prompt: the text to continue.
        norms: (n_layers,), from `residual_norms`; they give the relative strength beside each α.
        strengths: the relative strengths in the table, with signs; the largest ends the live slider.
        seed: every setting is sampled with the same random numbers.

    Raises:
        TypeError, ValueError: as `steer` and `encode` do, before anything is generated.
    """

    def __init__(
        self, model, tokenizer, vectors, prompt, norms, *, strengths=STRENGTHS, max_new_tokens=25, seed=0
    ):
        vectors = [vectors] if isinstance(vectors, SteeringVector) else list(vectors)
        for vector in vectors:
            check_vector(model, vector)
        check_prompts([prompt])
        self.model, self.tokenizer, self.norms, self.seed = model, tokenizer, norms, seed
        self.max_new_tokens, self.vectors = max_new_tokens, {vector.layer: vector for vector in vectors}
        layers = sorted(self.vectors)
        if not layers or len(layers) < len(vectors):
            raise ValueError("give at least one vector, and one for each layer")
        start = layers[len(layers) // 2]
        self.first = (prompt, start)
        self.alphas = [alpha_for(self.vectors[start], r, norms) for r in strengths]
        end = max(map(abs, self.alphas))
        same = {"continuous_update": False, "style": {"description_width": "4em"}}
        self.alpha = widgets.FloatSlider(0.0, min=-end, max=end, step=end / 20, description="α", **same)
        self.layer = widgets.SelectionSlider(options=layers, value=start, description="layer", **same)
        self.prompt = widgets.Text(prompt, description="prompt", **same)
        self.text = widgets.HTML()
        self.box = widgets.VBox([self.alpha, self.layer, self.prompt, self.text])
        for control in (self.alpha, self.layer, self.prompt):
            control.observe(self._update, names="value")

    def continuations(self, alphas, layer, prompt) -> list[str]:
        """The prompt continued at each α, in one batch and with the same random numbers."""
        options = {"max_new_tokens": self.max_new_tokens, "seed": [self.seed] * len(alphas)}
        with steer(self.model, self.vectors[layer], list(alphas)):
            return generate(self.model, self.tokenizer, [prompt] * len(alphas), **options)

    def _update(self, change=None):
        prompt, layer, alpha = self.prompt.value, self.layer.value, self.alpha.value
        self.text.value = "<i>writing …</i>"
        try:
            text = self.continuations([alpha], layer, prompt)[0]
            r = relative_strength(self.vectors[layer], alpha, self.norms)
            self.text.value = f"<i>r = {r:.2f}</i><br><b>{escape(prompt)}</b>{escape(text)}"
        except Exception as error:  # nobody would see what a callback raises
            self.text.value = f"<i>{escape(str(error))}</i>"

    def table(self) -> str:
        """The first prompt at each α of the table, as HTML with all model text escaped."""
        prompt, layer = self.first
        rows = ""
        for alpha, text in zip(self.alphas, self.continuations(self.alphas, layer, prompt), strict=True):
            r = relative_strength(self.vectors[layer], alpha, self.norms)
            rows += f'<tr><th scope="row">{alpha:+.2f}</th><td>{r:.2f}</td>'
            rows += f'<td style="text-align: left">{escape(text)}</td></tr>'
        caption = f"<caption style='color: inherit'>“{escape(prompt)} …” at layer {layer}, one seed</caption>"
        name = "alpha-" + hashlib.sha256((caption + rows).encode()).hexdigest()[:12]
        table = f"<table>{caption}{HEAD}<tbody>{rows}</tbody></table>"
        return f'<div id="{name}" data-prompt="{escape(prompt)}">{table}</div>{SCRIPT % name}'

    def _repr_mimebundle_(self, include=None, exclude=None):
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        bundle = {"application/vnd.jupyter.widget-view+json": view, "text/plain": "AlphaSlider"}
        self._update()
        if "google.colab" not in sys.modules:  # Colab always has a kernel, and may prefer the HTML
            bundle["text/html"] = self.table()
        return bundle
