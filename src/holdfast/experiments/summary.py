"""What a run found: every number that its report and the terminal show, with its interval and verdict."""

from __future__ import annotations

import dataclasses
import html
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.core.artifacts import Table
from holdfast.core.evaluation import Measurement
from holdfast.core.task import Role
from holdfast.experiments import findings
from holdfast.experiments.numbers import NumberFormat, p_text, plain
from holdfast.experiments.results import RunResult
from holdfast.experiments.seed_scores import Estimate, Part, ScoreBook
from holdfast.statistics import Comparison, holm_verdicts, mean_t, simultaneous_level, worst_of
from holdfast.statistics.comparisons import MIN_SEEDS, Verdict


@dataclass(frozen=True)
class SplitFacts:
    """A split: its role, whether its distribution is another one than that of training, its rows over all folds."""

    name: str
    role: Role
    shifted: bool
    n_rows: int


@dataclass(frozen=True)
class PartScore:
    """The metric on one environment or group."""

    name: str
    estimate: Estimate


@dataclass(frozen=True)
class Score:
    """The headline metric of one method on one split.

    Attributes:
        estimate: On all rows.
        environments, groups: On each, at a level that holds for all of them together; empty where there is one only.
        worst_environment, worst_group: The worst of them, with the simultaneous interval of the worst.
    """

    method: str
    split: str
    estimate: Estimate
    environments: tuple[PartScore, ...] = ()
    groups: tuple[PartScore, ...] = ()
    worst_environment: PartScore | None = None
    worst_group: PartScore | None = None


@dataclass(frozen=True)
class Drop:
    """How much worse a method is on a split than in distribution: positive is a loss, whatever the metric."""

    method: str
    source: str
    split: str
    estimate: Estimate


@dataclass(frozen=True)
class Contrast:
    """One method against another on a split.

    Attributes:
        kind: Against the baseline; or the best against the second best, which the data chose.
        difference: Method − reference.
        p_value, adjusted_p: Two-sided, and after Holm over all contrasts of the run; NaN where not testable.
        verdict: About ``method``.
        reason: Why it is that.
    """

    kind: Literal["baseline", "best"]
    method: str
    reference: str
    split: str
    difference: Estimate
    p_value: float
    adjusted_p: float
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Secondary:
    """Another metric on a split or a part of it, by method.

    Attributes:
        estimates: Mean over seeds with Student's interval; of a seed, the mean over its folds.
        picked: Of a metric of the worst part: which part that is, by method; several where seeds differ. Of a seed it
            is then the worst of all folds.
    """

    metric: str
    split: str
    part: str
    higher_is_better: bool
    estimates: Mapping[str, Estimate]
    picked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """Everything a run says, in numbers and in words.

    Attributes:
        task: Its reference.
        metric: The headline metric.
        level: Of every interval.
        methods: In the order asked for; the first is the baseline.
        seeds: The seeds of each method that finished in every fold.
        asked_seeds: How many were asked for.
        folds: Names of what is held out in turn; one empty name where the task is not folded.
        rule, rule_oracle: How checkpoints were selected; an oracle saw test rows.
        trials: Settings tried for each method.
        source: The split that stands for the training distribution; None where there is none.
        targets: The splits that the answer is about: the shifted test splits, or else all test splits.
        scores: Method by method, split by split.
        findings: The answer in plain sentences, the most important first.
        remarks: What was done to the data, and what to know before believing a number.
    """

    task: str
    metric: str
    higher_is_better: bool
    level: float
    methods: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]
    asked_seeds: int
    folds: tuple[str, ...]
    rule: str
    rule_oracle: bool
    trials: Mapping[str, int]
    splits: tuple[SplitFacts, ...]
    source: str | None
    targets: tuple[str, ...]
    scores: tuple[Score, ...]
    drops: tuple[Drop, ...]
    contrasts: tuple[Contrast, ...]
    secondary: tuple[Secondary, ...]
    findings: tuple[str, ...] = field(default=())
    remarks: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.findings)
        lines = [
            (
                s.method,
                s.split,
                self.format.value(s.estimate.value),
                self.format.interval(s.estimate.low, s.estimate.high),
            )
            for s in self.scores
        ]
        columns = ("method", "split", self.format.title, f"{100 * self.level:g} % interval")
        return f"<ul>{said}</ul>{Table('scores', columns, tuple(lines)).to_html()}"

    @property
    def baseline(self) -> str:
        """The method that others are compared with."""
        return self.methods[0]

    @property
    def folded(self) -> bool:
        """Whether environments are held out in turn."""
        return len(self.folds) > 1

    @property
    def format(self) -> NumberFormat:
        """How values of the headline metric are written."""
        return NumberFormat.of(self.metric, (score.estimate.value for score in self.scores))

    @property
    def answer_first(self) -> tuple[SplitFacts, ...]:
        """The splits in order of interest: the targets, the source, the others."""
        first = (*self.targets, self.source)
        return tuple(sorted(self.splits, key=lambda s: first.index(s.name) if s.name in first else len(first)))

    def score(self, method: str, split: str) -> Score:
        """The score of a method on a split."""
        return next(s for s in self.scores if (s.method, s.split) == (method, split))

    def drop(self, method: str, split: str) -> Drop | None:
        """The drop of a method on a split; None where nothing stands for the training distribution."""
        return next((d for d in self.drops if (d.method, d.split) == (method, split)), None)

    def against_baseline(self, method: str, split: str) -> Contrast | None:
        """The contrast of a method with the baseline; None for the baseline."""
        wanted = ("baseline", method, split)
        return next((c for c in self.contrasts if (c.kind, c.method, c.split) == wanted), None)

    def ranking(self, split: str) -> tuple[str, ...]:
        """The methods that have a value on a split, best first."""
        values = {method: self.score(method, split).estimate.value for method in self.methods}
        known = [method for method in self.methods if not math.isnan(values[method])]
        return tuple(sorted(known, key=lambda m: values[m], reverse=self.higher_is_better))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; a number that is missing is null."""
        content = plain(dataclasses.asdict(self))
        assert isinstance(content, dict)
        return content


def summarise(run: RunResult, *, level: float = 0.95) -> Summary:
    """Turn finished cells into numbers with intervals, verdicts and sentences.

    Intervals over seeds are Student's with the rows' bootstrap nested; the worst of several environments or groups has
    a simultaneous one. A method is called better or worse only with five seeds, an interval without zero, and a p-value
    that survives Holm's correction over all contrasts. Equal runs give equal summaries.

    Args:
        run: Its result.
        level: Of every interval; one minus the level of every test.

    Raises:
        HoldfastError: No cell has scores, or cells were scored on different rows.
    """
    book = ScoreBook(run)
    splits = _splits(book)
    source, targets = _roles(splits)
    scores = tuple(_score(book, method, split.name, level) for method in run.methods for split in splits)
    summary = Summary(
        task=run.task.reference,
        metric=book.metric.name,
        higher_is_better=book.metric.higher_is_better,
        level=level,
        methods=run.methods,
        seeds={method: book.seeds(method) for method in run.methods},
        asked_seeds=len({cell.seed for cell in run.cells}),
        folds=book.folds,
        rule=run.rule,
        rule_oracle=run.rule_oracle,
        trials={method: run.trials.get(method, 1) for method in run.methods},
        splits=splits,
        source=source,
        targets=targets,
        scores=scores,
        drops=_drops(book, source, targets, level),
        contrasts=(),
        secondary=_secondary(run, book.metric.name, level),
        remarks=(*run.task.notes, *run.warnings),
    )
    summary = dataclasses.replace(summary, contrasts=_contrasts(book, summary))
    return dataclasses.replace(summary, findings=findings.sentences(summary))


def _splits(book: ScoreBook) -> tuple[SplitFacts, ...]:
    facts = {split: rows for (split, _), rows in reversed(book.rows.items())}
    return tuple(SplitFacts(s, facts[s].role, facts[s].shifted, book.count(s)) for s in book.splits)


def _roles(splits: Sequence[SplitFacts]) -> tuple[str | None, tuple[str, ...]]:
    """The split that stands for the training distribution, and those that the answer is about."""
    tests = [s.name for s in splits if s.role == "test"]
    shifted = [s.name for s in splits if s.role == "test" and s.shifted]
    inside = [s.name for role in ("test", "selection") for s in splits if s.role == role and not s.shifted]
    targets = tuple(shifted or tests or [splits[-1].name])
    return next((name for name in inside if name not in targets), None), targets


def _score(book: ScoreBook, method: str, split: str, level: float) -> Score:
    estimate = book.scores(method, {split: 1.0}).estimate(level, method, split)
    environments, worst_environment = _parts(book, method, split, "environment", level)
    groups, worst_group = _parts(book, method, split, "group", level)
    return Score(method, split, estimate, environments, groups, worst_environment, worst_group)


def _parts(
    book: ScoreBook, method: str, split: str, column: Literal["environment", "group"], level: float
) -> tuple[tuple[PartScore, ...], PartScore | None]:
    """The metric on each of two or more parts at the simultaneous level, and the worst of them at the level."""
    parts = book.parts(split, column)
    if len(parts) < 2:
        return (), None
    each = simultaneous_level(level, len(parts))
    scores = tuple(_part_score(book, method, split, part, each) for part in parts)
    known = [s for s in scores if not math.isnan(s.estimate.value)]
    if len(known) < len(scores):  # what is not a number may be the worst
        return scores, None
    sign = 1 if book.metric.higher_is_better else -1
    worst = min(known, key=lambda s: sign * s.estimate.value)
    interval = worst_of([s.estimate.as_interval() for s in known], level, higher_is_better=book.metric.higher_is_better)
    estimate = dataclasses.replace(
        worst.estimate, low=interval.low, high=interval.high, level=level, interval=interval.kind
    )
    return scores, PartScore(worst.name, estimate)


def _part_score(book: ScoreBook, method: str, split: str, part: Part, level: float) -> PartScore:
    scores = book.scores(method, {split: 1.0}, part)
    return PartScore(part.name, scores.estimate(level, method, split, part.column, part.name))


def _drops(book: ScoreBook, source: str | None, targets: Sequence[str], level: float) -> tuple[Drop, ...]:
    if source is None:
        return ()
    sign = 1.0 if book.metric.higher_is_better else -1.0

    def drop(method: str, split: str) -> Drop:
        scores = book.scores(method, {source: sign, split: -sign})
        return Drop(method, source, split, scores.estimate(level, "drop", method, split))

    return tuple(drop(method, split) for split in targets for method in book.methods)


def _contrasts(book: ScoreBook, summary: Summary) -> tuple[Contrast, ...]:
    """Each method against the baseline, and the best against the second, on each target; Holm over all of them."""
    pairs: list[tuple[Literal["baseline", "best"], str, str, str]] = []
    for split in summary.targets:
        pairs += [("baseline", method, summary.baseline, split) for method in summary.methods[1:]]
        best = summary.ranking(split)[:2]
        if len(best) == 2 and summary.baseline not in best:
            pairs.append(("best", best[0], best[1], split))
    found = [_compare(book, a, b, split, summary.level) for _, a, b, split in pairs]
    adjusted = holm_verdicts([comparison for comparison, _ in found])
    return tuple(
        _contrast(pair, comparison, difference, sum(not math.isnan(c.p_value) for c in adjusted))
        for pair, comparison, (_, difference) in zip(pairs, adjusted, found, strict=True)
    )


def _compare(book: ScoreBook, a: str, b: str, split: str, level: float) -> tuple[Comparison, Estimate]:
    """The comparison of a with b over the seeds that both have."""
    seeds = tuple(seed for seed in book.seeds(a) if seed in book.seeds(b))
    ours, theirs = (book.scores(method, {split: 1.0}, seeds=seeds) for method in (a, b))
    return ours.compare(theirs, level, a, b, split)


def _contrast(
    pair: tuple[Literal["baseline", "best"], str, str, str], result: Comparison, difference: Estimate, n_tests: int
) -> Contrast:
    adjusted = math.nan if result.adjusted_p is None else result.adjusted_p
    reason = _reason(result, adjusted, n_tests)
    return Contrast(*pair, difference, result.p_value, adjusted, result.verdict, reason)


def _reason(result: Comparison, adjusted: float, n_tests: int) -> str:
    if not result.n_seeds:
        return "no seed that both finished"
    if result.interval.low is None:
        return result.interval.kind.removeprefix("none (").removesuffix(")")
    if result.n_seeds < MIN_SEEDS:
        return "fewer than five seeds"
    if result.interval.contains(0.0):
        return "the interval contains 0"
    told = f"Holm's p {p_text(adjusted, equals=True)} over {n_tests} comparison{'s' * (n_tests != 1)}"
    return told if result.verdict != "undecided" else f"not after correction: {told}"


def _secondary(run: RunResult, headline: str, level: float) -> tuple[Secondary, ...]:
    """Every other metric that has one number for each split; of the others, each environment's and group's."""
    found: dict[tuple[str, str, str], _BySeed] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for cell in run.cells:
        by_split: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
        for m in cell.measurements:
            if m.metric != headline:
                by_split[m.metric, m.split].append(m)
        for (metric, split), measurements in by_split.items():
            for part, m in _whole_or_parts(measurements):
                found[metric, split, part][cell.method][cell.seed].append(m)
    return tuple(_secondary_row(*key, by_method, level) for key, by_method in found.items())


_BySeed = dict[str, dict[int, list[Measurement]]]
"""By method and seed: the measurements of its folds."""


def _whole_or_parts(measurements: Sequence[Measurement]) -> Iterable[tuple[str, Measurement]]:
    """What a metric says of a split: its one number (of all rows, or of the worst part), or that of each part."""
    whole = [m for m in measurements if m.environment is None and m.group is None]
    if whole or len(measurements) == 1:
        return [("", m) for m in (whole or measurements)]
    return [(_part_name(m), m) for m in measurements]


def _part_name(m: Measurement) -> str:
    return " / ".join(filter(None, (m.environment, m.group)))


def _secondary_row(metric: str, split: str, part: str, by_method: _BySeed, level: float) -> Secondary:
    of_folds = _mean_over_folds if part or not _picks(by_method) else _worst_of_folds
    of_seeds = {method: [of_folds(folds) for folds in seeds.values()] for method, seeds in by_method.items()}
    return Secondary(
        metric=metric,
        split=split,
        part=part,
        higher_is_better=next(iter(of_seeds.values()))[0].higher_is_better,
        estimates={method: _mean_of(measurements, level) for method, measurements in of_seeds.items()},
        picked={
            method: tuple(dict.fromkeys(_part_name(m) for m in measurements))
            for method, measurements in of_seeds.items()
            if of_folds is _worst_of_folds
        },
    )


def _picks(by_method: _BySeed) -> bool:
    """Whether these are measurements of one part each, which the evaluation picked: the worst group."""
    return all(_part_name(m) for seeds in by_method.values() for folds in seeds.values() for m in folds)


def _worst_of_folds(folds: Sequence[Measurement]) -> Measurement:
    """The worst of the worst: their mean would be better than some part that was measured."""
    sign = 1 if folds[0].higher_is_better else -1
    worst = min(folds, key=lambda m: (not math.isnan(m.value), sign * m.value))
    if len(folds) == 1:
        return worst
    return dataclasses.replace(worst, low=None, high=None, interval="none (the worst of several folds)")


def _mean_over_folds(folds: Sequence[Measurement]) -> Measurement:
    if len(folds) == 1:
        return folds[0]
    value, n = sum(m.value for m in folds) / len(folds), sum(m.n for m in folds)
    return dataclasses.replace(folds[0], value=value, n=n, low=None, high=None, interval="none (one seed of folds)")


def _mean_of(seeds: Sequence[Measurement], level: float) -> Estimate:
    """Mean over seeds; the interval over seeds, or that of the one measurement there is."""
    first = seeds[0]
    if len(seeds) == 1:
        return Estimate(first.value, first.low, first.high, first.level, first.interval, first.n, 1)
    values = [m.value for m in seeds]
    interval = mean_t(values, level)
    return Estimate(sum(values) / len(values), interval.low, interval.high, level, interval.kind, first.n, len(values))
