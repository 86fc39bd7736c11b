"""How the numbers of one metric are written: shares in percent and points, errors in the target's unit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from holdfast.experiments.seed_scores import Estimate
from holdfast.statistics import METRICS

MISSING = "–"


@dataclass(frozen=True)
class NumberFormat:
    """Writes values, differences and intervals of a metric with as many decimals as they deserve.

    >>> percent = NumberFormat(metric="accuracy", percent=True, decimals=1)
    >>> percent.value(0.594), percent.signed(-0.0104), percent.amount(0.382)
    ('59.4', '−1.0', '38.2 points')
    """

    metric: str
    percent: bool
    decimals: int

    @staticmethod
    def of(metric: str, values: Iterable[float]) -> NumberFormat:
        """The format for a metric whose values in a report are these: three digits of the largest.

        >>> NumberFormat.of("rmse", [0.31, 12.5]).value(0.31)
        '0.3'
        >>> [NumberFormat.of(name, [0.5]).title for name in ("worst-group-accuracy", "rmse", "log-loss")]
        ['worst-group-accuracy in %', 'RMSE in units of the target', 'log-loss']
        """
        if _unit(metric) == "fraction":
            return NumberFormat(metric, percent=True, decimals=1)
        largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
        decimals = 2 - math.floor(math.log10(largest)) if largest > 0 else 2
        return NumberFormat(metric, percent=False, decimals=min(max(decimals, 0), 8))

    @property
    def title(self) -> str:
        """The metric with its unit: ``accuracy in %``, ``RMSE in units of the target``; log loss has none."""
        if self.percent:
            return f"{self.metric} in {'points' if self.metric.endswith('-drop') else '%'}"
        return f"{self.name} in units of the target" if _unit(self.metric) == "target" else self.name

    @property
    def name(self) -> str:
        """The metric as prose writes it."""
        return re.sub(r"\brmse\b", "RMSE", self.metric)

    def value(self, value: float | None) -> str:
        """A value without its unit."""
        if value is None or math.isnan(value):
            return MISSING
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        text = f"{100 * value if self.percent else value:,.{self.decimals}f}"
        return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")

    def with_unit(self, value: float) -> str:
        """A value as prose writes it."""
        return f"{self.value(value)} %" if self.percent else self.value(value)

    def signed(self, value: float) -> str:
        """A difference with its sign."""
        text = self.value(value)
        return text if text[0] in f"−{MISSING}" or not text.strip("0.") else f"+{text}"

    def amount(self, value: float) -> str:
        """How much something is lost or gained, with its unit."""
        return f"{self.value(value)} points" if self.percent else self.value(value)

    def interval(self, low: float | None, high: float | None) -> str:
        """The ends in brackets; empty where there is neither."""
        return "" if low is None and high is None else f"[{self.value(low)}, {self.value(high)}]"

    def flipped(self, estimate: Estimate) -> str:
        """The interval of minus an estimate, in brackets."""
        return self.interval(_minus(estimate.high), _minus(estimate.low))


def _unit(metric: str) -> str:
    """The unit of a metric, or of the metric that it is the worst or the drop of."""
    names = [name for name in METRICS if metric.removesuffix("-drop") == name or metric.endswith(f"-{name}")]
    return METRICS[max(names, key=len)].unit if names else ""


def p_text(p: float, *, equals: bool = False) -> str:
    """A p-value as tables write it, or as a sentence does.

    >>> p_text(0.0312), p_text(0.0001), p_text(0.0312, equals=True)
    ('.031', '< .001', '= .031')
    """
    if math.isnan(p):
        return MISSING
    if p < 0.001:
        return "< .001"
    text = f"{p:.3f}".removeprefix("0")
    return f"= {text}" if equals else text


def plain(value: Any) -> Any:
    """The value as JSON knows it: tuples to lists, numbers that are not finite to null.

    >>> plain({"a": (1.0, float("nan"))})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
