"""Tables: what goes in stands there, named and harmless."""

from bs4 import BeautifulSoup

from steering_utils.tables import html_table

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
