"""Many measurements in one call: one batch of all settings, or many processes."""

from collections.abc import Iterable

import joblib
import numpy as np
from tqdm.auto import tqdm


def crossed(prompts, vectors, strengths) -> tuple[list, np.ndarray]:
    """Each prompt under each vector at each strength, as rows and alphas for one `steer` and one call.

    Returns:
        rows: the prompts, repeated, in the order of vectors, strengths, prompts: what comes of them can be
            shaped to (n_vectors, n_strengths, n_prompts).
        alpha: (n_vectors, n_rows), 0 on the rows of other vectors.

    Example:
        >>> rows, alpha = crossed(["a", "b"], ["v", "w"], [0.5])
        >>> rows, alpha.tolist()
        (['a', 'b', 'a', 'b'], [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])
    """
    prompts, of_each = list(prompts), np.repeat(strengths, len(prompts))
    alpha = np.kron(np.eye(len(vectors)), of_each)
    return prompts * (len(vectors) * len(strengths)), alpha


def sweep(task, cases, *, n_jobs=1, progress=True, then=None) -> list:
    """`task(**case)` for each case, in order.

    It runs on joblib. With `n_jobs=1` it runs here; `n_jobs=4` takes four processes, and another backend is
    chosen around the call: `with joblib.parallel_config(backend="dask"):` or `"ray"`. What goes to another
    process must be picklable and small: give it a model's name and not the model.

    Args:
        task: a function of keyword arguments whose result can be pickled.
        cases: dicts of arguments, one for each call.
        n_jobs: processes at a time.
        progress: show a progress bar.
        then: called here with each case and its result, in order, as soon as it is there: to keep it, say.

    Raises:
        TypeError: a case is not a dict of arguments.
        What the task or `then` raises.

    Example:
        >>> sweep(pow, [{"base": 2, "exp": n} for n in (1, 2, 3)], progress=False)
        [2, 4, 8]
    """
    cases = list(cases) if isinstance(cases, Iterable) else [cases]
    for case in cases:
        if not isinstance(case, dict):
            raise TypeError(f"each case must be a dict of the task's arguments, got {case!r}")
    run = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
    results = run(joblib.delayed(task)(**case) for case in cases)
    kept = []
    for case, result in zip(
        cases, tqdm(results, total=len(cases), disable=not progress, desc="sweep"), strict=True
    ):
        kept.append(result)
        if then:
            then(case, result)
    return kept
