"""Times the library beside a bare forward pass and other libraries, and measures memory: `make bench`.

All contestants take turns in each round, so that a slow moment of the machine hits them alike, and each time
is divided by that of a reference that ran beside it. What counts is the median of these ratios, with a
confidence interval: a target holds if all of the interval reaches it.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}  # the model is made here; no bars in the table

import cases
import torch
from peers import BATCH, CONTESTANTS, NOTES
from timing import Results

from steering_utils import SteeringVector

FULL = {  # in all about half an hour
    "pairs": 64,
    "tokens": 16,
    "batches": (1, 16),
    "prompts": 24,
    "directions": 20,
    "captured": (1_000, 5_000),
    "texts": (32, 900),
    "rounds": {"extraction": 21, "generation": 31, "alphas": 9, "next token": 31, "sweep": 12}
    | {"alpha table": 31, "import": 21, "top-p": 15, "peers": 6},
    "shape": {},
}
QUICK = {
    "pairs": 4,
    "tokens": 4,
    "batches": (1, 2),
    "prompts": 4,
    "directions": 3,
    "captured": (40, 80),
    "texts": (4, 50),
    "rounds": dict.fromkeys(FULL["rounds"], 6) | {"alphas": 1, "import": 1, "peers": 1},
    "shape": {"n_embd": 48},
}


def about():
    """Date, machine and versions."""
    packages = sorted({"transformers", "numpy", *(c.package for c in CONTESTANTS.values())})
    cpu = Path("/proc/cpuinfo").read_text().partition("model name")[2].partition("\n")[0].strip("\t :")
    return {
        "date": datetime.date.today().isoformat(),
        "model": "GPT-2 small's shape, 12 blocks of width 768, with random weights in float32",
        "machine": {"cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
    }


def table(rows):
    """The rows as text."""
    texts = [["section", "case", "who", "median", "interval", "rounds", "target", "held", "same", "note"]]
    word = {True: "yes", False: "NO", None: ""}
    for row in rows:
        median = "" if row["median"] is None else f"{row['median']:.3f}"
        interval = "" if row["low"] is None or row["once"] else f"{row['low']:.3f} to {row['high']:.3f}"
        target = "" if row["target"] is None else f"{'≥' if row['least'] else '≤'} {row['target']:.2f}"
        texts.append([row["section"], row["case"], row["who"], median, interval, str(row["rounds"]), target])
        texts[-1] += [word[row["held"]], word[row["same"]], row["error"] or row["note"]]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join("  ".join(map(str.ljust, text, widths)).rstrip() for text in texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model and few rounds, to try the script")
    parser.add_argument("--out", type=Path, help="where to write the results as JSON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)  # of one call, in a fresh process
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)  # for all, though not every peer's documentation says so
    if options.memory:
        return cases.measure_memory(options.memory[0], int(options.memory[1]), plan)
    results, start = Results(NOTES), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        contestants = cases.make_contestants(results, cases.make_model(folder, **plan["shape"]), folder)
        cases.extraction(results, contestants, plan)
        direction = contestants[cases.BARE].extract(cases.make_pairs(BATCH))[cases.LAYER]
        vector = SteeringVector(10 * direction / direction.norm(), cases.LAYER)
        cases.generating(results, contestants, vector, plan)
        cases.several_alphas(results, contestants, vector, plan)
        for section in (cases.next_token, cases.sweep, cases.table_of_alphas, cases.top_p):
            section(results, contestants[cases.OURS], plan)
        cases.importing(results, plan)
        cases.memory(results, [f"--threads={options.threads}", *["--quick"] * options.quick], plan)
    print(table(results.rows))
    minutes = round((time.perf_counter() - start) / 60)
    found = about() | {
        "quick": options.quick,
        "minutes": minutes,
        "margin": cases.MARGIN,
        "rows": results.rows,
    }
    if out := options.out or (None if options.quick else Path(__file__).parent / "results.json"):
        out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
