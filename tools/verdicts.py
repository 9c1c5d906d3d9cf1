"""Run the chapters with verdicts again, as they are and changed, and write what became of their claims.

It writes book/verdicts.json, which the page "How the book is checked" shows and tests/test_verdicts.py holds
to the chapters' present code. The runs of each chapter: as it is; with another seed; with *other texts*,
which are other prompts to test on and other adjectives to make the vector of; and with *broken vectors*,
which are mean differences under flipped labels with the true one projected out, each turned to the side on
which it brightens the dev prompts. Which flips was drawn before any was run. A run changes one or two
expressions of the chapter, or puts other texts in place before it; if an expression is not there just once,
nothing is run. Each chapter leaves a `plan` and a `model`, which the kernel is asked for at the end.
"""

import argparse
import ast
import datetime
import hashlib
import json
import platform
import re
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from steering_utils.methods import MOST_FLIPPED
from steering_utils.pages import texts
from steering_utils.pages.sweeps import sweep

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "book" / "verdicts.json"
CHAPTERS = ("04_validation", "05_price", "06_reliability")
N_BROKEN = 19
BROKEN = [f"broken {i}" for i in range(1, N_BROKEN + 1)]
RUNS = ("seed 0", "seed 1", "other texts")
VECTOR = "mean_difference(positive, negative, layer)"
CHOICE = "score([vector], signed, DEV_PROMPTS, CHOOSE)"  # chapter 4 chooses its strength by an effect on dev
FIRST = f'''import random

import numpy as np

from steering_utils import in_stream_units, label_flips, logit_difference, next_token_logits, steer
from steering_utils.pages import texts as all_texts  # chapters have texts of their own


def other_texts():
    for name, instead in all_texts.OTHER.items():
        setattr(all_texts, name, instead)


def broken(positive, negative, layer, number):
    """One of the flips by adjective, the true difference projected out, turned so that it brightens dev."""
    adjectives = [text.split()[-1] for text in positive.prompts]
    n = None if len(set(adjectives)) <= {MOST_FLIPPED} else 400
    flips = label_flips(positive, negative, layer, by=adjectives, n=n, project_out=True)
    v = random.Random(100).sample(flips, {N_BROKEN})[number - 1]
    return v if brightens(v) else -1 * v


def brightens(v):
    """Whether it moves the next token of the dev prompts towards the bright words of dev."""
    prompts = all_texts.DEV_PROMPTS
    with steer(model, in_stream_units(v, norms), np.repeat([0.15, -0.15], len(prompts))):
        logits = next_token_logits(model, tokenizer, prompts * 2)
    words = all_texts.DEV_POSITIVE_WORDS, all_texts.DEV_NEGATIVE_WORDS
    up, down = logit_difference(logits, tokenizer, *words).reshape(2, -1).mean(dim=1)
    return bool(up > down)
'''
LAST = """import json

from steering_utils.identity import identity

print(json.dumps({**identity(model), **plan.record()}))"""


def code_of(chapter: str) -> list[str]:
    """The code that the verdicts come from: all cells before the exercises but sliders and the set-up."""
    sources = []
    for cell in nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", as_version=4).cells:
        if cell.source.startswith("## Exercises"):
            return sources
        if cell.cell_type == "code" and "Slider" not in cell.source and "%pip" not in cell.source:
            sources.append(cell.source)
    raise SystemExit(f"{chapter} has no section of exercises")


def nodes(source: str) -> list[ast.AST]:
    """The parts of a cell's code; none of a cell with a magic such as %pip, which is not Python."""
    try:
        return list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []


def start(node):
    return node.lineno - 1, node.col_offset


def end(node):
    return node.end_lineno - 1, node.end_col_offset


def spliced(source: str, start, end, new: str) -> str:
    """The source with new text from start to end, each (line, column), as the parts of the code have them."""
    lines = [line.encode() for line in source.split("\n")]  # columns count bytes
    head, tail = lines[start[0]][: start[1]], lines[end[0]][end[1] :]
    return b"\n".join([*lines[: start[0]], head + new.encode() + tail, *lines[end[0] + 1 :]]).decode()


def replaced(sources: list[str], old: str, new: str) -> list[str]:
    """The code with one expression written anew: the only call, or the only assignment, that reads `old`."""
    places = [
        (i, node)
        for i, source in enumerate(sources)
        for node in nodes(source)
        if isinstance(node, ast.Call | ast.Assign) and ast.unparse(node) == old
    ]
    if len(places) != 1:
        raise SystemExit(f"the code has {old!r} {len(places)} times and not once: tools/verdicts.py needs it")
    [(i, node)] = places
    return [*sources[:i], spliced(sources[i], start(node), end(node), new), *sources[i + 1 :]]


def changed(chapter: str, run: str) -> list[str]:
    """The chapter's code as that run has it."""
    kind, _, number = run.partition(" ")
    sources = replaced(code_of(chapter), "SEED = 0", "SEED = 1" if run == "seed 1" else "SEED = 0")
    broken = f"broken(positive, negative, layer, {number})"
    sources = replaced(sources, VECTOR, broken if kind == "broken" else VECTOR)
    if kind == "broken" and chapter == "04_validation":  # the strength stays that of the true vector
        true = f"in_stream_units({VECTOR}, norms)"
        sources = replaced(sources, CHOICE, CHOICE.replace("[vector]", f"[{true}]"))
    return [FIRST, *(["other_texts()"] if run == "other texts" else []), *sources]


def mark_of(source: str) -> tuple[set[str], str]:
    """The claims that a cell's plan marks as fragile, and the cell without that argument."""
    for call in (node for node in nodes(source) if isinstance(node, ast.Call)):
        for before, part in pairwise([*call.args, *call.keywords]):
            if ast.unparse(call.func) == "Plan" and getattr(part, "arg", "") == "fragile":
                return set(ast.literal_eval(part.value)), spliced(source, end(before), end(part), "")
    return set(), source


def fragile(chapter: str) -> set[str]:
    """The claims that the chapter's plan marks as fragile."""
    return set().union(*(mark_of(source)[0] for source in code_of(chapter)))


def fingerprint(chapter: str) -> str:
    """A hash of that code and the texts that it names, without the mark of fragile claims, which follows."""
    code = [mark_of(source)[1] for source in code_of(chapter)]
    names = sorted({*re.findall(r"\b[A-Z][A-Z_]+\b", "\n".join(code)), "DOMAINS", "SHARED", "TEMPLATES"})
    data = [repr(getattr(texts, name)) for name in names if hasattr(texts, name)]
    return hashlib.sha256("\0".join([*code, *data]).encode()).hexdigest()


def record(chapter: str, run: str, sources: list[str]) -> dict:
    """Run the code: the model's identity, the plan, and a verdict on each of its claims."""
    cells = [nbformat.v4.new_code_cell(source) for source in (*sources, LAST)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    place = {"metadata": {"path": ROOT / "notebooks"}}
    NotebookClient(notebook, timeout=1_200, kernel_name="python3", resources=place).execute()
    result = json.loads(notebook.cells[-1].outputs[0].text)
    if missing := result["claims"].keys() - result["verdicts"].keys():
        raise SystemExit(f"{chapter}, {run}: no verdict on {', '.join(sorted(missing))}")
    return result


def main(chapters, runs):
    """Do these runs of these chapters, but for those that are known of the same code and versions."""
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    versions = {name: version(name) for name in ("torch", "transformers", "numpy", "scikit-learn")}
    for chapter in chapters:
        now = {"code": fingerprint(chapter), "versions": {"python": platform.python_version(), **versions}}
        if any(result.get(chapter, {}).get(name) != value for name, value in now.items()):
            result[chapter] = {**now, "runs": {}}
    cases = [
        {"chapter": chapter, "run": run, "sources": changed(chapter, run)}
        for run in runs
        for chapter in chapters
        if run not in result[chapter]["runs"]
    ]

    def keep(case, one):
        entry = result[case["chapter"]]
        if entry.get("revision", one["revision"]) != one["revision"]:
            raise SystemExit(f"{one['model']} is not {entry['model']}, of which the other runs are")
        entry["runs"][case["run"]] = one["verdicts"]
        kept = {
            name: one[name] for name in one if name not in ("verdicts", "fragile")
        }  # the mark follows from them
        entry |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), **kept}
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")

    sweep(record, cases, n_jobs=2, then=keep)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", default=CHAPTERS)
    parser.add_argument("--runs", nargs="+", default=[*RUNS, *BROKEN], choices=[*RUNS, *BROKEN])
    options = parser.parse_args()
    main(options.chapters, options.runs)
