"""Linear models of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.methods._estimators import arrays
from holdfast.training import Trainer

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


@register
@dataclass(frozen=True, kw_only=True)
class Logistic(Method):
    """Logistic regression on the flattened inputs, or ridge regression where labels are numbers; both with L2.

    Minimises C · Σ loss + ½‖w‖², where the loss of a number is ½(prediction − y)²: ridge regression with α = 1/C.
    Weighted rows count by their weight; environments are not looked at. Pedregosa et al., *Scikit-learn: machine
    learning in Python*, JMLR 2011, arXiv:1201.0490.

    Attributes:
        C: Inverse strength of the penalty.
    """

    C: Annotated[float, Range(low=1e-10), LogUniform(1e-4, 1e4)] = 1.0

    def needs(self) -> Needs:
        return Needs(environments=False, network=False)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> BaseEstimator:
        from sklearn.linear_model import LogisticRegression, Ridge

        x, y, weight = arrays(view.train)
        if view.kind == "regression":
            return Ridge(alpha=1 / self.C).fit(x, y, weight)
        return LogisticRegression(C=self.C, max_iter=1000).fit(x, y, weight)
