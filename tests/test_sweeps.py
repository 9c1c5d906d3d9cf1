"""A sweep gives the same table wherever it runs."""

import os
from pathlib import Path

import dask.distributed
import joblib
import numpy as np
import pytest
import torch
from conftest import some_vector, tiny_model

from steering_utils import next_token_logits, steer
from steering_utils.pages.sweeps import crossed, sweep

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


@pytest.mark.parametrize("cases", [3, [3], [("alpha", 1.0)]])
def test_a_case_that_is_no_dict_is_refused(cases):
    with pytest.raises(TypeError, match="dict of the task's arguments"):
        sweep(steered, cases)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_result_is_handed_on_with_its_case_and_what_came_before_a_failure_is_kept(n_jobs):
    cases, kept = [{"a": n, "b": 12} for n in (3, 2, 1)], []
    found = sweep(divided, cases, n_jobs=n_jobs, progress=False, then=lambda *pair: kept.append(pair))
    assert found == [4, 6, 12]
    assert kept == list(zip(cases, found, strict=True))
    kept.clear()
    with pytest.raises(ZeroDivisionError):
        sweep(
            divided,
            [{"a": 3, "b": 12}, {"a": 0, "b": 1}],
            progress=False,
            then=lambda *pair: kept.append(pair),
        )
    assert kept == [({"a": 3, "b": 12}, 4)]


def divided(a, b):
    return b // a


def test_an_error_of_the_task_is_not_swallowed():
    with pytest.raises(ValueError, match="finite"):
        sweep(steered, [{"alpha": float("nan"), "family": "gpt2"}], progress=False)


def test_crossed_rows_are_each_prompt_under_each_vector_at_each_strength(model, tokenizer):
    prompts, strengths = ["I am", "She said that"], [-1.0, 0.0, 2.0]
    vectors = [some_vector(layer=1), some_vector(layer=1, seed=1), some_vector(layer=2)]
    rows, alpha = crossed(prompts, vectors, strengths)
    with steer(model, vectors, alpha):
        together = next_token_logits(model, tokenizer, rows).view(3, 3, 2, -1)
    for of_vector, vector in zip(together, vectors, strict=True):
        for found, strength in zip(of_vector, strengths, strict=True):
            with steer(model, vector, strength):
                alone = next_token_logits(model, tokenizer, prompts)
            assert torch.allclose(found, alone, atol=1e-4)
