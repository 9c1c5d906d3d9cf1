"""Intervals cover what they say, p-values are valid, and a plan keeps its claims and what became of them."""

import itertools
import json
from math import inf, nan

import numpy as np
import pytest
import scipy.stats
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from steering_utils.pages.plans import Estimate, Plan, estimate, holm, rank_p, share, sign_flip_p

finite = st.floats(-1e6, 1e6)
probabilities = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), max_size=8)
VALUES = np.random.default_rng(0).exponential(size=(3, 24))


@given(st.tuples(finite, finite, finite).map(sorted), finite)
def test_a_number_is_below_an_interval_in_it_or_above_it(three, x):
    low, mean, high = three
    gain = Estimate(mean, low, high)
    assert [gain.above(x), x in gain, gain.below(x)].count(True) == 1
    assert low in gain and high in gain and not gain.above(low) and not gain.below(high)


def test_an_estimate_reads_as_the_books_text_does_and_unpacks():
    gain = Estimate(2.5, 1.97, 3.018)
    assert f"{gain} nats" == f"{gain!s} nats" == "+2.50 [+1.97, +3.02] nats"
    assert f"{gain:.1f}" == "2.5 [2.0, 3.0]"
    assert tuple(gain) == (2.5, 1.97, 3.018)
    mean, _, _ = np.array([gain, gain]).T  # three curves to plot
    assert mean.tolist() == [2.5, 2.5]


def test_an_estimate_is_not_compared_as_if_it_were_a_number():
    with pytest.raises(TypeError):
        Estimate(2.5, 1.97, 3.02) > 0  # noqa: B015


@pytest.mark.parametrize(("k", "n"), [(0, 24), (3, 24), (24, 24), (np.int64(1), 36)])
def test_the_ends_of_a_share_are_those_that_the_count_would_just_not_reject(k, n):
    observed = share(k, n)
    if k > 0:
        assert scipy.stats.binom.sf(k - 1, n, observed.low) == pytest.approx(0.025)
    if k < n:
        assert scipy.stats.binom.cdf(k, n, observed.high) == pytest.approx(0.025)
    assert observed.low <= observed.mean == k / n <= observed.high
    assert all(type(x) is float for x in observed)


def test_a_share_is_shown_as_a_count_and_percents():
    assert str(share(3, 24)) == "3 of 24 [3%, 32%]"
    assert f"{share(1, 36):.1%}" == "1 of 36 [0.1%, 14.5%]"
    assert share(0, 24).below(0.25) and not share(3, 24).below(0.25)


@pytest.mark.parametrize("k, n", [(-1, 24), (25, 24), (0, 0)])
def test_a_share_of_more_than_all_or_of_nothing_is_refused(k, n):
    with pytest.raises(ValueError):
        share(k, n)


@pytest.mark.parametrize(("confidence", "seed"), [(0.95, 0), (0.95, 1), (0.9, 0)])
def test_an_estimate_is_the_mean_with_scipys_bootstrap(confidence, seed):
    options = {"confidence_level": confidence, "n_resamples": 9_999, "method": "BCa"}
    wanted = scipy.stats.bootstrap((VALUES[0],), np.mean, rng=np.random.default_rng(seed), **options)
    mean, low, high = estimate(list(VALUES[0]), seed=seed, confidence=confidence)
    assert mean == pytest.approx(VALUES[0].mean(), rel=1e-12)
    assert (low, high) == pytest.approx(tuple(wanted.confidence_interval), rel=1e-12)


def test_another_seed_is_another_draw():
    assert estimate(VALUES[0]) == estimate(VALUES[0]) != estimate(VALUES[0], seed=1)


def test_an_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = sum(2.0 in estimate(rng.normal(2.0, size=40), confidence=0.9, seed=seed) for seed in range(300))
    assert covered / 300 == pytest.approx(0.9, abs=0.04)


def test_the_interval_of_equal_values_is_that_value():
    assert tuple(estimate([2.5] * 7)) == (2.5, 2.5, 2.5)


def test_each_row_has_the_estimate_that_it_has_alone():
    assert estimate(VALUES) == [estimate(row) for row in VALUES]


def test_a_statistic_of_two_samples_has_scipys_interval():
    samples = VALUES[0], VALUES[1, :16]
    wanted = scipy.stats.bootstrap(
        samples,
        lambda a, b, axis: a.mean(axis) / b.mean(axis),
        n_resamples=9_999,
        method="BCa",
        rng=np.random.default_rng(1),
    )
    ratio, low, high = estimate(*samples, statistic=lambda a, b: a.mean() / b.mean(), seed=1)
    assert ratio == pytest.approx(samples[0].mean() / samples[1].mean())
    assert (low, high) == pytest.approx(tuple(wanted.confidence_interval), rel=1e-12)


def test_columns_of_one_array_stay_together_and_two_arrays_do_not():
    pairs = np.array([VALUES[0], VALUES[0] + 1])  # each pair differs by exactly 1
    together = estimate(pairs, statistic=lambda both: both[1].mean() - both[0].mean())
    resampled_alone = estimate(*pairs, statistic=lambda a, b: b.mean() - a.mean())
    assert tuple(together) == pytest.approx((1, 1, 1))
    assert resampled_alone.high - resampled_alone.low > 0.5


def test_where_all_resamples_are_alike_the_interval_has_no_width_and_nothing_warns(recwarn):
    assert tuple(estimate([1.0, 2.0], statistic=lambda x: 7.0)) == (7.0, 7.0, 7.0)
    assert not recwarn


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=7))
def test_a_sign_flip_p_counts_all_choices_of_signs(values):
    flips = itertools.product([1, -1], repeat=len(values))
    means = [sum(s * x for s, x in zip(signs, values, strict=True)) for signs in flips]
    wanted = sum(mean >= sum(values) for mean in means) / len(means)
    assert sign_flip_p(values) == pytest.approx(wanted)


def test_a_sign_flip_p_of_many_values_never_is_zero_and_knows_its_margin():
    assert sign_flip_p(np.ones(48)) == 1 / 10_000
    values = np.random.default_rng(0).normal(1.0, size=48)
    assert sign_flip_p(values) < 0.001 < 0.2 < sign_flip_p(values, margin=values.mean()) < 0.8
    assert sign_flip_p(values, margin=2.0) > 0.99
    assert sign_flip_p(-values, margin=-2.0) < 0.001  # the mean is below 2


def test_a_sign_flip_p_of_values_without_a_mean_is_small_no_oftener_than_by_chance():
    draws = np.random.default_rng(1).normal(size=(300, 12))
    assert sum(sign_flip_p(row) <= 0.1 for row in draws) / 300 == pytest.approx(0.1, abs=0.05)


def test_the_level_divides_the_chance_of_a_false_pass_among_the_tests():
    claims = {"A": ("a", "b", 0.01), "B": ("a", "b", 0.001), "C": ("an identity", "b")}
    assert Plan("t", claims).level == 0.025
    assert Plan("t", {"C": ("an identity", "b")}).level == 0.05


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda: sign_flip_p([1.0]), "two or more finite numbers"),
        (lambda: sign_flip_p([1.0, nan]), "two or more finite numbers"),
        (lambda: sign_flip_p([[1.0, 2.0]]), "two or more finite numbers"),
        (lambda: estimate([3.0]), r"two or more finite numbers, one per prompt; got \[3.\]"),
        (lambda: estimate([1.0, nan]), r"two or more finite numbers, .* got \[ 1. nan\]"),
        (lambda: estimate([[1.0], [2.0]]), "two or more finite numbers"),
        (lambda: estimate(3.0), "two or more finite numbers"),
        (lambda: estimate([1.0, 2.0], [1.0, 2.0]), "a statistic"),
        (lambda: estimate(np.ones((2, 2, 2))), "a statistic"),
        (lambda: estimate([1, 2], confidence=95), "between 0 and 1, such as 0.95; got 95"),
        (lambda: rank_p(1.0, []), "one or more as controls"),
        (lambda: rank_p(nan, [1.0]), "give a finite number"),
        (lambda: rank_p(1.0, [0.0, nan]), "give a finite number"),  # it would count in the value's favour
        (lambda: holm({"a": 0.1, "b": nan}), "between 0 and 1; got {'b': nan}"),
    ],
)
def test_wrong_numbers_are_refused(give, said):
    with pytest.raises(ValueError, match=said):
        give()


@given(st.lists(finite, min_size=2, max_size=20))
def test_a_value_that_is_one_of_the_controls_gets_a_small_p_no_oftener_than_by_chance(values):
    """Each of n exchangeable values is the tested one equally often: P(p ≤ a) ≤ a."""
    p_values = np.array([rank_p(x, values[:i] + values[i + 1 :]) for i, x in enumerate(values)])
    for a in p_values:
        assert (p_values <= a).mean() <= a + 1e-12


def test_rank_p_by_hand():
    assert rank_p(2.0, [0.5, -3.0, 1.0]) == 1 / 4
    assert rank_p(2.0, [0.5, 2.0, 1.0]) == 2 / 4  # a tie counts against it
    assert rank_p(-9.0, [0.5, 2.0, 1.0]) == 1.0


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.7, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@given(probabilities, st.floats(0, 1, exclude_max=True))
def test_holm_is_the_step_down_procedure(p_values, level):
    """Reject the smallest p while it is ≤ level / (tests that are left), and then stop."""
    adjusted, left = holm(p_values), sorted(p_values, key=p_values.get)
    assert list(adjusted) == list(p_values)
    rejected = set()
    while left and len(left) * p_values[left[0]] <= level:
        rejected.add(left.pop(0))
    assert {key for key, p in adjusted.items() if p <= level} == rejected


CLAIMS = {
    "H1": ("the vector moves m <up>", "interval of the gain above 0"),
    "H2": ("not every push does it", "rank among 19: p ≤ 0.05", 1 / 20),
    "H3": ("more is better", "each step above 0"),
}


@pytest.fixture
def plan():
    return Plan("Chapter 0", CLAIMS, fragile=("H3",))


def cells(html):
    rows = BeautifulSoup(html, "html.parser").find("table").find_all("tr")
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in rows]


def test_the_plan_as_last_line_of_a_cell_is_its_table(plan):
    assert cells(plan._repr_html_()) == [
        ["key", "claim", "holds if", "smallest p"],
        ["H1", "the vector moves m <up>", "interval of the gain above 0", ""],
        ["H2", "not every push does it", "rank among 19: p ≤ 0.05", "0.05"],
        ["H3", "more is better (fragile on SmolLM2-135M)", "each step above 0", ""],
    ]
    assert "at 0x" not in repr(plan)  # the same at each run, so that a stored page does not change


def test_a_report_says_what_was_claimed_asked_for_and_found(plan, capsys):
    plan.report("H1", Estimate(2.5, 1.97, 3.02), np.True_)
    plan.report("H3", "the weakest step: +0.04 nats", False)
    plan.report("H2", "0 of 19 do as well", True, p=1 / 20)
    assert capsys.readouterr().out.splitlines() == [
        "H1 held: the vector moves m <up>",
        "   asked for: interval of the gain above 0",
        "   found:     +2.50 [+1.97, +3.02]",
        "H3 DID NOT HOLD: more is better (fragile on SmolLM2-135M)",
        "   asked for: each step above 0",
        "   found:     the weakest step: +0.04 nats",
        "H2 held: not every push does it",
        "   asked for: rank among 19: p ≤ 0.05",
        "   found:     0 of 19 do as well, p = 0.05",
    ]


def test_the_verdicts_stand_beside_their_claims_in_the_plans_order(plan):
    plan.report("H3", "+0.04", False)
    plan.report("H2", "0 of 19", True, p=1 / 20)
    assert cells(plan.verdicts().data) == [
        ["key", "claim", "asked for", "verdict", "found", "p", "p (Holm)"],
        ["H1", CLAIMS["H1"][0], CLAIMS["H1"][1], "no verdict yet", "", "", ""],
        ["H2", CLAIMS["H2"][0], CLAIMS["H2"][1], "held", "0 of 19", "0.05", "0.05"],
        ["H3", "more is better (fragile on SmolLM2-135M)", CLAIMS["H3"][1], "DID NOT HOLD", "+0.04", "", ""],
    ]


def test_a_plan_without_tests_has_no_columns_for_them():
    plan = Plan("Chapter 0", {"H1": CLAIMS["H1"]})
    plan.report("H1", "+1.0", True)
    assert cells(plan._repr_html_())[0] == ["key", "claim", "holds if"]
    assert cells(plan.verdicts().data)[0] == ["key", "claim", "asked for", "verdict", "found"]


def test_holms_family_is_all_tests_of_the_plan_reported_or_not():
    plan = Plan("Chapter 0", dict.fromkeys(("H1", "H2", "H3"), ("a claim", "p ≤ 0.05", 0.01)))
    plan.report("H1", "first", True, p=0.01)
    assert cells(plan.verdicts().data)[1][-2:] == ["0.01", "0.03"]


def test_a_cell_that_is_run_again_replaces_its_verdict(plan):
    plan.report("H1", "-1.0", False)
    plan.report("H1", "+1.0", True)
    assert plan.record()["verdicts"] == {"H1": {"found": "+1.0", "held": True, "p": None}}


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("H4", "+1", True), ValueError, "no claim 'H4' in the plan: give one of H1, H2, H3"),
        (("H1", "+1", 1), TypeError, "True or False, as a comparison gives it; got 1"),
        (("H1", "+1", None), TypeError, "got None"),
        (("H1", "+1", np.array([True])), TypeError, "True or False"),
        (("H1", "+1", True, 0.05), ValueError, "H1: the plan names no p for it; got 0.05"),
        (("H2", "+1", True), ValueError, "H2: the plan names a p from 0.05 to 1 for it; got None"),
        (("H2", "+1", True, nan), ValueError, "got nan"),
        (("H2", "+1", True, 0.01), ValueError, "got 0.01"),
        (("H2", "+1", True, inf), ValueError, "got inf"),
    ],
)
def test_a_verdict_that_the_plan_has_no_place_for_is_refused(plan, arguments, error, said):
    with pytest.raises(error, match=said):
        plan.report(*arguments)
    assert plan.record()["verdicts"] == {}


@pytest.mark.parametrize(
    "claim",
    [
        "ab",
        ("claim",),
        ("claim", " "),
        ("", "criterion"),
        ("claim", 0.05),
        ("a", "b", 0.05, 1),
        ("a", "b", 2),
    ],
)
def test_a_claim_without_words_or_criterion_is_refused(claim):
    with pytest.raises(ValueError, match="H1: give"):
        Plan("Chapter 0", {"H1": claim})


def test_only_a_claim_of_the_plan_can_be_fragile():
    with pytest.raises(ValueError, match=r"fragile names \['H9'\]: give keys of the plan, H1, H2, H3"):
        Plan("Chapter 0", CLAIMS, fragile=("H3", "H9"))


def test_the_summary_counts_what_held_and_tells_what_did_not(plan, capsys):
    plan.report("H3", "+0.04", False)
    plan.report("H1", "+1.0", True)
    capsys.readouterr()
    plan.summary("GPT-2")
    assert capsys.readouterr().out.splitlines() == [
        "1 of 3 claims held on GPT-2.",
        "What did not hold is a finding, not an accident to be hidden:",
        "   H3: more is better (fragile on SmolLM2-135M)",
        "No verdict yet: H2",
    ]


def test_the_record_is_plain_data_of_which_nothing_is_lost_in_json(plan):
    plan.report("H1", Estimate(2.5, 1.97, 3.02), np.True_)
    plan.report("H2", "0 of 19", np.False_, p=np.float32(0.25))
    assert json.loads(json.dumps(plan.record())) == {
        "title": "Chapter 0",
        "claims": {key: list(claim[:2]) for key, claim in CLAIMS.items()},
        "smallest_p": {"H2": 0.05},
        "fragile": ["H3"],
        "verdicts": {
            "H1": {"found": "+2.50 [+1.97, +3.02]", "held": True, "p": None},
            "H2": {"found": "0 of 19", "held": False, "p": 0.25},
        },
    }
    assert plan.fragile == {"H3"}
