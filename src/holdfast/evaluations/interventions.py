"""What a model relies on, by intervention: rows are drawn again with another value of one factor."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from holdfast.core.artifacts import Artifact, ImageGrid, Matrix, Table, nested
from holdfast.core.data import Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import TaskData
from holdfast.core.words import count
from holdfast.evaluations.factor_study import LABEL, Effect, Study, drawn_factors
from holdfast.evaluations.sampled import FEWEST_ROWS, even_rows
from holdfast.evaluations.scored import Level
from holdfast.statistics import interventions as measure
from holdfast.statistics import rate_interval, simultaneous_level
from holdfast.statistics.interventions import Quotient, ratio_of_means
from holdfast.tasks.pictures import as_rgb

MOST_VALUES = 30
"""Factors of more values are left out."""

WORDS = ("of", "for", "by", "on")
"""What stands before a factor in the name of a number."""

SHOWN_ROWS = 3
SHOWN_VALUES = 4


@register
@dataclass(frozen=True, kw_only=True)
class Interventions(Evaluation):
    """What a model relies on, measured by changing one factor of its rows and drawing them again.

    For tasks that draw rows from their factors: each row is drawn again under every value of a factor, with the same
    noise and the same other factors, and so is known what the model would have said. For each factor:

    - *effect share*: how far predictions move (mean total variation over the other values), as a share of what they
      move under all factors together; *largest effect*: how far they move under the value that moves them most;
    - *flip rate*: how often another value changes the class predicted;
    - *counterfactual accuracy*: under the other values, with the label as it was; under another ``label`` the new one;
    - *follow rate*: among rows whose value goes with another class than theirs, the share predicted as that class;
    - *preference*: follow rate over follow rate plus accuracy on those rows, the cue-conflict bias;
    - *reliance*: (m − m_rand) / (m − chance), for balanced accuracy or AUC. In m the factor goes with the label as in
      training, in m_rand it is as frequent but random (*randomised AUC*). All draws are averaged over; what agrees by
      accident is what chance gives, too. Where m is not surely away from chance there is none;
    - *AUC by the factor alone*: the factor goes with the label as in training, all others are those of random rows.

    The numbers are about the images that the task draws. H. Shah, K. Tamuly, A. Raghunathan, P. Jain, P. Netrapalli,
    *The pitfalls of simplicity bias in neural networks*, NeurIPS 2020, arXiv:2006.07710 (randomised AUC); R. Geirhos
    et al., *ImageNet-trained CNNs are biased towards texture*, ICLR 2019, arXiv:1811.12231 (preference); E. Lubana,
    E. Bigelow, R. Dick, D. Krueger, H. Tanaka, *Mechanistic mode connectivity*, ICML 2023, arXiv:2211.08422
    (counterfactuals).

    Rows of all test splits are used, evenly from their environments. Intervals of rates are exact where rows are
    independent, the others normal, with errors over rows or units; for each number they hold together over all factors.

    Attributes:
        factors: Those to look at, ``label`` among them; all that the task draws where none is named.
        max_rows: So many rows are used at most.
        level: Of the intervals.
    """

    version = 2
    kinds = ("classification",)
    factors: tuple[str, ...] = ()
    max_rows: Annotated[int, Range(low=FEWEST_ROWS)] = 1_000
    level: Level = 0.95

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        drawn = drawn_factors(task)
        self._check(drawn)
        rows = even_rows(task, self.max_rows, rng)
        if rows is None or not drawn:
            remark = "no test rows" if drawn else "no factors that the task can draw rows from"
            return Result(findings=(Finding("", f"There are {remark}, so nothing is changed in any row."),))
        study = Study.of(predictor, task, rows, rng)
        names, remarks = _usable(task, study.rows, self.factors or drawn)
        effects = [effect for name in names if (effect := study.effect(name)) is not None]
        silent = [name for name in names if name not in {e.factor for e in effects} and name != LABEL]
        remarks += [f"{name!r} is left out: drawing rows again with another value changes nothing." for name in silent]
        if not effects:
            return Result(findings=tuple(Finding("", remark) for remark in remarks))
        report = _Report(study, effects, self.level, rng)
        findings = (*report.findings(), *(Finding("", remark) for remark in remarks))
        return Result(tuple(report.measurements), tuple(report.artifacts()), findings)

    def _check(self, drawn: Sequence[str]) -> None:
        for name in self.factors:
            if name not in drawn:
                has = f"it draws {', '.join(drawn)}" if drawn else "it draws rows from no factors"
                raise UserError(f"evaluation 'interventions' cannot set {name!r} in this task: {has}")


def _usable(task: TaskData, rows: Dataset, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Factors with at least two and not too many values, and remarks on the others."""
    usable, remarks = [], []
    for name in names:
        levels = len(task.classes) if name == LABEL else len(rows.attributes[name].names)
        if 2 <= levels <= MOST_VALUES:
            usable.append(name)
        else:
            reason = "it has one value, so there is no other to set" if levels < 2 else f"it has {levels} values"
            remarks.append(f"{name!r} is left out: {reason}.")
    return usable, remarks


@dataclass(frozen=True, eq=False)
class _Report:
    """Everything that is said of the factors."""

    study: Study
    effects: Sequence[Effect]
    level: float
    rng: np.random.Generator

    @property
    def each(self) -> float:
        """The level of each interval, so that those of all factors hold together."""
        return simultaneous_level(self.level, len(self.effects))

    @functools.cached_property
    def measured(self) -> dict[str, list[Measurement]]:
        """The numbers of each factor."""
        return {effect.factor: list(self._of(effect)) for effect in self.effects}

    @property
    def measurements(self) -> list[Measurement]:
        return [m for of_factor in self.measured.values() for m in of_factor]

    def _of(self, effect: Effect) -> Iterator[Measurement]:
        study, name = self.study, effect.factor
        weight, unit, ones = study.weight, study.unit, np.ones(len(study.rows))
        total = np.sum([e.moved for e in self.effects], axis=0)
        yield self._estimate(f"effect share of {name}", ratio_of_means(effect.moved, total, weight, unit))
        yield self._estimate(f"largest effect of {name}", ratio_of_means(effect.largest, ones, weight, unit))
        yield self._estimate(f"flip rate of {name}", ratio_of_means(effect.flips, ones, weight, unit))
        right = ratio_of_means(effect.right, ones, weight, unit)
        yield self._estimate(f"counterfactual accuracy of {name}", right)
        if effect.following is not None:
            following = effect.following
            yield self._rate(f"follow rate of {name}", following.follows, following.conflicting, "no conflicting rows")
            undecided = "no conflicting row is predicted as either class"
            yield self._rate(f"preference for {name}", following.follows, following.decided, undecided)
        yield from self._randomised(effect)

    def _randomised(self, effect: Effect) -> Iterator[Measurement]:
        study, name = self.study, effect.factor
        if len(np.unique(study.y)) < 2 or not any(s.data.y is not None for s in study.task.with_role("train")):
            return
        tied, free = study.shares(name)
        arguments = (effect.said, study.y, tied, free, study.weight, study.unit)
        area, by_area = measure.area_reliance(*arguments, self.rng)
        yield self._estimate(f"randomised AUC of {name}", area)
        alone = measure.area_alone(effect.alone, study.y, tied, study.weight, study.unit, self.rng)
        yield self._estimate(f"AUC by {name} alone", alone)
        beyond, by_accuracy = measure.accuracy_reliance(*arguments)
        near = "" if abs(beyond.value) > self._reach(beyond) else "balanced accuracy is not surely away from chance"
        yield self._estimate(f"reliance on {name}, accuracy", by_accuracy, near)
        yield self._estimate(f"reliance on {name}, AUC", by_area, near)

    def _reach(self, estimate: Quotient) -> float:
        from scipy.stats import t

        return float(t.ppf((1 + self.each) / 2, max(estimate.units - 1, 1)) * estimate.error)

    def _estimate(self, metric: str, estimate: Quotient, undefined: str = "") -> Measurement:
        """A value with Student's interval; none where all rows agree, which does not make it certain."""
        bare = self._measurement(metric, np.nan if undefined else estimate.value, len(self.study.rows), undefined)
        reach = self._reach(estimate)
        if np.isnan(bare.value) or np.isnan(reach) or reach <= 1e-12:
            return bare if bare.note else dataclasses.replace(bare, note="interval: all rows say the same")
        low, high = estimate.value - reach, estimate.value + reach
        return dataclasses.replace(bare, low=low, high=high, interval="simultaneous t")

    def _rate(self, metric: str, hits: NDArray[np.bool_], among: NDArray[np.bool_], undefined: str) -> Measurement:
        """The share of hits among some rows."""
        weight, unit = self.study.weight, self.study.unit
        if not (weight * among).any():
            return self._measurement(metric, np.nan, 0, undefined)
        value = float(np.average(hits[among], weights=weight[among]))
        found = rate_interval(hits[among], rng=self.rng, weights=weight[among], units=unit[among], level=self.each)
        bare = self._measurement(metric, value, int(among.sum()), "")
        return dataclasses.replace(bare, low=found.low, high=found.high, interval=f"simultaneous {found.kind}")

    def _measurement(self, metric: str, value: float, n: int, note: str) -> Measurement:
        unit = "row" if self.study.rows.unit is None else "unit"
        better = _higher_is_better(metric)
        return Measurement(
            metric, float(value), "test", n, level=self.level, unit=unit, higher_is_better=better, note=note
        )

    def findings(self) -> Iterator[Finding]:
        """One on each factor that goes with classes, the one that predictions follow most first."""
        found = {m.metric: m for m in self.measurements}
        known = [effect.factor for effect in self.effects if effect.following is not None]
        follow = {name: found[f"follow rate of {name}"] for name in known}
        for name in sorted(known, key=lambda name: -np.nan_to_num(follow[name].value)):
            rate, preference = follow[name], found[f"preference for {name}"]
            if np.isnan(rate.value):
                yield Finding(name, f"In no row does {name!r} go with another class than the label: nothing to follow.")
                continue
            share, flips = (100 * found[f"{what} of {name}"].value for what in ("effect share", "flip rate"))
            text = f"Another {name!r} changes {flips:.1f} % of the predicted classes, {share:.0f} % of all effects"
            text += f"; where it goes with another class than the label, {100 * rate.value:.1f} % follow it"
            yield Finding(name, text + ".", alarm=preference.low is not None and preference.low > 0.5)

    def artifacts(self) -> Iterator[Artifact]:
        """All factors side by side, then everything on each."""
        yield self._shares()
        yield self._side_by_side()
        pictures = len(self.study.rows.input_shape) == 3 and self.study.rows.input_shape[0] <= 3
        for effect in self.effects:
            yield self._numbers(effect)
            if pictures:
                yield _pairs(effect)
            if _conflicts(effect):
                yield _confusion(effect)

    def _shares(self) -> Matrix:
        found = {m.metric: m.value for m in self.measurements}
        names = tuple(self.measured)
        shares = (tuple(100 * found[f"effect share of {name}"] for name in names),)
        caption = "How far predictions move when a factor is set to another value, in % of what they move in all."
        return Matrix("effect shares", shares, ("share",), names, x_label="factor", caption=caption)

    def _side_by_side(self) -> Table:
        found = {name: {_bare(m.metric, name): m for m in of_factor} for name, of_factor in self.measured.items()}
        columns = tuple(dict.fromkeys(column for of_factor in found.values() for column in of_factor))
        rows = tuple(
            (name, *(_cell(of_factor[column].value) if column in of_factor else "" for column in columns))
            for name, of_factor in found.items()
        )
        caption = f"On {count(len(self.study.rows), 'test row')}; intervals stand with each factor below."
        return Table("factors side by side", ("factor", *columns), rows, caption)

    def _numbers(self, effect: Effect) -> Table:
        measured = self.measured[effect.factor]
        lines = [(_bare(m.metric, effect.factor), m.n, *map(_cell, (m.value, m.low, m.high)), m.note) for m in measured]
        return Table(
            f"{effect.factor}: what setting it does",
            ("number", "rows", "value", "low", "high", "note"),
            tuple(lines),
            f"Intervals of one number hold together over all factors at level {self.level:g}. All of it is about rows "
            "that the task draws: what it holds fixed is what it calls noise and the other factors.",
        )


def _bare(metric: str, factor: str) -> str:
    """The name of a number without its factor's.

    >>> _bare("reliance on color, AUC", "color")
    'reliance, AUC'
    """
    return re.sub(rf" ({'|'.join(WORDS)}) {re.escape(factor)}(?=,| alone|$)", "", metric)


def _cell(value: float | None) -> float | str:
    return "" if value is None or np.isnan(value) else value


def _higher_is_better(metric: str) -> bool:
    """To rely on the label is good, on other factors bad; where a factor is randomised the reverse."""
    of_label = metric.partition(",")[0].removesuffix(" alone").endswith(tuple(f" {word} {LABEL}" for word in WORDS))
    if metric.startswith("counterfactual"):
        return True
    return not of_label if metric.startswith("randomised") else of_label


def _conflicts(effect: Effect) -> bool:
    return effect.following is not None and bool(effect.following.conflicting.any())


def _confusion(effect: Effect) -> Matrix:
    """Predicted class against the class that the factor's value goes with, among conflicting rows."""
    assert effect.following is not None
    assert effect.goes_with is not None
    study, rows = effect.study, effect.following.conflicting
    classes = study.task.classes
    shares = np.zeros((len(classes), len(classes)))
    np.add.at(shares, (effect.goes_with[rows], study.own.argmax(axis=1)[rows]), study.weight[rows])
    with np.errstate(invalid="ignore"):
        shares /= shares.sum(axis=1, keepdims=True)
    return Matrix(
        f"{effect.factor}: confusion",
        tuple(map(tuple, shares.tolist())),
        classes,
        classes,
        x_label="predicted",
        y_label=f"class of the {effect.factor}",
        caption=f"Of {count(int(rows.sum()), 'row')} whose {effect.factor} goes with another class than the label, as "
        f"shares: on the diagonal the model follows the {effect.factor}.",
    )


def _pairs(effect: Effect) -> ImageGrid:
    """Some rows as they are, each followed by itself under other values, with what the model says."""
    study, names = effect.study, effect.study.names(effect.factor)
    others = _spread(len(names), SHOWN_VALUES + 1)
    images, captions = [], []
    for row in _spread(len(study.rows), SHOWN_ROWS):
        own = int(effect.values[row])
        shown = [own, *(value for value in others if value != own)][: len(others)]
        for value in shown:
            x = study.drawn(effect.factor, value, [row])
            images.append(nested(as_rgb(x.float().clamp(0, 1))[0].permute(1, 2, 0).tolist()))
            says, sure = int(effect.said[value, row].argmax()), np.exp(effect.said[value, row].max())
            captions.append(f"{names[value]} → {study.task.classes[says]} ({100 * sure:.0f} %)")
    return ImageGrid(
        f"{effect.factor}: rows under other values",
        tuple(images),
        tuple(captions),
        columns=len(others),
        caption="A row as it is comes first; then the same row with other values of the factor, all else equal. Below "
        "is the value, and what the model says of it with which probability.",
    )


def _spread(number: int, most: int) -> list[int]:
    """At most so many positions, evenly spread."""
    return sorted({int(place) for place in np.linspace(0, number - 1, min(number, most))})
