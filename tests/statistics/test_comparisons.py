from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UserError
from holdfast.statistics.comparisons import Comparison, RowStatistic, compare, holm, holm_verdicts, seed_interval
from holdfast.statistics.intervals import Interval, bootstrap, mean_t
from holdfast.statistics.means import weighted_mean

MEAN = RowStatistic()


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def width(interval: Interval) -> float:
    return interval.high - interval.low


def shared_rows(rng, gain=0.0, n_seeds=5, n_rows=100, seed_noise=0.03, row_noise=0.5, own_noise=0.0):
    """Scores of A and B whose difference has an effect per seed, one per row, and one of its own."""
    b = rng.normal(size=(n_seeds, n_rows))
    effect = seed_noise * rng.normal(size=(n_seeds, 1)) + row_noise * rng.normal(size=(1, n_rows))
    return b + gain + effect + own_noise * rng.normal(size=(n_seeds, n_rows)), b


def coverage(statistic=MEAN, draws=300, **world):
    """Share of worlds in which the interval, and the paired t over seeds alone, hold the true gain of 0.1."""
    rng, nested, seeds_alone = generator(1), 0, 0
    for _ in range(draws):
        a, b = shared_rows(rng, gain=0.1, **world)
        nested += compare(a, b, statistic, rng=rng, replicates=200).interval.contains(0.1)
        seeds_alone += mean_t((a - b).mean(1)).contains(0.1)
    return nested / draws, seeds_alone / draws


def test_covers_with_noise_of_rows_and_seeds_where_seeds_alone_do_not():
    nested, seeds_alone = coverage()
    assert 0.92 <= nested <= 0.98
    assert seeds_alone < 0.8


def test_covers_with_noise_of_seeds_alone():
    nested, seeds_alone = coverage(row_noise=0.0, seed_noise=0.05)
    assert 0.92 <= nested <= 0.98
    assert 0.92 <= seeds_alone <= 0.98


def test_covers_with_noise_of_rows_alone_and_few_of_them():
    nested, seeds_alone = coverage(seed_noise=1e-6, n_rows=8)
    assert 0.92 <= nested <= 0.98
    assert seeds_alone < 0.05


def test_is_cautious_where_every_seed_has_its_own_row_noise():
    nested, _ = coverage(own_noise=1.0, row_noise=0.0, seed_noise=0.0)
    assert nested >= 0.95


def test_covers_with_clustered_rows_only_when_told_of_the_clusters():
    rng, told, untold = generator(2), 0, 0
    units = np.repeat(np.arange(40), 10)
    for _ in range(200):
        a, b = shared_rows(rng, n_rows=40, seed_noise=0.0)
        a, b = np.repeat(a, 10, axis=1), np.repeat(b, 10, axis=1)
        told += compare(a, b, RowStatistic(units=units), rng=rng, replicates=200).interval.contains(0)
        untold += compare(a, b, MEAN, rng=rng, replicates=200).interval.contains(0)
    assert 0.91 <= told / 200 <= 0.985
    assert untold / 200 < 0.7


def test_verdicts_are_rarely_wrong_and_often_right():
    rng = generator(3)
    equal = [compare(*shared_rows(rng), MEAN, rng=rng, replicates=200).verdict for _ in range(200)]
    gained = [compare(*shared_rows(rng, gain=0.3), MEAN, rng=rng, replicates=200).verdict for _ in range(50)]
    assert equal.count("undecided") / 200 >= 0.92
    assert gained.count("better") / 50 > 0.9
    assert "worse" not in gained


def test_the_worst_of_tied_groups_is_covered_because_its_bias_is_removed():
    rng, groups, held = generator(4), np.repeat(np.arange(4), 50), 0
    statistic = RowStatistic(groups=groups)
    for _ in range(150):
        rows = rng.random(200)
        flips = rng.random((5, 200)) < 0.1
        scores = np.where(flips, rng.random((5, 200)), rows) < 0.8
        held += seed_interval(scores, statistic, rng=rng, replicates=200).contains(0.8)
    assert held / 150 > 0.85  # less than half without


def test_swapping_the_methods_mirrors_the_result():
    a, b = shared_rows(generator(5), gain=0.3)
    forth, back = compare(a, b, MEAN, rng=generator()), compare(b, a, MEAN, rng=generator())
    assert back.difference == pytest.approx(-forth.difference)
    assert (back.interval.low, back.interval.high) == pytest.approx(
        (-forth.interval.high, -forth.interval.low), abs=0.02
    )
    assert (forth.verdict, back.verdict) == ("better", "worse")


def test_lower_is_better_turns_the_verdict_only():
    a, b = shared_rows(generator(6), gain=0.3)
    higher = compare(a, b, MEAN, rng=generator())
    lower = compare(a, b, RowStatistic(higher_is_better=False), rng=generator())
    assert (higher.verdict, lower.verdict) == ("better", "worse")
    assert (higher.interval, higher.p_value) == (lower.interval, lower.p_value)


@pytest.mark.parametrize(("n_seeds", "verdict"), [(1, "undecided"), (4, "undecided"), (5, "better")])
def test_no_verdict_under_five_seeds(n_seeds, verdict):
    a, b = shared_rows(generator(7), gain=5.0, n_seeds=n_seeds)
    result = compare(a, b, MEAN, rng=generator())
    assert (result.verdict, result.n_seeds) == (verdict, n_seeds)
    assert not result.interval.contains(0)


def test_few_rows_cannot_decide_however_many_seeds():
    rng = generator(8)
    for n_rows, verdict in ((5, "undecided"), (12, "better")):
        b = rng.normal(size=(20, n_rows))
        result = compare(b + 10 + 0.01 * rng.normal(size=(20, n_rows)), b, MEAN, rng=rng)
        assert result.verdict == verdict
        assert result.p_value >= 2.0 ** (1 - n_rows)


def test_a_tiny_group_cannot_decide_among_many_rows():
    rng = generator(19)
    b = rng.normal(size=(5, 100))
    a, tiny = b + 5 + rng.normal(size=(5, 100)), (np.arange(100) >= 97).astype(int)
    result = compare(a, b, RowStatistic(groups=tiny), rng=rng)
    assert result.verdict == "undecided"
    assert result.p_value >= 0.25


def test_an_estimate_and_an_interval_on_opposite_sides_of_zero_decide_nothing():
    """A's worst is the least of 100 noisy equal groups: the bias removed is larger than the difference."""
    rng = generator(11)
    groups = np.r_[np.zeros(1000, int), 1 + np.arange(2000) // 20]
    a = np.repeat(rng.random((1, 3000)) < np.where(groups == 0, 0.99, 0.8), 5, axis=0)
    b = np.repeat([np.where(groups == 0, np.arange(3000) % 100 < 66, True)], 5, axis=0)
    result = compare(a, b, RowStatistic(groups=groups), rng=rng)
    assert result.difference < 0 < result.interval.low
    assert result.p_value < 0.05
    assert result.verdict == "undecided"


def test_equal_methods_and_single_rows_are_undecided_without_an_interval():
    a, _ = shared_rows(generator(9))
    same, shifted, one_row = (a, a), (a + 0.1, a), (a[:, :1] + 1, a[:, :1])
    for pair in (same, shifted, one_row):
        result = compare(*pair, MEAN, rng=generator())
        assert result.verdict == "undecided"
        assert result.interval.low is None
        assert np.isnan(result.p_value)


def test_a_broken_score_is_undecided_unless_it_is_left_out():
    a, b = shared_rows(generator(10), gain=1.0)
    a[2, 7] = np.inf
    assert compare(a, b, MEAN, rng=generator()).interval.kind == "none (a score is not finite)"
    rows = np.arange(100) != 7
    for statistic in (RowStatistic(weights=rows.astype(float)), RowStatistic(groups=np.where(rows, 0, -1))):
        assert compare(a, b, statistic, rng=generator()).difference == pytest.approx((a - b)[:, rows].mean())


@pytest.mark.parametrize("higher", [True, False])
def test_the_difference_is_that_of_worst_finished_group_means(higher):
    rng = generator(11)
    a, b, groups, weights = rng.random((5, 60)), rng.random((5, 60)), rng.integers(-1, 3, 60), rng.random(60)
    statistic = RowStatistic(higher_is_better=higher, finish=np.sqrt, groups=groups, weights=weights)
    worst = min if higher else max

    def by_hand(scores):
        return worst(np.average(scores[groups == g], weights=weights[groups == g]) ** 0.5 for g in range(3))

    wanted = np.mean([by_hand(x) - by_hand(y) for x, y in zip(a, b, strict=True)])
    assert compare(a, b, statistic, rng=rng, replicates=50).difference == pytest.approx(wanted)


def test_missing_group_ids_change_nothing():
    a, b = shared_rows(generator(12))
    near, far = np.arange(100) % 2, 7 * (np.arange(100) % 2)
    results = [compare(a, b, RowStatistic(groups=g), rng=generator()) for g in (near, far)]
    assert results[0] == results[1]


def test_replicates_are_the_exact_resampling_distribution():
    """Three rows, one seed: all 27 resamples by hand."""
    scores = np.array([[0.0, 1.0, 5.0]])
    exact = [np.mean(rows) for rows in itertools.product(scores[0], repeat=3)]
    interval = seed_interval(scores, MEAN, rng=generator(), replicates=20000, level=0.5)
    stretched = np.outer(np.array(exact) - 2, np.sqrt(3 / generator(1).chisquare(2, 5000))).ravel() + 2
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(stretched, [0.25, 0.75])), abs=0.05)


def test_one_seed_is_the_bootstrap_and_many_rows_the_t():
    rng = generator(13)
    scores = rng.normal(size=(1, 300))
    alone, plain = (
        seed_interval(scores, MEAN, rng=rng, replicates=5000),
        bootstrap(lambda w: weighted_mean(scores[0], w), 300, rng=rng, replicates=5000),
    )
    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high), abs=0.01)
    assert alone.kind == "bootstrap of one seed"
    level = rng.normal(size=6)
    several = seed_interval(np.tile(level[:, None], (1, 50)), MEAN, rng=rng, replicates=5000)
    student = mean_t(level)
    assert (several.low, several.high) == pytest.approx((student.low, student.high), abs=0.05)
    assert several.kind == "student-t with nested bootstrap"
    assert (
        seed_interval(scores, RowStatistic(units=np.arange(300) // 3), rng=rng).kind == "cluster bootstrap of one seed"
    )


def test_pairing_removes_what_methods_share():
    rng = generator(14)
    b = 10 * rng.normal(size=(1, 200)) + 5 * rng.normal(size=(5, 1))
    a = b + 0.1 * rng.normal(size=(5, 200))
    assert width(compare(a, b, MEAN, rng=rng).interval) < 0.02 * width(seed_interval(a, MEAN, rng=rng))


def test_the_generator_alone_decides():
    a, b = shared_rows(generator(15))
    assert compare(a, b, MEAN, rng=generator(1)) == compare(a, b, MEAN, rng=generator(1))
    assert compare(a, b, MEAN, rng=generator(1)) != compare(a, b, MEAN, rng=generator(2))


def test_p_value_and_interval_agree():
    rng = generator(16)
    for gain in np.linspace(0, 0.4, 20):
        result = compare(*shared_rows(rng, gain=gain), MEAN, rng=rng, level=0.9)
        assert result.interval.contains(0) == (result.p_value > 0.1)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (np.ones((5, 3)), np.ones((5, 4)), {}, "same seeds and rows"),
        (np.ones((5, 3)), np.ones((4, 3)), {}, "same seeds and rows"),
        (np.ones(3), np.ones(3), {}, "S seeds, N rows"),
        (np.ones((0, 3)), np.ones((0, 3)), {}, "S seeds, N rows"),
        (np.ones((5, 3)), np.ones((5, 3)), {"groups": [0, 1]}, "groups must be"),
        (np.ones((5, 3)), np.ones((5, 3)), {"groups": []}, "groups must be"),
        (np.ones((5, 3)), np.ones((5, 3)), {"groups": [0, 1, -2]}, "out of range"),
        (np.ones((5, 3)), np.ones((5, 3)), {"units": [0.0, 1.0, 2.0]}, "units must be"),
        (np.ones((5, 3)), np.ones((5, 3)), {"weights": [0, 1]}, "weights must be"),
    ],
)
def test_wrong_inputs_are_named(a, b, options, message):
    with pytest.raises(UserError, match=message):
        compare(a, b, RowStatistic(**options), rng=generator())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_holm_is_its_definition(p_values):
    order = np.argsort(p_values, kind="stable")
    m, running, wanted = len(p_values), 0.0, np.empty(len(p_values))
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (m - rank) * p_values[i]))
        wanted[i] = running
    np.testing.assert_allclose(holm(p_values), wanted, rtol=1e-12)


def test_holm_controls_false_rejections_and_beats_bonferroni():
    p = np.sort(generator(17).random((4000, 6)), axis=1)
    rejected = np.array([(holm(row) < 0.05).any() for row in p])
    assert rejected.mean() == pytest.approx(0.05, abs=0.012)
    assert (holm([0.01, 0.02, 0.04]) <= np.minimum(3 * np.array([0.01, 0.02, 0.04]), 1)).all()
    assert holm([]).shape == (0,)


def test_a_table_revises_verdicts_and_only_to_undecided():
    def won(p, verdict="better"):
        return Comparison(0.1, Interval(0.01, 0.2, 0.95, "k"), p, 5, verdict)

    revised = holm_verdicts([won(0.001), won(0.03, "worse"), won(0.02), won(0.4, "undecided"), won(float("nan"))])
    assert [c.verdict for c in revised] == ["better", "undecided", "undecided", "undecided", "undecided"]
    assert [c.adjusted_p for c in revised][:4] == pytest.approx([0.004, 0.06, 0.06, 0.4])
    assert [c.p_value for c in revised][:2] == [0.001, 0.03]
    few = holm_verdicts([Comparison(0.1, Interval(0.01, 0.2, 0.95, "k"), 1e-6, 3, "undecided")])
    assert few[0].verdict == "undecided"
