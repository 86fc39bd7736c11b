"""Gradient-boosted trees of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from torch import nn

from holdfast.core.method import Method
from holdfast.core.options import Choice, LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.task import Needs, TrainingView
from holdfast.methods._estimators import arrays
from holdfast.training import Trainer

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


@register
@dataclass(frozen=True, kw_only=True)
class GradientBoosting(Method):
    """Gradient-boosted trees on histograms of the flattened inputs.

    Weighted rows count by their weight; environments are not looked at. Friedman, *Greedy function approximation: a
    gradient boosting machine*, Annals of Statistics 2001; Ke et al., *LightGBM*, NeurIPS 2017; scikit-learn's version.

    Attributes:
        learning_rate: Factor on the contribution of each tree.
        iterations: Rounds; each adds a tree, or one per class where there are more than two.
        max_leaf_nodes: Leaves of a tree at most.
        min_samples_leaf: Rows of a leaf at least.
        l2: L2 penalty on the values of leaves.
    """

    learning_rate: Annotated[float, Range(low=1e-10), LogUniform(1e-2, 0.5)] = 0.1
    iterations: Annotated[int, Range(low=1), Choice((50, 100, 200, 400))] = 100
    max_leaf_nodes: Annotated[int, Range(low=2), Choice((7, 15, 31, 63))] = 31
    min_samples_leaf: Annotated[int, Range(low=1), Choice((5, 10, 20, 50))] = 20
    l2: Annotated[float, Range(low=0.0), LogUniform(1e-3, 10.0)] = 0.0

    def needs(self) -> Needs:
        return Needs(environments=False, network=False)

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> BaseEstimator:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        x, y, weight = arrays(view.train)
        trees = HistGradientBoostingRegressor if view.kind == "regression" else HistGradientBoostingClassifier
        return trees(
            learning_rate=self.learning_rate,
            max_iter=self.iterations,
            max_leaf_nodes=self.max_leaf_nodes,
            min_samples_leaf=self.min_samples_leaf,
            l2_regularization=self.l2,
            early_stopping=False,
            random_state=int(trainer.numpy_rng("trees").integers(2**31)),
        ).fit(x, y, weight)
