"""The form that every chapter keeps."""

import re
import statistics
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return request.param


@pytest.fixture
def cells(chapter):
    return nbformat.read(chapter, as_version=4).cells


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def test_it_opens_with_goals_minutes_and_a_colab_link(chapter, cells):
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    path = f"{address['url'].removeprefix('https://github.com/')}/blob/{address['branch']}/notebooks/{chapter.name}"
    head = cells[0].source
    assert head.count(f"colab.research.google.com/github/{path})") == 1
    assert "you can" in head
    assert re.search(r"\d+ minutes", head)
    setup = code(cells)[0].source
    assert len(setup.splitlines()) <= 5
    assert f"git+{address['url']}@v" in setup
    assert "torch" not in setup


def test_it_names_its_model(cells):
    assert any("describe(model)" in cell.source for cell in code(cells)[:3])


def test_code_cells_are_short(cells):
    lengths = [len(cell.source.splitlines()) for cell in code(cells)]
    assert max(lengths) <= 30
    assert statistics.median(lengths) <= 8


def test_only_compared_outputs_are_stored(cells):
    for cell in code(cells):
        assert bool(cell.outputs) == ("nbval-check-output" in tags(cell)), cell.source
        assert ("keep_output" in tags(cell)) == ("nbval-check-output" in tags(cell))


def test_every_figure_has_alt_text(cells):
    for cell in code(cells):
        if re.search(r"plt\.subplots|plot_\w+\(", cell.source) and cell.source.rstrip().endswith(";"):
            assert len(cell.metadata["mystnb"]["image"]["alt"]) > 40, cell.source


def test_exercises_come_with_difficulty_minutes_hint_and_a_folded_solution(cells):
    heads = [cell.source for cell in cells if cell.source.startswith("### Exercise")]
    assert len(heads) in (2, 3)
    for head in heads:
        assert re.search(r"\*(Easy|Medium|Hard), about \d+ minutes\.\*", head)
        assert "<summary>Hint</summary>" in head
    solutions = [cell for cell in code(cells) if "solution" in tags(cell)]
    assert len(solutions) == len(heads) == sum("exercise" in tags(cell) for cell in code(cells))
    for cell in solutions:
        assert "hide-cell" in tags(cell)
        assert cell.metadata["jupyter"]["source_hidden"]
        assert cell.metadata["cellView"] == "form"


def test_it_ends_with_key_points_and_further_reading(cells):
    titles = [line for cell in cells for line in cell.source.splitlines() if line.startswith("## ")]
    assert titles[-3:] == ["## Exercises", "## Key points", "## Further reading"]
