"""HTML tables that need no kernel and no script, which a phone scrolls within themselves."""

import functools
from html import escape

from IPython.display import HTML


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
    """What stands in a table's cell: a drawing as it is, all else escaped."""
    return value._repr_svg_() if hasattr(value, "_repr_svg_") else escape(str(value))


@html_cell.register
def _(value: float) -> str:
    return f"{value:+.2f}"


@html_cell.register
def _(value: dict) -> str:
    """Bars of a share each; the colour is the text's, so that they are seen in the dark."""
    style = "display: flex; gap: 0.5em; align-items: center"
    bar = "display: inline-block; height: 0.7em; background: currentColor; opacity: 0.6; width"
    return "".join(
        f'<span style="{style}"><span style="min-width: 6em">{escape(label.strip() or repr(label))}</span>'
        f'<span style="{bar}: {8 * share:.2f}em"></span>{share:.0%}</span>'
        for label, share in value.items()
    )
