"""A sweep gives the same table wherever it runs, and runs nothing twice."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import dask.distributed
import joblib
import numpy as np
import pytest
import torch
from conftest import some_vector, tiny_model

from steering_utils import steer, sweep
from steering_utils.sweeps import code_version

CASES = [{"alpha": alpha, "family": family} for alpha in (-1.0, 0.0, 2.0) for family in ("gpt2", "llama")]


@torch.no_grad()
def steered(alpha, family, log=None):
    """Logits under steering, from a model that the task builds itself; leaves a line in `log`."""
    if log:
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()}\n")
    model = tiny_model(family)
    with steer(model, some_vector(), alpha):
        return model(torch.tensor([[5, 6, 7]])).logits[0, -1].numpy()


@pytest.fixture(scope="module")
def here():
    return [steered(**case) for case in CASES]


def check(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_it_is_a_loop_in_this_process(here):
    check(sweep(steered, CASES, progress=False), here)
    assert not np.allclose(here[0], here[4])  # alpha matters


def test_processes_give_the_same_table(here, tmp_path):
    log = tmp_path / "log"
    check(sweep(steered, [case | {"log": log} for case in CASES], n_jobs=2, progress=False), here)
    assert str(os.getpid()) not in log.read_text().split()


def test_a_dask_cluster_gives_the_same_table(here, tmp_path):
    log = tmp_path / "log"
    with (
        dask.distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        dask.distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        check(sweep(steered, [case | {"log": log} for case in CASES], n_jobs=-1, progress=False), here)
    assert str(os.getpid()) not in log.read_text().split()


def test_the_same_inputs_run_once_and_new_ones_run(here, tmp_path):
    cases = [case | {"log": tmp_path / "log"} for case in CASES]
    for some in (cases[:4], cases):
        check(sweep(steered, some, cache=tmp_path / "cache", progress=False), here[: len(some)])
    assert len((tmp_path / "log").read_text().split()) == len(cases)


def test_other_code_runs_again(tmp_path, monkeypatch):
    case = [CASES[0] | {"log": tmp_path / "log"}]
    sweep(steered, case, cache=tmp_path / "cache", progress=False)
    monkeypatch.setattr("steering_utils.sweeps.version", lambda name: "of another day")
    sweep(steered, case, cache=tmp_path / "cache", progress=False)
    assert len((tmp_path / "log").read_text().split()) == 2


def test_the_code_version_is_of_this_code():
    assert code_version() == code_version()
    assert len(code_version()) == 16


def test_a_vector_is_the_same_input_in_another_process(tmp_path):
    """joblib's hash of a tensor is not: a cache of a sweep over vectors would never hit."""
    vector = some_vector()
    (tmp_path / "vector").write_bytes(pickle.dumps(vector))
    code = "import joblib, pickle, sys; print(joblib.hash(pickle.load(open(sys.argv[1], 'rb'))))"
    other = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "vector"], check=True, capture_output=True, text=True
    )
    assert other.stdout.strip() == joblib.hash(vector)
    assert joblib.hash(some_vector(seed=1)) != joblib.hash(vector)


@pytest.mark.parametrize("cases", [3, [3], [("alpha", 1.0)]])
def test_a_case_that_is_no_dict_is_refused(cases):
    with pytest.raises(TypeError, match="dict of the task's arguments"):
        sweep(steered, cases)


def test_an_error_of_the_task_is_not_swallowed():
    with pytest.raises(ValueError, match="finite"):
        sweep(steered, [{"alpha": float("nan"), "family": "gpt2"}], progress=False)
