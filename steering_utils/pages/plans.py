"""Claims with what must come out if each is to hold, estimates with their intervals, and the verdicts."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.stats import DegenerateDataWarning, binomtest, bootstrap, permutation_test

from .tables import html_table


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its 95% interval, in the unit of what was averaged.

    It unpacks into the three, and `np.array` makes (n, 3) of n of them. A format is that of each number.

    Example:
        >>> gain = Estimate(2.5, 1.97, 3.02)
        >>> print(f"{gain} nats;", gain.above(0), gain.below(3), 3 in gain)
        +2.50 [+1.97, +3.02] nats; True False True
    """

    mean: float
    low: float
    high: float

    def above(self, x) -> bool:
        """Whether the whole interval lies above x."""
        return self.low > x

    def below(self, x) -> bool:
        """Whether the whole interval lies below x."""
        return self.high < x

    def __contains__(self, x):
        return self.low <= x <= self.high

    def __iter__(self):
        return iter((self.mean, self.low, self.high))

    def __array__(self, dtype=None, copy=None):  # and no index: e.low says more than e[1]
        return np.array([*self], dtype=dtype)

    def __format__(self, spec):
        mean, low, high = (format(x, spec or "+.2f") for x in self)
        return f"{mean} [{low}, {high}]"

    def __str__(self):
        return format(self)


@dataclass(frozen=True)
class Share(Estimate):
    """A proportion, k of n, with the ends of its 95% interval: shown as a count, the interval in percent."""

    k: int
    n: int

    def __format__(self, spec):
        low, high = (format(x, spec or ".0%") for x in (self.low, self.high))
        return f"{self.k} of {self.n} [{low}, {high}]"


def share(k, n) -> Share:
    """The proportion of k in n independent trials, with its 95% interval.

    Raises:
        TypeError, ValueError: k and n are not whole numbers, 0 to n and 1 or more.

    Source:
        Clopper & Pearson, Biometrika 26(4), 1934.

    Example:
        >>> print(share(3, 24))
        3 of 24 [3%, 32%]
    """
    interval = binomtest(k, n).proportion_ci()
    return Share(float(k / n), float(interval.low), float(interval.high), int(k), int(n))


def estimate(values, *more, statistic=None, seed=0, confidence=0.95) -> Estimate | list[Estimate]:
    """The mean of values with a confidence interval, by resampling them 10,000 times.

    Resample what was drawn independently: prompts, with the generations of one prompt averaged first; for
    random directions, the directions. The interval is corrected for bias and skew (BCa) or, where that has
    no value because all resamples are alike, of the plain percentiles.

    Args:
        values: (n,), or rows of them, (n_rows, n), for a list with one estimate a row.
        statistic: a function of an array like `values` that gives one number, in place of the mean. Columns
            are resampled whole, so what belongs to one prompt stays together.
        more: arrays that the statistic takes besides, each resampled independently of the others.

    Raises:
        ValueError: fewer than two values, a value that is not finite, or a confidence outside 0 to 1.

    Source:
        Efron, Journal of the American Statistical Association 82(397), 1987.

    Example:
        >>> print(estimate([1.0, 2.0, 3.0, 4.0]))
        +2.50 [+1.50, +3.50]
    """
    samples = [np.asarray(sample, dtype=float) for sample in (values, *more)]
    for sample in samples:
        if sample.ndim < 1 or sample.shape[-1] < 2 or not np.isfinite(sample).all():
            raise ValueError(f"values must be two or more finite numbers, one per prompt; got {sample}")
    if statistic is None and (more or samples[0].ndim > 2):
        raise ValueError("for means give one array, (n,) or (n_rows, n); for anything else a statistic")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95; got {confidence!r}")
    if statistic is None and samples[0].ndim == 2:
        return [estimate(row, seed=seed, confidence=confidence) for row in samples[0]]

    def of(*columns):  # of those that were drawn from each sample
        return statistic(*(sample[..., i] for sample, i in zip(samples, columns, strict=True)))

    numbers = [np.arange(sample.shape[-1]) for sample in samples]
    drawn, function = (samples, np.mean) if statistic is None else (numbers, of)
    options = {"confidence_level": confidence, "n_resamples": 9_999, "vectorized": statistic is None}
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # where there is nothing to correct by
        warnings.simplefilter("ignore", DegenerateDataWarning)
        result = bootstrap(drawn, function, method="BCa", rng=np.random.default_rng(seed), **options)
    ends = result.confidence_interval
    if not np.isfinite([*ends]).all():
        ends = np.quantile(result.bootstrap_distribution, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(*map(float, (function(*drawn), *ends)))


def sign_flip_p(values, margin=0.0, seed=0) -> float:
    """p of the claim that values have a mean above the margin, by turning their signs round at random.

    If the truth were no better than the margin, each value less the margin would be as likely to be x as -x.
    So p is the share of all choices of signs under which the mean comes out at least as large. All of them
    are tried for up to 13 values, else 9,999 drawn ones beside the true signs.

    Args:
        values: (n,), of what was drawn independently. For "below", give the negatives of both numbers.

    Returns:
        p, from 1 / 2^n or 1 / 10,000 to 1.

    Raises:
        ValueError: fewer than two values, or one that is not finite.

    Source:
        Fisher, The Design of Experiments, 1935.

    Example:
        >>> sign_flip_p([1.0, 2.0, 3.0])
        0.125
    """
    values = np.asarray(values, dtype=float) - margin
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"values must be two or more finite numbers, one per prompt; got {values + margin}")
    options = {"permutation_type": "samples", "alternative": "greater", "vectorized": True}
    generator = np.random.default_rng(seed)
    test = permutation_test((values,), np.mean, n_resamples=9_999, rng=generator, **options)
    return float(test.pvalue)


def rank_p(value, controls) -> float:
    """p of a value's rank among controls: (k + 1) / (n + 1), with k of the n controls at or above it.

    A tie counts against the value. If either sign would do, give sizes: `rank_p(abs(x), np.abs(controls))`.

    Raises:
        ValueError: no controls, or a number that is not finite.

    Example:
        >>> rank_p(2.0, [0.5, -1.0, 2.0])
        0.5
    """
    controls = np.asarray(controls, dtype=float)
    if controls.ndim != 1 or not len(controls) or not np.isfinite([value, *controls]).all():
        raise ValueError(f"give a finite number and one or more as controls; got {value} and {controls}")
    return float(((controls >= value).sum() + 1) / (len(controls) + 1))


def holm(p_values: dict) -> dict:
    """Each p adjusted for how many tests there are: {key: p} -> {key: adjusted p}, in the same order.

    Call each adjusted p ≤ 0.05 an effect, and the chance that any of these calls is wrong is 5% at most.

    Raises:
        ValueError: a p that is not between 0 and 1.

    Source:
        Holm, Scandinavian Journal of Statistics 6(2), 1979.

    Example:
        >>> holm({"H5": 0.5, "H11": 0.125, "H16": 0.25})
        {'H5': 0.5, 'H11': 0.375, 'H16': 0.5}
    """
    if wrong := {key: p for key, p in p_values.items() if not 0 <= p <= 1}:
        raise ValueError(f"a p is between 0 and 1; got {wrong}")
    adjusted, least = {}, 0.0
    for i, key in enumerate(sorted(p_values, key=p_values.get)):
        adjusted[key] = least = max(least, min(1.0, (len(p_values) - i) * p_values[key]))
    return {key: adjusted[key] for key in p_values}


class Plan:
    """Claims, each with a criterion stated beforehand, and the verdict on each once it is in.

    As the last line of a cell it is shown as a table.

    Args:
        title: of the page that makes the claims.
        claims: {key: (claim, criterion)}; where a test gives a p, (claim, criterion, smallest p that the
            test can reach). These tests are the family that p is adjusted for.
        fragile: keys of the claims whose verdict differs between seeds on SmolLM2-135M, on which the book is
            checked; they are marked, whatever model runs the page.

    Raises:
        ValueError: a claim is not of this form, or a key that is marked as fragile has no claim.

    Example:
        >>> plan = Plan("Chapter 0", {"H1": ("the vector moves m up", "interval of the gain above 0")})
        >>> gain = estimate([1.0, 2.0, 3.0])
        >>> plan.report("H1", f"{gain} nats", gain.above(0))
        H1 held: the vector moves m up
           asked for: interval of the gain above 0
           found:     +2.00 [+1.00, +3.00] nats
    """

    def __init__(self, title: str, claims: dict, *, fragile=()):
        for key, claim in claims.items():
            good = isinstance(claim, tuple) and len(claim) in (2, 3)
            good = good and all(isinstance(text, str) and text.strip() for text in claim[:2])
            if not good or not all(0 <= p <= 1 for p in claim[2:]):
                raise ValueError(
                    f"{key}: give (claim, criterion), both in words, or (claim, criterion, smallest p that "
                    f"its test can reach); got {claim!r}"
                )
        if unknown := set(fragile) - claims.keys():
            raise ValueError(f"fragile names {sorted(unknown)}: give keys of the plan, {', '.join(claims)}")
        self.title, self.fragile, self._verdicts = title, set(fragile), {}
        self._claims = {key: claim[:2] for key, claim in claims.items()}
        self._smallest_p = {key: claim[2] for key, claim in claims.items() if len(claim) == 3}

    @property
    def level(self) -> float:
        """What each p has to reach, so that any false one among them has a chance below .05 (Bonferroni)."""
        return 0.05 / max(1, len(self._smallest_p))

    def report(self, key, found, held, p=None):
        """Print what became of a claim, and keep it. A cell that is run again replaces its verdict.

        Args:
            found: what came out: text or an `Estimate`.
            held: whether that meets the criterion, True or False.
            p: of the claim's test, if the plan says that it has one.

        Raises:
            TypeError: `held` is neither True nor False.
            ValueError: no such claim; or p is missing, not planned, or outside what its test can reach.
        """
        if key not in self._claims:
            raise ValueError(f"no claim {key!r} in the plan: give one of {', '.join(self._claims)}")
        if not isinstance(held, bool | np.bool_):
            raise TypeError(f"{key}: held must be True or False, as a comparison gives it; got {held!r}")
        smallest = self._smallest_p.get(key)
        if (p is None) != (smallest is None) or (p is not None and not smallest * (1 - 1e-9) <= p <= 1):
            planned = "no p" if smallest is None else f"a p from {smallest:.3g} to 1"
            raise ValueError(f"{key}: the plan names {planned} for it; got {p}")
        self._verdicts[key] = {"found": str(found), "held": bool(held), "p": p if p is None else float(p)}
        print(key, "held:" if held else "DID NOT HOLD:", self._wording(key))
        print("   asked for:", self._claims[key][1])
        print(f"   found:     {found}" + ("" if p is None else f", p = {p:.3g}"))

    def verdicts(self):
        """The table of what became of each claim; with p, and p by `holm`, if a test has one."""
        p_values = dict.fromkeys(self._smallest_p, 1.0)  # a test that is still to come counts, too
        p_values |= {key: self._verdicts[key]["p"] for key in p_values if key in self._verdicts}
        adjusted, rows = holm(p_values), []
        for key, (_, criterion) in self._claims.items():
            verdict = self._verdicts.get(key, {"found": "", "held": None, "p": None})
            said = {True: "held", False: "DID NOT HOLD", None: "no verdict yet"}[verdict["held"]]
            p = ["", ""] if verdict["p"] is None else [f"{verdict['p']:.3g}", f"{adjusted[key]:.3g}"]
            rows.append([key, self._wording(key), criterion, said, verdict["found"], *p])
        heads = ["key", "claim", "asked for", "verdict", "found", "p", "p (Holm)"]
        return self._table("The plan and its verdicts.", heads, rows)

    def summary(self, model_name: str):
        """Print how many of the claims held on this model, and which did not."""
        held = {key: self._verdicts[key]["held"] for key in self._claims if key in self._verdicts}
        print(f"{sum(held.values())} of {len(self._claims)} claims held on {model_name}.")
        if not all(held.values()):
            print("What did not hold is a finding, not an accident to be hidden:")
        for key in (key for key in held if not held[key]):
            print(f"   {key}: {self._wording(key)}")
        if missing := [key for key in self._claims if key not in held]:
            print("No verdict yet:", *missing)

    def record(self) -> dict:
        """The plan and its verdicts as plain data that JSON can hold."""
        return {
            "title": self.title,
            "claims": {key: list(claim) for key, claim in self._claims.items()},  # [claim, criterion]
            "smallest_p": dict(self._smallest_p),
            "fragile": sorted(self.fragile),
            "verdicts": {key: dict(verdict) for key, verdict in self._verdicts.items()},
        }

    def _wording(self, key):
        return self._claims[key][0] + " (fragile on SmolLM2-135M)" * (key in self.fragile)

    def _repr_html_(self):
        reach = {key: f"{p:.3g}" for key, p in self._smallest_p.items()}
        rows = [
            [key, self._wording(key), text, reach.get(key, "")] for key, (_, text) in self._claims.items()
        ]
        return self._table("The plan.", ["key", "claim", "holds if", "smallest p"], rows).data

    def _table(self, caption, heads, rows):  # of the columns that have something in them
        heads, *rows = zip(*(part for part in zip(heads, *rows, strict=True) if any(part[1:])), strict=True)
        return html_table(f"{caption} {self.title}", heads, rows)

    def __repr__(self):
        return f"<Plan {self.title!r}: {len(self._claims)} claims>"
