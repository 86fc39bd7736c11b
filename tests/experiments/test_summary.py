"""Summaries of synthetic runs whose truth is known."""

from __future__ import annotations

import dataclasses
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from holdfast.core.errors import HoldfastError
from holdfast.core.evaluation import Measurement
from holdfast.experiments.summary import summarise
from holdfast.statistics import holm, mean_t, simultaneous_level

SYNTHETIC = runpy.run_path(str(Path(__file__).parents[1] / "reports" / "synthetic.py"))
make_run = SYNTHETIC["make_run"]
FEW = {"erm": 0.6, "balanced": 0.8, "same": 0.6}


@pytest.fixture(scope="module")
def run():
    return make_run()


@pytest.fixture(scope="module")
def summary(run):
    return summarise(run)


def values(run, method, split, fold=""):
    cells = [c for c in run.cells if c.method == method and c.fold == fold]
    return np.array([c.scores[split].values for c in sorted(cells, key=lambda c: c.seed)])


def test_scores_are_means_over_seeds(run, summary):
    for method in run.methods:
        for split in ("train", "test"):
            estimate = summary.score(method, split).estimate
            assert estimate.value == pytest.approx(values(run, method, split).mean(1).mean())
            assert estimate.low <= estimate.value <= estimate.high
            assert (estimate.n_seeds, estimate.n_rows) == (5, values(run, method, split).shape[1])


def test_rmse_is_the_mean_over_seeds_of_roots():
    run = make_run("regression", FEW)
    estimate = summarise(run).score("erm", "test").estimate
    assert estimate.value == pytest.approx(np.sqrt(values(run, "erm", "test").mean(1)).mean())


def test_drops_are_losses_whatever_the_metric(run, summary):
    inside, outside = (values(run, "erm", split).mean() for split in ("test-same", "test"))
    assert summary.drop("erm", "test").estimate.value == pytest.approx(inside - outside)
    errors = make_run("regression", FEW)
    inside, outside = (np.sqrt(values(errors, "erm", s).mean(1)).mean() for s in ("test-same", "test"))
    drop = summarise(errors).drop("erm", "test").estimate
    assert drop.value == pytest.approx(outside - inside)
    assert drop.low > 0


def test_the_source_is_an_unshifted_test_or_else_the_selection_rows(run, summary):
    assert (summary.source, summary.targets) == ("test-same", ("test",))
    without = [
        dataclasses.replace(c, scores={k: v for k, v in c.scores.items() if k != "test-same"}) for c in run.cells
    ]
    assert summarise(dataclasses.replace(run, cells=tuple(without))).source == "selection"
    train_only = [dataclasses.replace(c, scores={"train": c.scores["train"]}) for c in run.cells]
    alone = summarise(dataclasses.replace(run, cells=tuple(train_only)))
    assert (alone.source, alone.targets, alone.drops) == (None, ("train",), ())


def test_the_worst_group_is_the_least_with_a_simultaneous_interval(run, summary):
    score = summary.score("erm", "test")
    rows = run.cells[0].scores["test"]
    means = [values(run, "erm", "test")[:, rows.group == g].mean() for g in range(5)]
    assert [p.estimate.value for p in score.groups] == pytest.approx(means)
    worst = score.worst_group
    assert (worst.name, worst.estimate.value) == ("red", pytest.approx(min(means)))
    assert worst.estimate.low == min(p.estimate.low for p in score.groups)
    assert worst.estimate.high == min(p.estimate.high for p in score.groups)
    assert score.groups[0].estimate.level == simultaneous_level(0.95, 5)
    assert worst.estimate.level == 0.95
    assert worst.estimate.interval.startswith("simultaneous student-t with nested bootstrap")
    assert "over 5 groups" in worst.estimate.interval
    assert score.worst_environment is None  # there is one only


def test_the_worst_error_is_the_largest():
    score = summarise(make_run("regression", FEW)).score("erm", "test")
    assert score.worst_group.estimate.value == max(p.estimate.value for p in score.groups)
    assert score.worst_group.estimate.low == max(p.estimate.low for p in score.groups)


def test_verdicts_are_against_the_baseline_and_after_holm(summary):
    against = {c.method: c for c in summary.contrasts if c.kind == "baseline"}
    assert list(against) == [m for m in summary.methods if m != "erm"]
    assert against["balanced"].verdict == "better"
    assert against["group-dro"].verdict == "undecided"
    assert against["group-dro"].reason == "the interval contains 0"
    assert [c.adjusted_p for c in summary.contrasts] == pytest.approx(holm([c.p_value for c in summary.contrasts]))
    best = next(c for c in summary.contrasts if c.kind == "best")
    assert (best.method, best.reference) == ("balanced", "erm+dfr")
    assert summary.ranking("test")[:2] == ("balanced", "erm+dfr")


def test_lower_errors_are_better():
    summary = summarise(make_run("regression", FEW))
    contrast = summary.against_baseline("balanced", "test")
    assert contrast.verdict == "better"
    assert contrast.difference.high < 0
    assert any(s.startswith("balanced beats erm on test by 0.") for s in summary.findings)
    assert not any("−" in s for s in summary.findings if s.startswith("balanced beats"))


def test_an_equal_method_is_undecided_and_a_worse_one_worse():
    summary = summarise(make_run(methods={"balanced": 0.8, "erm": 0.6}))
    contrast = summary.against_baseline("erm", "test")
    assert contrast.verdict == "worse"
    assert any(s.startswith("erm is worse than balanced on test by") for s in summary.findings)


def test_correction_can_take_a_verdict_back():
    # Differences near the threshold: alone decided, among many undecided.
    methods = {"erm": 0.6} | {f"m{k}": 0.6 + 0.012 * k for k in range(1, 8)}
    contrasts = summarise(make_run(methods=methods)).contrasts
    taken = [c for c in contrasts if c.p_value < 0.05 <= c.adjusted_p]
    assert taken
    assert all(c.verdict == "undecided" for c in taken)
    assert any(c.reason.startswith("not after correction") for c in taken)


def test_nothing_is_better_under_five_seeds():
    summary = summarise(make_run(methods=FEW, seeds=4))
    assert {c.verdict for c in summary.contrasts} == {"undecided"}
    assert summary.against_baseline("balanced", "test").reason == "fewer than five seeds"
    assert "With 4 seeds no method is called better or worse than another: 5 are needed." in summary.findings
    told = [s for s in summary.findings if s.startswith("Against erm on test nothing is decided of balanced")]
    assert len(told) == 1


@pytest.mark.parametrize("seeds", [1, 4])
def test_no_loss_or_gain_is_claimed_under_five_seeds(seeds):
    told = summarise(make_run(methods=FEW, seeds=seeds)).findings
    assert told[0].startswith("erm has ")
    assert f"called neither loss nor gain with {seeds} seed" in told[0]
    claims = ("loses", "No method keeps", " beats ", " is worse than ", "is better by")
    assert not any(claim in sentence for sentence in told for claim in claims)


def test_no_loss_is_claimed_without_an_interval():
    cells = []
    for cell in make_run(methods={"erm": 0.6}).cells:
        scores = {k: dataclasses.replace(v, units=np.zeros_like(v.units)) for k, v in cell.scores.items()}
        cells.append(dataclasses.replace(cell, scores=scores))
    told = summarise(dataclasses.replace(make_run(methods={"erm": 0.6}), cells=tuple(cells))).findings
    assert "called neither loss nor gain without an interval: none (1 unit of rows)" in told[0]
    assert "without an interval on" in next(s for s in told if s.startswith("The worst group"))


def test_one_seed_has_intervals_of_rows():
    summary = summarise(make_run(methods=FEW, seeds=1))
    assert summary.score("erm", "test").estimate.interval == "bootstrap of one seed"
    assert summary.secondary[0].estimates["erm"].n_seeds == 1


def test_folds_are_averaged_and_every_environment_is_tested_once():
    folds = ("north", "south", "east")
    run = make_run(methods=FEW, folds=folds, environments=("north", "south"))
    summary = summarise(run)
    score = summary.score("erm", "test")
    by_fold = {fold: values(run, "erm", "test", fold).mean() for fold in folds}
    assert score.estimate.value == pytest.approx(np.mean(list(by_fold.values())))
    assert {p.name: p.estimate.value for p in score.environments} == pytest.approx(by_fold)
    assert [p.estimate.n_rows for p in score.environments] == [540] * 3
    assert summary.splits[-1].n_rows == 3 * 540
    assert score.worst_environment.name == min(by_fold, key=by_fold.get)
    assert any("held out in turn, in 3 folds" in s for s in summary.findings)


def test_a_seed_counts_only_with_all_its_folds():
    run = make_run(methods=FEW, folds=("a", "b"), skip=[("balanced", 2, "a")])
    summary = summarise(run)
    assert summary.seeds["balanced"] == (0, 1, 3, 4)
    assert summary.against_baseline("balanced", "test").difference.n_seeds == 4
    assert "balanced finished 4 of 5 seeds: its numbers are over these." in summary.findings


def test_a_method_without_cells_is_told():
    run = make_run(methods=FEW, skip=[("balanced", seed, "") for seed in range(5)])
    summary = summarise(run)
    assert math.isnan(summary.score("balanced", "test").estimate.value)
    assert summary.against_baseline("balanced", "test").reason == "no seed that both finished"
    assert "balanced has no seed that finished." in summary.findings
    assert "balanced" not in summary.ranking("test")


@pytest.mark.parametrize("broken", ["erm", "balanced"])
def test_a_method_that_diverged_has_no_number(broken):
    summary = summarise(make_run("regression", FEW, broken=broken))
    score = summary.score(broken, "test")
    assert math.isnan(score.estimate.value)
    assert (score.estimate.low, score.worst_group) == (None, None)
    assert f"{broken} gave predictions that are not numbers: it has no value." in summary.findings
    assert summary.against_baseline("balanced", "test").verdict == "undecided"
    assert not any("nan" in s.lower().split() for s in summary.findings)


def test_rows_of_unknown_unit_are_their_own_units(run):
    cells = []
    for cell in run.cells:
        rows = cell.scores["test"]
        # The known units have the numbers of the other rows' ids, which are something else.
        units = np.where(np.arange(len(rows.index)) % 2, -1, rows.index + 1)
        cells.append(dataclasses.replace(cell, scores={"test": dataclasses.replace(rows, units=units)}))
    estimate = summarise(dataclasses.replace(run, cells=tuple(cells))).score("erm", "test").estimate
    assert estimate.interval == "student-t with nested bootstrap"


def test_rows_that_are_tested_in_two_folds_are_one_unit():
    run = make_run(methods=FEW, folds=("a", "b"))
    same = {(c.method, c.seed): c.scores["test"] for c in run.cells if c.fold == "a"}
    cells = tuple(dataclasses.replace(c, scores={"test": same[c.method, c.seed]}) for c in run.cells)
    twice = summarise(dataclasses.replace(run, cells=cells)).score("erm", "test").estimate
    once = summarise(dataclasses.replace(run, cells=tuple(c for c in cells if c.fold == "a")))
    once = once.score("erm", "test").estimate
    assert twice.value == pytest.approx(once.value)
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.1)
    assert "cluster" in twice.interval


def test_other_rows_are_refused(run):
    cell = run.cells[7]
    rows = cell.scores["test"]
    moved = {**cell.scores, "test": dataclasses.replace(rows, index=rows.index + 1)}
    cells = (*run.cells[:7], dataclasses.replace(cell, scores=moved), *run.cells[8:])
    with pytest.raises(HoldfastError, match="not scored on the rows of 'test'"):
        summarise(dataclasses.replace(run, cells=cells))
    lost = {split: rows for split, rows in cell.scores.items() if split != "test"}
    cells = (*run.cells[:7], dataclasses.replace(cell, scores=lost), *run.cells[8:])
    with pytest.raises(HoldfastError, match="not scored"):
        summarise(dataclasses.replace(run, cells=cells))
    with pytest.raises(HoldfastError, match="nothing to report"):
        summarise(dataclasses.replace(run, cells=()))


def test_secondary_metrics_are_means_over_seeds(run, summary):
    row = next(r for r in summary.secondary if (r.metric, r.split) == ("log-loss", "test"))
    found = [m.value for c in run.cells if c.method == "erm" for m in c.measurements if m.split == "test"][::2]
    interval = mean_t(found)
    estimate = row.estimates["erm"]
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((np.mean(found), interval.low, interval.high))
    assert not row.higher_is_better


def test_parts_are_listed_only_for_metrics_without_one_number(run):
    cell = run.cells[0]
    more = (
        Measurement("log-loss", 0.3, "test", 10, environment="x"),
        Measurement("flips", 0.2, "test", 10, environment="x"),
        Measurement("flips", 0.2, "test", 10, environment="y", group="g"),
        Measurement("worst-group", 0.2, "test", 10, group="x"),
    )
    cell = dataclasses.replace(cell, measurements=(*cell.measurements, *more))
    rows = summarise(dataclasses.replace(run, cells=(cell, *run.cells[1:]))).secondary
    assert [(r.metric, r.part) for r in rows if r.part] == [("flips", "x"), ("flips", "y / g")]
    assert [r.part for r in rows if r.metric == "worst-group"] == [""]


def with_measurements(run, make):
    """The run whose cells hold only what ``make`` measures of them."""
    cells = (dataclasses.replace(c, measurements=(make(c),)) for c in run.cells)
    return summarise(dataclasses.replace(run, cells=tuple(cells))).secondary[0]


def test_the_worst_of_folds_is_named_and_no_mean_of_the_folds_worsts():
    worsts = {"a": ("north", 0.9), "b": ("south", 0.5), "c": ("east", 0.7)}

    def measured(cell):
        name, value = worsts[cell.fold]
        return Measurement("worst-environment-accuracy", value + 0.01 * cell.seed, "test", 10, environment=name)

    row = with_measurements(make_run(methods=FEW, folds=tuple(worsts)), measured)
    estimate = row.estimates["erm"]
    assert (estimate.value, estimate.n_seeds, estimate.n_rows) == (pytest.approx(0.52), 5, 10)
    assert row.picked["erm"] == ("south",)
    alone = with_measurements(make_run(methods=FEW, folds=tuple(worsts), seeds=1), measured).estimates["erm"]
    assert (alone.value, alone.low, alone.interval) == (0.5, None, "none (the worst of several folds)")


def test_of_folds_a_secondary_metric_is_the_mean_and_the_interval_is_over_seeds():
    row = with_measurements(
        make_run(methods=FEW, folds=("a", "b")),
        lambda c: Measurement("log-loss", c.seed + 10.0 * (c.fold == "b"), "test", 10, higher_is_better=False),
    )
    interval = mean_t([5.0, 6.0, 7.0, 8.0, 9.0])
    estimate = row.estimates["erm"]
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((7.0, interval.low, interval.high))
    assert (estimate.n_seeds, estimate.n_rows, row.picked) == (5, 20, {})


def test_json_is_plain_and_complete(summary):
    text = json.dumps(summary.as_dict(), allow_nan=False)
    back = json.loads(text)
    assert back["contrasts"][1]["verdict"] == "better"
    assert back["scores"][0]["estimate"]["n_seeds"] == 5
    broken = summarise(make_run("regression", FEW, broken="erm")).as_dict()
    assert json.loads(json.dumps(broken, allow_nan=False))["scores"][0]["estimate"]["value"] is None


def test_equal_runs_give_equal_summaries_and_methods_do_not_touch_each_other(run, summary):
    assert summarise(run) == summary
    fewer = dataclasses.replace(
        run, methods=run.methods[:2], cells=tuple(c for c in run.cells if c.method in run.methods[:2])
    )
    assert summarise(fewer).score("erm", "test") == summary.score("erm", "test")


def test_findings_tell_the_loss_the_gain_and_who_is_worst(summary):
    told = summary.findings
    assert told[0].startswith("erm loses 42.6 points [")
    assert "% on test-same" in told[0]
    assert any(s.startswith("balanced beats erm on test by 24.8 points [") for s in told)
    assert any("no gain over erm is shown for group-dro (−1.0 points [" in s for s in told)
    assert any(s.startswith("The worst group on test is 'red' under erm, 34.0 % [") for s in told)


def test_an_oracle_and_unequal_tuning_are_told(run):
    trials = dict.fromkeys(run.methods, 1) | {"balanced": 20}
    told = summarise(dataclasses.replace(run, rule="oracle", rule_oracle=True, trials=trials)).findings
    assert "upper bound, not a result" in told[0]
    assert any("not tuned equally" in s and "balanced 20" in s for s in told)


def test_a_gain_and_no_change_are_not_called_a_loss():
    def findings(rate):
        run = make_run(methods={"erm": 0.6})
        cells = []
        for c in run.cells:
            rows = c.scores["test-same"]
            same = np.random.default_rng(c.seed).random(rows.values.size) < rate
            scores = {**c.scores, "test-same": dataclasses.replace(rows, values=same.astype(float))}
            cells.append(dataclasses.replace(c, scores=scores))
        return summarise(dataclasses.replace(run, cells=tuple(cells))).findings

    assert findings(0.61)[0].startswith("No loss is shown for erm")
    assert findings(0.2)[0].startswith("erm is better by ")
