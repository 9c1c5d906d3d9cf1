"""Tables: what goes in stands there, named and harmless."""

import re

import pytest
import torch
from bs4 import BeautifulSoup
from conftest import PROMPTS, some_vector

from steering_utils import decoder_blocks, generate, steer
from steering_utils.blocks import residual
from steering_utils.pages.tables import html_table, where, where_table
from steering_utils.positions import WORDS

ROWS = [["a", 1, 0.5, {" <b>": 0.25}], ["<c>", 2, -0.5, {" d": 1.0}]]
HEADS = ["name", "number", "ratio", "share"]


def test_every_cell_stands_under_its_head_and_beside_its_name():
    table = BeautifulSoup(html_table("What & why", HEADS, ROWS).data, "html.parser").find("table")
    assert table.caption.get_text() == "What & why"
    assert [head.get_text() for head in table.thead.find_all("th", scope="col")] == HEADS
    rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.tbody.find_all("tr")]
    assert rows == [["a", "1", "+0.50", "<b>25%"], ["<c>", "2", "-0.50", "d100%"]]
    assert [head.get_text() for head in table.tbody.find_all("th", scope="row")] == ["a", "<c>"]


def test_a_phone_scrolls_it_by_keyboard_too_and_hears_its_name():
    box = BeautifulSoup(html_table('"Two"', HEADS, ROWS).data, "html.parser").find("div")
    assert (box["tabindex"], box["role"], box["aria-label"]) == ("0", "group", '"Two"')
    assert "overflow-x: auto" in box["style"]


def test_rows_can_be_found_by_their_settings():
    table = BeautifulSoup(html_table("", HEADS, ROWS, row_heads=2, settings=["0,1", '"']).data, "html.parser")
    assert [row["data-setting"] for row in table.tbody.find_all("tr")] == ["0,1", '"']
    assert len(table.tbody.find_all("th")) == 4


@pytest.mark.parametrize("word", WORDS)
def test_a_vector_acts_where_the_table_says(model, tokenizer, word):
    """What the hook of `steer` changed in the prompts and the first two new tokens, with a cache."""
    told = where(tokenizer, PROMPTS, word, n_new=2)
    before, after, block = [], [], decoder_blocks(model)[1]
    with steer(model, some_vector(layer=1), positions=word):
        first = block.register_forward_hook(lambda *args: before.append(residual(args[2])), prepend=True)
        last = block.register_forward_hook(lambda *args: after.append(residual(args[2])))
        generate(model, tokenizer, PROMPTS, max_new_tokens=3)
    first.remove(), last.remove()
    changed = (torch.cat(after, 1) != torch.cat(before, 1)).any(-1)  # (n_prompts, n_columns), padded left
    for acted, tokens in zip(changed, told, strict=True):
        assert acted[-len(tokens) :].tolist() == [acts for _, acts in tokens]
        assert [token for token, _ in tokens[-2:]] == ["…", "…"]


def test_where_a_vector_acts_is_seen_without_colour_and_harmless(tokenizer):
    shown = where_table(tokenizer, ["\n <b> you", "No"], ["last", "new"], n_new=1).data
    table = BeautifulSoup(shown, "html.parser").find("table")
    rows = [[cell.decode_contents() for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")]
    assert rows[0] == ["positions", "0", "1", "2", "3", "4", "5"]
    tokens = ["'\\n'", "&lt;", "b", "&gt;"]
    assert all(row[0].startswith('<span style="white-space: nowrap">') for row in rows[1:])
    assert [[re.sub("</?span.*?>", "", cell) for cell in row] for row in rows[1:]] == [
        ["last", *tokens, "<b>you +v</b>", "…"],
        ["last", "<b>No +v</b>", "…", "", "", "", ""],
        ["new", *tokens, "you", "<b>… +v</b>"],
        ["new", "No", "<b>… +v</b>", "", "", "", ""],
    ]


def test_a_mask_says_where_too(tokenizer):
    mask = torch.tensor([[True, False, True]])
    assert where(tokenizer, "I am sad", mask, n_new=1)[0] == [
        ("I", True),
        (" am", False),
        (" sad", True),
        ("…", False),
    ]
    assert where_table(tokenizer, "I am sad", mask).data.count("+v</b>") == 2
    for rows, columns in ((2, 3), (1, 2)):
        with pytest.raises(
            ValueError, match=rf"the mask is \({rows}, {columns}\), the padded prompts \(1, 3\)"
        ):
            where(tokenizer, "I am sad", torch.ones(rows, columns, dtype=torch.bool))
