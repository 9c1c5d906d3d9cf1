"""Run chapters 4 and 6 with two seeds and with a broken vector, and write what became of their claims.

It writes book/verdicts.json, which the page "How the book is checked" shows and tests/test_verdicts.py holds
to the chapters' present code. Three runs of each chapter: the seed that the chapter has, another seed, and
*shuffled labels*, where the chapter's vector is made from the same prompts with their labels drawn at random.
What a run changes is one line of the chapter; if that line is not there exactly once, nothing is run.
"""

import datetime
import hashlib
import json
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from steering_utils import sweep

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "book" / "verdicts.json"
SEED_LINE = "SEED = {}  # of everything that is drawn on this page"
CHAPTERS = {  # and the line that makes its vector
    "04_validation": "    return mean_difference(positive, negative, layer)",
    "06_reliability": "vector = mean_difference(positive, negative, layer)",
}
# a draw of its own, not one of those that the chapter compares its vector with
SHUFFLED = "shuffled_labels(positive, negative, layer, 1, seed=SEED + 100)[0]"
RUNS = ("seed 0", "seed 1", "shuffled labels")
LAST = """import json

print(json.dumps([plan, verdicts, identity(model)]))"""


def code_of(chapter: str) -> list[str]:
    """The code that the verdicts come from: all cells before the exercises; a slider only shows."""
    sources = []
    for cell in nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", as_version=4).cells:
        if cell.source.startswith("## Exercises"):
            return sources
        if cell.cell_type == "code" and "Slider" not in cell.source:
            sources.append(cell.source)
    raise SystemExit(f"{chapter} has no section of exercises")


def fingerprint(chapter: str) -> str:
    """A hash of that code, without the mark (fragile), which follows from the runs."""
    code = "\0".join(code_of(chapter)).replace(" (fragile)", "")
    return hashlib.sha256(code.encode()).hexdigest()


def fragile(chapter: str) -> set[str]:
    """The claims that the chapter's plan marks as (fragile)."""
    return set(re.findall(r"^([HF]\d+) \| .*\(fragile\)", "\n".join(code_of(chapter)), re.MULTILINE))


def with_line(sources: list[str], line: str, new: str) -> list[str]:
    """The code with that line replaced."""
    cells = [source.split("\n") for source in sources]
    found = sum(cell.count(line) for cell in cells)
    if found != 1:
        raise SystemExit(f"the line {line!r} is there {found} times and not once: tools/verdicts.py needs it")
    return ["\n".join(new if one == line else one for one in cell) for cell in cells]


def changed(chapter: str, run: str) -> list[str]:
    """The chapter's code as that run has it."""
    sources, line = code_of(chapter), CHAPTERS[chapter]
    sources = with_line(sources, SEED_LINE.format(0), SEED_LINE.format(1 if run == "seed 1" else 0))
    if run != "shuffled labels":
        return with_line(sources, line, line)  # so that a lost line is found before anything has run
    broken = line.replace("mean_difference(positive, negative, layer)", SHUFFLED)
    return with_line(sources, line, broken)


def verdicts(chapter: str, run: str, sources: list[str]) -> list:
    """Run the code: its plan, its verdicts and the model's identity."""
    first = "from steering_utils import shuffled_labels\nfrom steering_utils.models import identity"
    cells = [nbformat.v4.new_code_cell(source) for source in (first, *sources, LAST)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    place = {"metadata": {"path": ROOT / "notebooks"}}
    NotebookClient(notebook, timeout=1_200, kernel_name="python3", resources=place).execute()
    plan, found, who = json.loads(notebook.cells[-1].outputs[0].text)
    if found.keys() != plan.keys():
        raise SystemExit(f"{chapter}, {run}: no verdict on {plan.keys() - found.keys()}")
    plan = {key: [claim.replace(" (fragile)", ""), criterion] for key, (claim, criterion) in plan.items()}
    return [plan, found, who]


def main(chapters):
    """Run these chapters, and keep the results of the others."""
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    code = {chapter: fingerprint(chapter) for chapter in chapters}  # of now: a run takes a while
    cases = [
        {"chapter": chapter, "run": run, "sources": changed(chapter, run)}
        for chapter in chapters
        for run in RUNS
    ]
    done = sweep(verdicts, cases, n_jobs=2)
    for case, (plan, found, who) in zip(cases, done, strict=True):
        entry = result.setdefault(case["chapter"], {"runs": {}})
        entry |= {
            "code": code[case["chapter"]],
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            **who,
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("torch", "transformers", "numpy", "scikit-learn")},
            "plan": plan,
        }
        entry["runs"][case["run"]] = found
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or list(CHAPTERS))
