"""Groups as an option: column names joined by ``*``."""

from __future__ import annotations

from typing import Any

from holdfast.core.task import Needs, TrainingView
from holdfast.selection import BalancedSampler, Source
from holdfast.training import Trainer


def needs_of(groups: str, **more: Any) -> Needs:
    """What a method needs to see for these groups, such as ``environment``, ``label*color``, or ``row``: each its own.

    >>> needs = needs_of("label*color")
    >>> needs.columns, needs.environments
    (('color',), False)
    """
    parts = [part.strip() for part in groups.split("*")]
    columns = tuple(part for part in parts if part not in ("label", "environment", "row"))
    return Needs(columns=columns, environments="environment" in parts, **more)


def balanced_rows(view: TrainingView, trainer: Trainer) -> Source:
    """Batches whose rows come from each environment of the view with equal probability."""
    sampler = BalancedSampler(view.train.environment.codes, trainer.batch_size, trainer.rng("balanced batches"))
    return trainer.rows(view, sampler)
