"""What the chapters claim holds with another seed, and fails with a broken vector: book/verdicts.json."""

import importlib.util
import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("verdicts", ROOT / "tools" / "verdicts.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
RESULT = json.loads(tool.RESULT.read_text())
CHAPTERS = list(tool.CHAPTERS)


def held(chapter, run):
    return {key: verdict for key, (_, verdict) in RESULT[chapter]["runs"][run].items()}


@pytest.fixture(scope="module")
def page():
    """What the code cells of book/checked.md define."""
    text, names = (ROOT / "book" / "checked.md").read_text(), {}
    here = Path.cwd()
    os.chdir(ROOT / "book")
    try:
        for cell in re.findall(r"```\{code-cell\} python3\n---\n.*?\n---\n(.*?)\n```", text, re.DOTALL):
            exec(cell, names)
    finally:
        os.chdir(here)
    return names


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_verdicts_are_of_the_chapters_present_code(chapter):
    stored = RESULT[chapter]["code"]
    assert stored == tool.fingerprint(chapter), (
        f"{chapter} has changed since its verdicts: run `make verdicts`"
    )


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_result_names_its_model_versions_and_day(chapter):
    entry = RESULT[chapter]
    assert entry["model"].startswith("SmolLM2-135M-Instruct")
    assert entry["revision"]
    assert {"torch", "transformers", "numpy"} <= set(entry["versions"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", entry["date"])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_claim_of_the_plan_has_a_verdict_in_each_run(chapter):
    entry = RESULT[chapter]
    assert list(entry["runs"]) == list(tool.RUNS)
    for run in tool.RUNS:
        assert set(entry["runs"][run]) == set(entry["plan"])
        assert all(found for found, _ in entry["runs"][run].values())


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_only_a_claim_that_is_marked_as_fragile_may_differ_between_the_seeds(chapter):
    one, other = held(chapter, "seed 0"), held(chapter, "seed 1")
    differ = {key for key in one if one[key] != other[key]}
    assert differ <= tool.fragile(chapter), "mark these as (fragile) in the plan"


def test_the_seeds_are_different_draws():
    """In what is found by sampling texts; much else, such as a gain, is the same with every seed."""
    for chapter, sampled in zip(CHAPTERS, (("H7", "H8", "H9", "H12"), ("F15", "F16")), strict=True):
        one, other = (RESULT[chapter]["runs"][run] for run in tool.RUNS[:2])
        assert all(one[key][0] != other[key][0] for key in sampled)


def test_the_broken_vector_fails_the_claims_that_tell_it_from_the_true_one(page):
    for chapter in CHAPTERS:
        true, broken = held(chapter, "seed 0"), held(chapter, "shuffled labels")
        telling = [key for key in page["MUST_FAIL"] if key in true]
        assert telling
        assert all(true[key] and not broken[key] for key in telling)


def test_the_broken_vector_changes_nothing_that_does_not_depend_on_it(page):
    for chapter in CHAPTERS:
        true, broken = held(chapter, "seed 0"), held(chapter, "shuffled labels")
        for key in page["NEEDS_NO_VECTOR"]:
            assert true.get(key) == broken.get(key), key


def test_each_of_the_twelve_claims_has_a_cell_with_a_verdict(page):
    assert len(page["TWELVE"]) == 12
    for sentence, keys in page["TWELVE"]:
        assert keys, sentence
        assert all(key in page["claims"] for key in keys.split())


def test_the_page_marks_what_differs_as_fragile(page):
    for key in page["fragile"]:
        assert page["standing"](key) == f"{key} fragile"
    assert page["standing"]("H1") == "H1 held"


@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.parametrize(("run", "n_lines"), [("seed 0", 0), ("seed 1", 1), ("shuffled labels", 1)])
def test_a_run_changes_one_line(chapter, run, n_lines):
    before, after = (
        "\n".join(cells).split("\n") for cells in (tool.code_of(chapter), tool.changed(chapter, run))
    )
    assert sum(one != other for one, other in zip(before, after, strict=True)) == n_lines


@pytest.mark.parametrize(
    "sources", [["a = 1", "b = 2"], ["a = 1\nx = 0", "x = 0"], ["    x = 0"], ["x = 0  # more"]]
)
def test_a_line_that_is_not_there_once_is_refused(sources):
    with pytest.raises(SystemExit, match="not once"):
        tool.with_line(sources, "x = 0", "x = 1")


def test_the_mark_is_no_part_of_the_code(monkeypatch):
    marked = 'lines = """\nH1 | it holds (fragile) | always\nH2 | it does not | never\n"""'
    monkeypatch.setattr(tool, "code_of", lambda chapter: [marked])
    one = tool.fingerprint("any")
    assert tool.fragile("any") == {"H1"}
    monkeypatch.setattr(tool, "code_of", lambda chapter: [marked.replace(" (fragile)", "")])
    assert tool.fingerprint("any") == one
    assert tool.fragile("any") == set()
