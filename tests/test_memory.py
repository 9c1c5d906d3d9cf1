"""Reading many or long texts takes memory within a bound, whatever their number: seen in a new process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LINUX = Path("/proc/self/clear_refs").exists()
pytestmark = pytest.mark.skipif(not LINUX, reason="only Linux tells the peak")

SCRIPT = """
import ctypes, json, sys
from functools import partial
from pathlib import Path
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from steering_utils import *

torch.set_num_threads(1)
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", n_layer=2)).eval()  # its full width
vector, libc = SteeringVector(torch.randn(768), 1), ctypes.CDLL(None)
directions = random_directions(vector, 20)


def words(n):
    return " ".join(["no"] * n)


def swept(n, length):
    prompts = [f"Guest number {i}" for i in range(n)]
    with steer(model, directions, torch.eye(20).repeat_interleave(n, dim=1)):
        return next_token_logits(
            model, tokenizer, prompts * 20, read=lambda z: logit_difference(z, tokenizer, ["good"], ["bad"])
        )


def steered(n, length):
    with steer(model, vector, torch.linspace(-1, 1, n), positions="after_first"):
        return next_token_logits(model, tokenizer, [words(length)] * n)


def texts(measure, n, length):
    return measure(tokenizer, ["I am"] * n, [words(length)] * n)


def read(measure, n, length, **options):
    return measure(model, tokenizer, [words(length)] * n, **options)


JOBS = {  # of n texts of so many tokens, and how many
    "next_token_logits": (partial(read, next_token_logits), 11),
    "next_token_logits, steered": (steered, 11),
    "continuation_nll": (partial(texts, partial(continuation_nll, model)), 4),
    "continuation_kl": (lambda *n: texts(partial(continuation_kl, steer(model, vector)), *n), 2),
    "read": (swept, 150),
    "capture": (partial(read, capture, layers=1), 11),
    "generate": (partial(read, generate, max_new_tokens=3), 11),
}


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


for name in sys.argv[2:] or JOBS:
    job, many = JOBS[name]
    job(2, 20)  # for what is allocated once, and stays
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    job(many, 900)
    print(json.dumps([name, status("VmHWM") - before]), flush=True)
"""
MOST = {  # in MB beyond the model; a logit for each word at 1,000 positions takes 192
    "next_token_logits": 500,
    "next_token_logits, steered": 500,
    "continuation_nll": 700,
    "continuation_kl": 1_000,
    "read": 500,
    "capture": 500,
    "generate": 1_000,
}


@pytest.fixture(scope="module")
def peaks(tokenizer, tmp_path_factory):
    """By how many MB each job raises the peak of resident memory."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    env = os.environ | {"HF_HUB_OFFLINE": "1", "MALLOC_MMAP_THRESHOLD_": "1000000"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder], capture_output=True, text=True, env=env, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("job", MOST)
def test_the_peak_is_bounded(peaks, job):
    assert peaks[job] < MOST[job]
