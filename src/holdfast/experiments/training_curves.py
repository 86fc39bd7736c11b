"""What a step reported while it trained, as curves for the report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.core.artifacts import Curve

_NO_SCALARS = {"phase", "stage", "step"}


def training_curves(history: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """One curve per kind of scalar: the loss, the penalty, the fraction of gradient components kept per tensor.

    Scalars named ``KIND NAME``, such as ``kept 0.weight``, are lines of one curve.

    Args:
        history: Lines of a cell's log.

    >>> curves = training_curves([{"phase": 0, "stage": "main", "step": 1, "loss": 2.0, "kept a": 0.5, "kept b": 1.0}])
    >>> [(curve.name, list(curve.series)) for curve in curves]
    [('main: loss', ['loss']), ('main: kept', ['a', 'b'])]
    """
    points: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in history:
        for scalar in line.keys() - _NO_SCALARS:
            kind, _, name = scalar.partition(" ")
            points[f"{line['stage']}: {kind}"][name or kind].append((line["step"], line[scalar]))
    return tuple(_curve(name, points[name]) for name in sorted(points, key=lambda name: ("loss" not in name, name)))


def _curve(name: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Curve:
    series = {label: (tuple(x for x, _ in lines[label]), tuple(y for _, y in lines[label])) for label in sorted(lines)}
    return Curve(name, series, x_label="step", y_label=name.rpartition(": ")[2], log_x=True)
