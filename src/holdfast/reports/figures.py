"""The figures of a report, as inline SVG: dots with intervals, differences, learning curves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.core.artifacts import COLORS, INK, PAPER, legend, log_steps, shorten, svg
from holdfast.core.words import count
from holdfast.experiments.results import CellResult, RunResult
from holdfast.experiments.seed_scores import Estimate
from holdfast.experiments.summary import PartScore, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PARTS = 24
_VERDICT_COLORS = {"better": COLORS[2], "worse": COLORS[7], "undecided": INK}
_OWN, _REFERENCE = COLORS[0], COLORS[1]


def scores_figure(summary: Summary, split: str) -> str:
    """Every method on a split, filled, beside itself in distribution, hollow."""
    sources = [] if summary.source is None else [(summary.source, INK, False)]
    rows = {
        method: [
            (summary.score(method, name).estimate, color, filled)
            for name, color, filled in [*sources, (split, _OWN, True)]
        ]
        for method in summary.methods
    }
    return _dots(summary, rows, title=f"{summary.metric} of every method on {split}", spread=0.22)


def contrasts_figure(summary: Summary, split: str) -> str:
    """Differences from the baseline on a split; a dot's color is the verdict."""
    contrasts = {method: summary.against_baseline(method, split) for method in summary.methods[1:]}
    rows = {
        method: [(contrast.difference, _VERDICT_COLORS[contrast.verdict], contrast.verdict != "undecided")]
        for method, contrast in contrasts.items()
        if contrast is not None
    }
    title = f"difference from {summary.baseline} on {split}"
    return _dots(summary, rows, title=title, spread=0.0, difference=True)


def parts_figure(summary: Summary, split: str, column: str) -> str:
    """The worst environments or groups of a split, under the baseline and under the best method."""
    methods = list(dict.fromkeys([summary.baseline, *summary.ranking(split)[:1]]))
    parts = {
        method: {part.name: part.estimate for part in parts_of(summary, method, split, column)} for method in methods
    }
    names = worst_first(summary, split, column)[:MAX_PARTS]
    colors = (_OWN,) if len(methods) == 1 else (_REFERENCE, _OWN)
    rows = {
        name: [(parts[method][name], color, True) for method, color in zip(methods, colors, strict=True)]
        for name in names
    }
    return _dots(summary, rows, title=f"{summary.metric} of every {column} on {split}", spread=0.28)


def parts_of(summary: Summary, method: str, split: str, column: str) -> tuple[PartScore, ...]:
    """The scores of a method on the environments or groups of a split."""
    score = summary.score(method, split)
    return score.environments if column == "environment" else score.groups


def worst_first(summary: Summary, split: str, column: str) -> list[str]:
    """Names of environments or groups, those worst under the baseline first."""
    sign = 1 if summary.higher_is_better else -1
    parts = parts_of(summary, summary.baseline, split, column)
    return [p.name for p in sorted(parts, key=lambda p: (math.isnan(p.estimate.value), sign * p.estimate.value))]


def _dots(
    summary: Summary,
    rows: dict[str, list[tuple[Estimate, str, bool]]],
    *,
    title: str,
    spread: float,
    difference: bool = False,
) -> str:
    """A line per name, top down, with dots and their intervals; dots of a line lie ``spread`` apart."""
    scale = 100.0 if summary.format.percent else 1.0

    def draw(axes: Axes) -> None:
        for row, dots in enumerate(rows.values()):
            for k, (estimate, color, filled) in enumerate(dots):
                y = row + spread * (k - (len(dots) - 1) / 2)
                if estimate.low is not None and estimate.high is not None:
                    axes.plot([scale * estimate.low, scale * estimate.high], [y, y], color=color, linewidth=1.1)
                face = color if filled else PAPER
                axes.plot(scale * estimate.value, y, "o", color=color, markersize=5, markerfacecolor=face)
        axes.set_yticks(range(len(rows)), [shorten(name, 22) for name in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel(_x_label(summary, difference))
        if difference:
            axes.axvline(0, color=INK, linewidth=0.8)

    return svg(draw, title=title, height=0.75 + (0.27 + 0.3 * spread) * max(len(rows), 1))


def _x_label(summary: Summary, difference: bool) -> str:
    percent = summary.format.percent
    what = f"difference in {'points' if percent else summary.format.name}" if difference else summary.format.title
    return what if summary.higher_is_better else f"{what} (lower is better)"


@dataclass(frozen=True)
class LearningCurves:
    """A small multiple of learning curves per method, and one legend for all."""

    panels: dict[str, str]
    legend: str
    solid: str
    dashed: tuple[str, ...]


def learning_curves(run: RunResult, summary: Summary) -> LearningCurves | None:
    """Scores of kept checkpoints, averaged over seeds and folds; None where no method has steps.

    Solid lines are environments of the selection rows (of the training rows where there are none), dashed ones
    environments of the shifted test, which no rule but an oracle sees.
    """
    roles = {record.role for cell in run.cells for record in cell.records}
    solid = next((s.name for s in summary.splits if s.role == ("selection" if "selection" in roles else "train")), "")
    splits = (solid, *summary.targets)
    curves = {method: _curves([c for c in run.cells if c.method == method], splits) for method in run.methods}
    curves = {method: lines for method, lines in curves.items() if any(len(steps) > 1 for steps, _ in lines.values())}
    lines = list(dict.fromkeys(key for by_line in curves.values() for key in by_line))
    if not lines:
        return None
    values = [y for by_line in curves.values() for _, y in by_line.values()]
    limits = _limits([_shown(summary, v) for line in values for v in line])
    styles = _styles(lines, solid)
    steps = {m: sorted({c.selected for c in run.cells if c.method == m and c.selected is not None}) for m in curves}
    panels = {m: _panel(summary, m, c, styles, limits, steps[m]) for m, c in curves.items()}
    return LearningCurves(panels, _curve_legend(lines, styles), solid, summary.targets)


Line = tuple[str, str]


def _curves(cells: Sequence[CellResult], splits: Sequence[str]) -> dict[Line, tuple[list[int], list[float]]]:
    """By split and environment: steps, and the mean score over cells at each."""
    found: dict[Line, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        for r in cell.records:
            if r.split in splits and r.environment is not None:
                found[r.split, r.environment][r.step].append(r.score)
    return {
        line: (sorted(by_step), [sum(by_step[step]) / len(by_step[step]) for step in sorted(by_step)])
        for line, by_step in sorted(found.items(), key=lambda item: splits.index(item[0][0]))
    }


def _shown(summary: Summary, score: float) -> float:
    """A record's score in the unit of the axis: percent, or the root of the mean squared error."""
    return 100 * score if summary.format.percent else math.sqrt(max(-score, 0.0))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Common limits of the panels; a diverged curve leaves the frame rather than flatten the others."""
    finite = sorted(v for v in values if math.isfinite(v))
    low, high = (finite[0], finite[min(len(finite) - 1, int(0.98 * len(finite)))]) if finite else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _styles(lines: Sequence[Line], solid: str) -> dict[Line, tuple[str, str]]:
    """Color and dash of each line: a color for each environment where they are few, else one for each split."""
    keys = [environment if _told_apart(lines) else split for split, environment in lines]
    order = list(dict.fromkeys(keys))
    return {
        line: (COLORS[order.index(key) % len(COLORS)], "-" if line[0] == solid else "--")
        for line, key in zip(lines, keys, strict=True)
    }


def _told_apart(lines: Sequence[Line]) -> bool:
    """Whether there are colors enough for the environments."""
    return len({environment for _, environment in lines}) <= len(COLORS)


def _panel(
    summary: Summary,
    method: str,
    curves: dict[Line, tuple[list[int], list[float]]],
    styles: dict[Line, tuple[str, str]],
    limits: tuple[float, float],
    selected: Sequence[int],
) -> str:
    def draw(axes: Axes) -> None:
        for line, (steps, scores) in curves.items():
            color, dash = styles[line]
            axes.plot(steps, [_shown(summary, s) for s in scores], dash, color=color, linewidth=1.2)
        if not any(math.isfinite(score) for _, scores in curves.values() for score in scores):
            axes.text(0.5, 0.5, "not a number", transform=axes.transAxes, ha="center")
        axes.plot(selected, [limits[0]] * len(selected), "^", color=INK, markersize=5, clip_on=False)
        axes.set_ylim(*limits)
        axes.set_xlim(0, max((step for steps, _ in curves.values() for step in steps), default=0) or 1)
        log_steps(axes)
        axes.grid()
        axes.set_xlabel("step")
        axes.set_ylabel(summary.format.title if summary.format.percent else summary.format.name)

    return svg(draw, title=f"learning curves of {method}", width=3.3, height=2.3)


def _curve_legend(lines: Sequence[Line], styles: dict[Line, tuple[str, str]]) -> str:
    """The environments in their colors, dashed where no line of them is solid; or the splits, where they are many."""
    if _told_apart(lines):
        names = {environment: styles[split, environment] for split, environment in reversed(lines)}
        names = {environment: names[environment] for environment in dict.fromkeys(name for _, name in lines)}
    else:
        counts = {split: sum(s == split for s, _ in lines) for split, _ in lines}
        names = {f"{count(counts[line[0]], 'environment')} of {line[0]}": styles[line] for line in lines}
    return legend(tuple(names), dashed=[dash == "--" for _, dash in names.values()])
