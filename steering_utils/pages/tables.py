"""Tables of the pages: HTML that needs no kernel and no script, and what stands in them of tokens."""

import functools
from html import escape

import torch
from IPython.display import HTML

from ..positions import check_positions, columns_of
from ..tokens import check_prompts, encode, token_ids, token_texts


def html_table(caption, heads, rows, *, row_heads=1, settings=()) -> HTML:
    """A table with a caption; all text is escaped.

    Args:
        caption: what it shows.
        heads: the name of each column.
        rows: for each row, what stands in each column: text, a number, a dict of label to share (drawn as
            bars), or a drawing (`plots.svg_points`).
        row_heads: how many cells of a row, from the left, name the row.
        settings: for each row, a text by which a script finds it.

    Example:
        >>> "<td" in html_table("Lengths.", ["layer", "length"], [["3", 4.25]]).data
        True
    """
    style = 'style="text-align: left; vertical-align: top; padding: 0.3em 0.6em"'  # notebooks have their own
    top = "".join(f'<th scope="col" {style}>{escape(head)}</th>' for head in heads)
    body = ""
    for k, row in enumerate(rows):
        body += f'<tr data-setting="{escape(settings[k])}">' if settings else "<tr>"
        for i, value in enumerate(row):
            kind, scope = ("th", ' scope="row"') if i < row_heads else ("td", "")
            body += f"<{kind}{scope} {style}>{html_cell(value)}</{kind}>"
        body += "</tr>"
    caption, name = f'<caption style="color: inherit">{escape(caption)}</caption>', escape(caption)
    table = f"<table>{caption}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return HTML(f'<div style="overflow-x: auto" tabindex="0" role="group" aria-label="{name}">{table}</div>')


@functools.singledispatch
def html_cell(value) -> str:
    """What stands in a table's cell: drawings and HTML as they are, all else escaped."""
    return value._repr_svg_() if hasattr(value, "_repr_svg_") else escape(str(value))


@html_cell.register
def _(value: HTML) -> str:
    return value.data


@html_cell.register
def _(value: float) -> str:
    return f"{value:+.2f}"


@html_cell.register
def _(value: dict) -> str:
    """Bars of a share each; the colour is the text's, so that they are seen in the dark."""
    style = "display: flex; gap: 0.5em; align-items: center"
    bar = "display: inline-block; height: 0.7em; background: currentColor; opacity: 0.6; width"
    return "".join(
        f'<span style="{style}"><span style="min-width: 6em">{shown(label)}</span>'
        f'<span style="{bar}: {8 * share:.2f}em"></span>{share:.0%}</span>'
        for label, share in value.items()
    )


def shown(token) -> str:
    """A token as HTML, without the space before it; one that is nothing but space, in quotes."""
    return escape(token.strip() or repr(token))


def token_table(tokenizer, pairs) -> list[dict]:
    """How each (positive, negative) pair splits into tokens: the check before activations are compared.

    Returns:
        One row a pair: `positive`, `negative` (token strings), `lengths` (two ints) and `same_length`.

    Raises:
        TypeError: a member of a pair is not a string.
        ValueError: no pairs, an entry that is no pair, or an empty string.

    Example:
        >>> token_table(tokenizer, [("I am happy", "I am so sad")])[0]["lengths"]
        (3, 4)
    """
    pairs, rows = list(pairs), []
    if not pairs:
        raise ValueError("no pairs: give at least one (positive, negative) pair of prompts")
    for i, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"pair {i} must be (positive, negative), got {pair!r}")
        positive, negative = token_ids(tokenizer, check_prompts(pair, f"pair {i}, prompt", ids=False))
        rows.append(
            {
                "positive": token_texts(tokenizer, positive),
                "negative": token_texts(tokenizer, negative),
                "lengths": (len(positive), len(negative)),
                "same_length": len(positive) == len(negative),
            }
        )
    return rows


def where(tokenizer, prompts, positions="all", n_new=2, n_front=1) -> list[list[tuple[str, bool]]]:
    """Where steering acts, token by token: for each prompt, (token, acted on or not), padding left out.

    Args:
        positions: as `steer` takes it.
        n_new: how many generated tokens to show, each as "…".
        n_front: the number of vectors, for "front".

    Raises:
        TypeError, ValueError: as `steer` and `generate` do.

    Example:
        >>> where(tokenizer, ["I am sad"], "from_last", n_new=1)
        [[('I', False), (' am', False), (' sad', True), ('…', True)]]
    """
    batch, positions = encode(tokenizer, check_prompts(prompts), "left"), check_positions(positions)
    real, end = batch["attention_mask"], batch["input_ids"].shape[1]
    columns = torch.arange(end + n_new)
    if isinstance(positions, str):
        chosen = columns_of(positions, columns, real, end, n_front)
        chosen = (chosen.any(0) if positions == "front" else chosen).expand(len(real), -1)
    elif len(positions) != len(real) or positions.shape[1] < end:
        raise ValueError(f"the mask is {tuple(positions.shape)}, the padded prompts {tuple(real.shape)}")
    else:
        chosen = torch.nn.functional.pad(positions, (0, max(0, end + n_new - positions.shape[1])))
    rows = []
    for ids, mask, acted in zip(batch["input_ids"], real, chosen, strict=True):
        texts = token_texts(tokenizer, ids[mask.bool()].tolist()) + ["…"] * n_new
        rows.append(list(zip(texts, acted[end - int(mask.sum()) : end + n_new].tolist(), strict=True)))
    return rows


def where_table(tokenizer, prompts, positions="all", n_new=2, n_front=1) -> HTML:
    """Where steering acts, as a table: a row for each prompt, or for each choice and prompt.

    A token that is acted on is bold and followed by "+v", which can be heard and seen without colour.

    Args:
        positions: as `steer` takes it, or a list of several such choices.
        n_new, n_front: as `where` takes them; raises as it does.

    Example:
        >>> "<b>sad +v</b>" in where_table(tokenizer, "I am sad", ["last", "new"]).data
        True
    """
    rows = []
    for choice in [positions] if isinstance(positions, str | torch.Tensor) else positions:
        for tokens in where(tokenizer, prompts, choice, n_new, n_front):
            cells = [f"<b>{shown(token)} +v</b>" if acts else shown(token) for token, acts in tokens]
            name = choice if isinstance(choice, str) else "a mask"
            rows.append([*map(HTML, (f'<span style="white-space: nowrap">{name}</span>', *cells))])
    width = max(map(len, rows))
    heads = ["positions", *map(str, range(width - 1))]
    rows = [row + [""] * (width - len(row)) for row in rows]
    caption = "Where the vector acts: at the tokens in bold, with +v after them. “…” is a generated token."
    return html_table(caption, heads, rows)
