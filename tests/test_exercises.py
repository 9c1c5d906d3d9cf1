"""Every exercise in the chapters: the solution passes, the blank stub fails, a wrong answer is told why."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from steering_utils.pages import exercises

CHAPTERS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))

WRONG = {  # check: (a plausible wrong answer, a pattern for what the check says to it)
    "check_last_real_position": (lambda mask: mask.sum(1) - 1, "left padding does not"),
    "check_mean_difference": (lambda p, n, k: n[:, k].mean(0) - p[:, k].mean(0), "sign is turned round"),
    "check_median_norm": (lambda h: h.norm(dim=-1).median(), "first position is still in"),
    "check_projection": (lambda h, v: h @ v, "length of v"),
    "check_explained_share": (lambda x: (s := torch.linalg.svdvals(x) ** 2)[0] / s.sum(), "not centred"),
    "check_held_out_accuracy": (
        lambda p, n, hp, hn: (
            torch.cat([hp @ (p.mean(0) - n.mean(0)) > 0, hn @ (p.mean(0) - n.mean(0)) < 0]).float().mean()
        ),
        "threshold is zero",
    ),
    "check_make_hook": (lambda v, alpha: lambda module, args, h: h.add_(alpha * v), "writes in place"),
    "check_alpha_from_strength": (lambda v, h, r: r * h.norm(dim=1).median(), "divide by it"),
    "check_add_at_last": (lambda h, mask, v, a: torch.cat([h[:, :-1], h[:, -1:] + a * v], 1), "is padding"),
    "check_logit_difference": (lambda z, up, down: z[:, up].mean(1) - z[:, down].mean(1), "means of logits"),
    "check_rank_among_controls": (lambda real, c: (c.abs() >= real).sum() / len(c), "can say p = 0"),
    "check_bootstrap_means": (lambda x, draws: x.flatten()[draws].mean(1), "average over the seeds first"),
    "check_price_of": (
        lambda z, z0: torch.nn.functional.kl_div(
            z.log_softmax(1), z0.log_softmax(1), log_target=True, reduction="batchmean"
        ),
        "drawn from p",
    ),
    "check_parts_of_extra_nll": (
        lambda p, p0, q0: (
            (p.exp() * (p - p0)).sum(1).mean(),
            (p0.exp() * p0).sum(1).mean() - (p.exp() * p).sum(1).mean(),
        ),
        "along the unsteered text",
    ),
    "check_strength_for": (
        lambda price, strengths, costs: float(np.interp(price, costs, strengths)),
        "stands in for all",
    ),
    "check_expected_cosine": (
        lambda x, n: 1 / (1 + x.var(0).sum() / x.mean(0).square().sum() / n),
        "only n / 2 pairs",
    ),
    "check_separability": (lambda p, n, v: (p @ v).mean() - (n @ v).mean(), "spread is missing"),
}


def _cells():
    """(chapter and check, stub source, solution source) for each exercise of each chapter."""
    for chapter in CHAPTERS:
        stub = check = None
        for cell in nbformat.read(chapter, as_version=4).cells:
            tags = cell.metadata.get("tags", [])
            if "exercise" in tags:
                stub = cell.source
            elif "solution" in tags:
                yield pytest.param(check, stub, cell.source, id=f"{chapter.stem}-{check}")
                stub = check = None
            elif stub and not check and cell.cell_type == "code":
                check = re.search(r"check_\w+", cell.source).group()


def _answer(source):
    """The function that a stub or a solution cell defines."""
    names = {"torch": torch} | {name: getattr(exercises, name) for name in dir(exercises)}
    exec(source, names)
    return names[re.search(r"^def (\w+)", source, re.MULTILINE).group(1)]


@pytest.mark.parametrize(("check", "stub", "solution"), list(_cells()))
def test_the_check_tells_right_from_blank_and_wrong(check, stub, solution):
    judge = getattr(exercises, check)
    assert judge(_answer(solution)).passed, judge(_answer(solution))
    blank = judge(_answer(stub))
    assert not blank
    assert "replace each ..." in repr(blank)
    wrong, said = WRONG[check]
    verdict = judge(wrong)
    assert not verdict
    assert re.search(said, verdict.message), verdict


def test_every_check_is_used_by_a_chapter_and_every_chapter_has_exercises():
    used = [param.values[0] for param in _cells()]
    assert sorted(used) == sorted(name for name in dir(exercises) if name.startswith("check_"))
    assert len(used) >= 2 * len(CHAPTERS)


def test_an_answer_that_raises_is_reported_and_not_raised():
    def broken(mask):
        raise KeyError("columns")

    assert "KeyError" in exercises.check_last_real_position(broken).message
