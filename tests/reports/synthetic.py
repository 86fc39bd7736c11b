"""Run results with known truth: what the tests of summaries and reports are made from."""

from __future__ import annotations

import dataclasses

import numpy as np

from holdfast.core.artifacts import Curve, ImageGrid, Matrix, Table
from holdfast.core.evaluation import Measurement
from holdfast.experiments.results import CellResult, RowScores, RunResult, TaskSummary
from holdfast.training.records import Record

STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 400)
METHODS = {"erm": 0.60, "group-dro": 0.60, "balanced": 0.76, "erm+dfr": 0.70, "and-mask:threshold=0.8": 0.59}
"""Methods and their true accuracy on the shifted test (one minus that is the mean squared error in regression)."""

COLORS = ("red", "yellow", "mauve", "sage", "sky")
SPLITS = {
    "train": ("train", False, 300),
    "selection": ("selection", False, 140),
    "test-same": ("test", False, 140),
    "test": ("test", True, 540),
}


def make_run(
    kind="classification",
    methods=METHODS,
    seeds=5,
    folds=("",),
    environments=("strength 0.99", "strength 0.90"),
    skip=(),
    broken=None,
    **changes,
) -> RunResult:
    """A run of methods × seeds × folds.

    Args:
        skip: (method, seed, fold) of cells that did not finish.
        broken: A method whose seed 0 gives no numbers.
        changes: Of the fields of the run.
    """
    cells = []
    for fold_number, fold in enumerate(folds):
        # Difficulty of rows is shared by methods and seeds, so that pairing has something to gain.
        for method_number, (method, truth) in enumerate(methods.items()):
            for seed in range(seeds):
                if (method, seed, fold) not in skip:
                    rng = np.random.default_rng([fold_number, method_number, seed])
                    scores = {
                        split: _scores(split, kind, truth, rng, fold_number, fold, environments) for split in SPLITS
                    }
                    if method == broken and seed == 0:
                        scores = {k: dataclasses.replace(v, values=v.values * np.nan) for k, v in scores.items()}
                    cells.append(_cell(method, seed, fold, kind, scores, rng))
    run = RunResult(
        command="holdfast run colored-digits --method " + ",".join(methods) + f" --seeds {seeds}",
        task=_task(kind),
        methods=tuple(methods),
        cells=tuple(cells),
        rule="validation",
        trials=dict.fromkeys(methods, 1),
        warnings=("a test environment has only 12 rows: its numbers are rough",),
    )
    return dataclasses.replace(run, **changes)


def _scores(split, kind, truth, rng, fold_number, fold, environments) -> RowScores:
    role, shifted, n = SPLITS[split]
    rows = np.random.default_rng([7, fold_number, list(SPLITS).index(split)])
    difficulty, color = rows.random(n), rows.integers(len(COLORS), size=n)
    rate = truth + 0.03 * rng.normal() if shifted else 0.975 + 0.005 * rng.normal()
    rate = rate - 0.2 * (color == 0) * shifted
    if kind == "classification":
        values = (0.7 * difficulty + 0.3 * rng.random(n) < rate).astype(float)
    else:
        values = (1.05 - rate) * (0.5 * rows.chisquare(1, n) + 0.5 * rng.chisquare(1, n))
    named = (fold,) if shifted and fold else ("misleading colors",) if shifted else environments
    return RowScores(
        split=split,
        role=role,
        shifted=shifted,
        metric="accuracy" if kind == "classification" else "rmse",
        values=values,
        index=np.arange(n) + 1000 * list(SPLITS).index(split) + 10_000 * fold_number,
        units=np.arange(n) + 1000 * list(SPLITS).index(split) + 10_000 * fold_number,
        environment=rows.integers(len(named), size=n),
        environment_names=tuple(named),
        group=color,
        group_names=COLORS,
    )


def _cell(method, seed, fold, kind, scores, rng) -> CellResult:
    metrics = ("log-loss", "ece") if kind == "classification" else ("mae", "r2")
    measurements = [
        Measurement(m, float(rng.normal(0.5, 0.05)), split, s.values.size, higher_is_better=m == "r2", level=0.95)
        for split, s in scores.items()
        for m in metrics
    ]
    estimator = method == "logistic"
    return CellResult(
        key=f"{method[:3]}{seed}{fold[:2]}" + "0" * 12,
        task="colored-digits",
        fold=fold,
        method=method,
        seed=seed,
        selected=None if estimator else (100, 200, 400)[seed % 3],
        measurements=tuple(measurements),
        artifacts={"calibration": (_reliability(rng), _confusion(rng))} if seed == 0 else {},
        records=() if estimator else tuple(_records(scores, kind, rng)),
        scores=scores,
        history=(),
        ledger={
            "steps": 400,
            "gradients": 51_200,
            "forwards": 51_200,
            "labels": {"train": 826, "holdout": 140} if "dfr" in method else {"train": 826},
            "seconds": {"erm": 0.9 + 0.01 * seed},
        },
        spec={"method": method, "seed": seed},
        provenance={
            "versions": {"python": "3.11.7", "torch": "2.13.0", "commit": "71f0592"},
            "machine": "Linux x86_64",
            "finished": f"2026-11-20T20:{seed:02d}:00+00:00",
        },
    )


def _records(scores, kind, rng):
    for split, rows in scores.items():
        final = rows.values.mean()
        for step in STEPS:
            risen = final * (1 - np.exp(-step / 30)) + (0.1 * np.exp(-step / 30) if kind == "classification" else 0)
            for environment in (None, *rows.environment_names):
                score = float(risen + 0.01 * rng.normal())
                score = score if kind == "classification" else -abs(3 - score)
                yield Record(step, split, rows.role, environment, None, score, 1.0 - score, rows.values.size)


def _task(kind) -> TaskSummary:
    picture = tuple(tuple((0.9 * (x == y), 0.2, 0.1) for x in range(8)) for y in range(8))
    images = tuple(picture for _ in range(30))
    captions = tuple(f"environment {k // 10}: {k % 10}, red" for k in range(30))
    table = tuple(tuple(0.92 if i == j else 0.02 for j in range(5)) for i in range(10))
    return TaskSummary(
        reference="colored-digits",
        kind=kind,
        question="Which digit is it, when color no longer goes with the label as it did in training?",
        stable="the shape of the digit",
        shortcut="its color, the label's own with probability 0.99 or 0.9 in training",
        notes=("colors of the test are never the label's",),
        pictures=(
            ImageGrid("Digits of every environment", images, captions, 10, "Rows are environments, columns digits."),
            Matrix(
                "How often each label has each color in training",
                table,
                tuple(map(str, range(10))),
                COLORS,
                "color",
                "label",
                "Share of a label's training rows.",
            ),
        ),
        per_step="2 of 2 training environments, 64 rows of each, unless a method says otherwise",
    )


def _reliability(rng) -> Curve:
    x = tuple(np.linspace(0.1, 1, 10).tolist())
    return Curve(
        "Reliability",
        {"ideal": (x, x), "model": (x, tuple((np.array(x) ** 1.5).tolist()))},
        "confidence",
        "accuracy",
        caption="Rows sorted by confidence in ten bins of equal mass.",
    )


def _confusion(rng) -> Table:
    return Table("Confusion", ("label", "taken for", "rows"), (("3", "8", 12), ("4", "9", 7)), "The worst pairs.")
