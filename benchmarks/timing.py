"""Taking turns, an interval for the median of the ratios, and the rows that say whether a target held."""

import math
import statistics
import sys
import time
from functools import partial


def seconds(job):
    """How long `job` takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def interleave(jobs, reference, rounds, group=3):
    """Each job's times over the reference's, one a round.

    The reference runs in the middle of every `group` jobs. From one round to the next the jobs' order moves
    on by one, and every other round runs backwards.
    """
    ratios, names = {name: [] for name in jobs}, list(jobs)
    for number in range(rounds):
        for i in range(0, len(names), group):
            turn = [(name, jobs[name]) for name in names[i : i + group]]
            turn.insert(len(turn) // 2, (reference, reference))
            times = {name: seconds(job) for name, job in (turn if number % 2 else turn[::-1])}
            base = times.pop(reference)
            for name, taken in times.items():
                ratios[name].append(taken / base)
        names.append(names.pop(0))
    return ratios


def median_interval(values, level=0.95):
    """A confidence interval of the median that holds for every distribution: two of the values, in order.

    The median lies below the k-th smallest value as often as fewer than k of n tosses of a coin are heads,
    and above the k-th largest as often. k is as large as `level` lets it be, for both ends together.

    Returns:
        (low, high); (None, None) if there are too few values, for 95% fewer than six.
    """
    n, k, outside = len(values), 0, 2 / 2 ** len(values)  # how often it is outside of the next interval
    while k < n // 2 and outside <= 1 - level:
        k += 1
        outside += 2 * math.comb(n, k) / 2**n
    ordered = sorted(values)
    return (ordered[k - 1], ordered[-k]) if k else (None, None)


class Results:
    """The rows of the table; who agrees with the bare hooks, and who dropped out with which error."""

    def __init__(self, notes):
        self.rows, self.checks, self.errors, self.notes = [], {}, {}, notes

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

    def add(self, section, case, who, values, target=None, *, least=False, once=False, unit="", note=""):
        """A row with the median of `values` and the interval that decides.

        A target holds if all of the interval reaches it, and not if there is an error or another result; with
        fewer than six values nothing is decided.

        Args:
            values: ratios, one a round; or None if there are none.
            least: whether they must be the target at least, and not at most.
            once: whether it is one measurement that needs no interval, such as of memory.
        """
        median = statistics.median(values) if values else None
        low, high = (median, median) if once or not values else median_interval(values)
        error, held = self.errors.get((section, who)), None
        same, how = self.checks.get((section, who)) or (None, "")
        if target is not None and (error or low is not None):
            right = not error and same is not False
            held = right and (low >= target if least else high <= target)
        note = "; ".join(filter(None, [self.notes.get((section, who)), note, how]))
        self.rows.append(
            {"section": section, "case": case, "who": who, "median": median, "low": low, "high": high}
            | {"rounds": len(values or ()), "once": once, "unit": unit, "target": target, "least": least}
            | {"held": held, "same": same, "note": note, "error": error}
        )
        print(f"{section}, {case}: {who}", file=sys.stderr)
