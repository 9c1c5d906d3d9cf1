"""The benchmarks decide by an interval, and their page shows every row, those too that failed."""

import importlib.util
import json
import re
from math import comb
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("bench_timing", ROOT / "benchmarks" / "timing.py")
timing = importlib.util.module_from_spec(spec)
spec.loader.exec_module(timing)


@pytest.mark.parametrize("n", range(1, 41))
def test_the_interval_of_the_median_is_the_narrowest_that_covers_95_percent(n):
    def outside(k):  # how often fewer than k of n tosses are heads, or fewer than k tails
        return 2 * sum(comb(n, i) for i in range(k)) / 2**n

    low, high = timing.median_interval([*range(n, 0, -1)])
    if n < 6:
        assert (low, high) == (None, None)
        return
    assert low + high == n + 1 and outside(low) <= 0.05
    assert low == n // 2 or outside(low + 1) > 0.05


def test_each_job_is_divided_by_the_reference_beside_it(monkeypatch):
    ran = []
    monkeypatch.setattr(timing, "seconds", lambda job: job())
    jobs = {name: lambda name=name: ran.append(name) or ord(name) for name in "abcd"}
    ratios = timing.interleave(jobs, lambda: ran.append("-") or 2, rounds=3)
    assert ratios == {name: [ord(name) / 2] * 3 for name in "abcd"}
    assert sorted(ran) == sorted(("abcd" + "--") * 3)


def rows():
    """One row of each kind."""
    results = timing.Results({("extraction", "nnsight"): "a note"})

    def fail():
        raise AttributeError("it is gone\nwith a second line")

    results.attempt("extraction", "repeng", fail)
    results.attempt("top-p", "steering_utils", fail)
    six = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05]
    for who, target in {"steering_utils": 1.05, "bare hooks": None, "nnsight": None, "repeng": None}.items():
        values = None if who == "repeng" else six
        results.add("extraction", "64 pairs, all layers", who, values, target)
    results.add("generation", "32 tokens, batch of 1", "steering_utils", six, 1.02)
    results.add("generation", "32 tokens, batch of 16", "steering_utils", six, 0.99)
    results.add("alphas", "9 calls over one", "steering_utils", six, 1.0, least=True)
    results.add("alphas", "9 calls over one", "bare hooks", six, 1.01, least=True)
    results.add("import", "a fresh process", "steering_utils", six[:5], 1.05)
    results.add("top-p", "32 tokens", "steering_utils", None, 0.95)
    results.add("memory of capture", "10 prompts", "steering_utils", [0.0], 0.1, once=True)
    results.add("memory of reading", "10 texts", "steering_utils", [1_200.0], 1_000, once=True, unit="MB")
    return results.rows


def test_another_result_reaches_no_target():
    results = timing.Results({})
    for same in (True, False):
        results.check("sweep", ["steering_utils"], lambda who, same=same: (same, ""))
        results.add("sweep", "20 directions", "steering_utils", [0.1] * 6, 0.5)
    assert [row["held"] for row in results.rows] == [True, False]


def test_a_target_holds_if_all_of_the_interval_reaches_it():
    held = [row["held"] for row in rows()]
    assert held == [True, None, None, None, False, False, True, False, None, False, True, False]


def test_the_page_shows_every_row_and_says_what_did_not_hold(tmp_path, monkeypatch):
    (tmp_path / "book").mkdir()
    (tmp_path / "benchmarks").mkdir()
    about = {"date": "a day", "minutes": 1, "model": "a model", "margin": 1.02, "versions": {"torch": "2"}}
    about["machine"] = {"cpu": "a CPU", "cores": 2, "threads": 2}
    (tmp_path / "benchmarks" / "results.json").write_text(json.dumps(about | {"rows": rows()}))
    monkeypatch.chdir(tmp_path / "book")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    text, names = (ROOT / "book" / "benchmarks.md").read_text(), {}
    for cell in re.findall(r"```\{code-cell\} python3\n---\n.*?\n---\n(.*?)```", text, re.DOTALL):
        exec(cell, names)
    verdicts = [names["verdict"](row) for row in rows() if row["target"] is not None]
    assert [("holds" in verdict, "not" in verdict) for verdict in verdicts].count((True, False)) == 3
    assert "did not run" in verdicts[6] and "too few rounds" in verdicts[5]
    assert "**this does not hold**" in verdicts[2] and "**this is not shown**" in verdicts[1]
    shown = set(re.findall(r'(?:words|chosen)\("([^"]+)"\)', text)) | set(names["of_memory"])
    assert {row["section"] for row in rows()} <= shown
    words = names["words"]("extraction", "memory of reading").data
    assert "1,200 MB, the target is at most 1,000 MB; **this does not hold**" in words
