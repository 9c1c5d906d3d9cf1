"""The book's figures: one style, one colour for each role, readable to the colour-blind."""

from html import escape

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import SVG

POSITIVE, NEGATIVE, UNSTEERED, CONTROL = "#0072b2", "#d55e00", "#222222", "#8c8c8c"  # after Okabe and Ito
STYLE = {
    "figure.figsize": (6.4, 3.6),
    "figure.dpi": 120,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=[POSITIVE, NEGATIVE, "#009e73", "#cc79a7", "#e69f00"]),
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def book_style():
    """Give matplotlib the book's style, until it is changed again."""
    plt.rcParams.update(STYLE)


def plot_by_layer(series, *, title, ylabel, ax=None, log=False):
    """One line per entry of `series` (a dict of label to (n_layers,) values) against the layer number."""
    ax = ax or plt.subplots()[1]
    for (label, values), marker in zip(series.items(), "osD^v", strict=False):
        ax.plot(_array(values), marker=marker, ms=3.5, lw=1.5, label=label)
    ax.set(title=title, xlabel="layer (output of decoder block)", ylabel=ylabel)
    if log:
        ax.set_yscale("log")
    if len(series) > 1:
        ax.legend()
    return ax


def plot_classes(positive, negative, *, ax, held_out=False):
    """Points (n, 2) of both classes: filled, or, for held-out texts, open."""
    kind = "held out" if held_out else "pairs"
    for points, colour, marker, name in (
        (positive, POSITIVE, "o", "positive"),
        (negative, NEGATIVE, "s", "negative"),
    ):
        points, face = _array(points), "none" if held_out else colour
        ax.scatter(*points.T, marker=marker, s=34, facecolor=face, edgecolor=colour, label=f"{name}, {kind}")
    return ax


def plot_token_scores(tokens, scores, *, title, xlabel):
    """One bar per token, from the top down in reading order, coloured by the score's sign."""
    scores = _array(scores)
    ax = plt.subplots(figsize=(6.4, 0.6 + 0.28 * len(tokens)))[1]
    ax.barh(range(len(tokens)), scores, color=np.where(scores >= 0, POSITIVE, NEGATIVE))
    ax.set_yticks(range(len(tokens)), [repr(token)[1:-1] for token in tokens])
    ax.invert_yaxis()
    ax.axvline(0, color=UNSTEERED, lw=0.8)
    ax.set(title=title, xlabel=xlabel)
    return ax


def plot_dose_response(strengths, series, *, title, ylabel, controls=None, ax=None):
    """Curves against relative strength, each with its interval, over the controls.

    Args:
        strengths: (n_strengths,), signed.
        series: a dict of label to (mean, low, high), each (n_strengths,).
        controls: (n_controls, n_strengths), drawn thin and grey.
    """
    ax, strengths = ax or plt.subplots()[1], _array(strengths)
    ax.margins(y=0.2)  # room for the legend
    if controls is not None:
        lines = ax.plot(strengths, _array(controls).T, color=CONTROL, lw=0.6, alpha=0.6)
        lines[0].set_label(f"{len(controls)} random directions, equal norm")
    for (label, curves), colour in zip(series.items(), (POSITIVE, NEGATIVE, UNSTEERED), strict=False):
        mean, low, high = map(_array, curves)
        ax.fill_between(strengths, low, high, color=colour, alpha=0.18, lw=0)
        ax.plot(strengths, mean, color=colour, marker="o", ms=4, label=label)
    ax.axhline(0, color=UNSTEERED, lw=0.8)
    ax.axvline(0, color=UNSTEERED, lw=0.8, ls=":")
    ax.set(title=title, xlabel="relative strength r, with the sign of α", ylabel=ylabel)
    ax.legend()
    return ax


def svg_points(groups, *, limits, xlabel, ylabel, about):
    """A small drawing for one setting of a slider; its lines take the colour of the text around it.

    Args:
        groups: tuples of points (n, 2), a colour, and what they are drawn as: "filled", "open" or "line".
        limits: ((x from, x to), (y from, y to)), the same for all settings, so that the eye can compare.
        about: what it shows, for those who do not see it.
    """
    (left, right), (bottom, top) = limits
    inside = ""
    for points, colour, kind in groups:
        at = (_array(points) - (left, bottom)) / (right - left, top - bottom) * (280, -160) + (10, 170)
        if kind == "line":
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            inside += f'<polyline points="{corners}" fill="none" stroke="{colour}"/>'
            continue
        face = colour if kind == "filled" else "none"
        inside += "".join(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{face}" stroke="{colour}"/>' for x, y in at
        )
    text = '<text fill="currentColor" font-size="12" text-anchor="middle"'
    inside += f'{text} x="150" y="186">{escape(xlabel)}</text>'
    inside += f'{text} transform="translate(0 90) rotate(-90)">{escape(ylabel)}</text>'
    ends = ((left, 16, 186), (right, 284, 186), (bottom, -8, 170), (top, -8, 18))
    inside += "".join(f'{text} x="{x}" y="{y}">{value:.2g}</text>' for value, x, y in ends)
    frame = '<path d="M10 10V170H290" fill="none" stroke="currentColor"/>'
    size = 'viewBox="-26 0 326 200" style="max-width: 30em; width: 100%"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(about)}" {size}>'
    return SVG(f"{head}{frame}{inside}</svg>")


def _array(values) -> np.ndarray:
    if isinstance(values, torch.Tensor):  # in half precision too, which NumPy may not know
        return values.detach().float().cpu().numpy()
    return np.asarray([_array(v) if isinstance(v, torch.Tensor | list) else v for v in values])
