"""Environment inference for invariant learning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from holdfast.core.data import Column
from holdfast.core.errors import UserError
from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.losses import inferred_environments
from holdfast.methods._reference import outputs_of_reference
from holdfast.methods.irm import IRM
from holdfast.training import Adam, Optimizer, Trainer

NAMES = ("the first network fits", "the first network would rather be less sure")


@register(name="eiil")
@dataclass(frozen=True, kw_only=True)
class EIIL(Method):
    """Infer two environments from a first, biased network; then prefer what is optimal in both (IRMv1).

    Creager, Jacobsen, Zemel, *Environment inference for invariant learning*, ICML 2021, arXiv:2010.07249. The
    environments of the task are not looked at. What is inferred is only as good as the first network is biased: of one
    that has learnt what holds, the environments mean nothing.

    Attributes:
        first: The first training's part of the budget; long enough to learn the shortcut, and not more.
        penalty: Factor λ of the squared gradient in a scale of the outputs.
        penalty_from: Part of the budget of the second training spent before the penalty counts.
        optimizer: The optimizer of both trainings.
    """

    first: Annotated[float, Range(1e-4, 1.0), Uniform(0.02, 0.5)] = 0.1
    penalty: Annotated[float, Range(low=0.0), LogUniform(1e-1, 1e5)] = 100.0
    penalty_from: Annotated[float, Range(0.0, 1.0), Uniform(0.0, 0.9)] = 0.25
    optimizer: Optimizer = Adam()

    def needs(self) -> Needs:
        return Needs(environments=False, kinds=("classification",))

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        method = IRM(penalty=self.penalty, penalty_from=self.penalty_from, optimizer=self.optimizer)
        return method.fit(self.inferred(view, trainer, model), trainer, model)

    def inferred(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> TrainingView:
        """The view with the inferred environments on its training rows.

        Raises:
            UserError: All rows are in one environment.
        """
        rows = view.train
        outputs = outputs_of_reference(self, view, trainer, model, self.first, self.optimizer)
        codes = inferred_environments(outputs, rows.labels)
        if rows.weight is not None:
            codes = torch.where(rows.weight > 0, codes, 0)
        if not codes.any() or codes.all():
            raise UserError(
                f"eiil: the first network tells no rows apart, so that there is one environment: change first="
                f"{self.first:g}, the first training's part of the budget"
            )
        train = dataclasses.replace(rows, environment=Column(codes, NAMES))
        return dataclasses.replace(view, data={**view.data, "train": train})
