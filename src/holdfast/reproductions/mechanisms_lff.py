"""A network that learns from another's failures relies on color less, though no row says what its color means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from torch import nn

from holdfast.core.options import Range
from holdfast.core.predictors import forward
from holdfast.core.registry import register
from holdfast.core.reproduction import Finding, Reproduction
from holdfast.losses import cross_entropy
from holdfast.methods.erm import ERM
from holdfast.methods.lff import LfF
from holdfast.reproductions.biased_digits import NEEDS_MNIST, OPTIMIZER, USES, Training, accuracies, trained
from holdfast.reproductions.estimates import decided, estimated
from holdfast.tasks.data_folder import has_data_set

STRENGTH = 0.95
ABOVE, BELOW, LEAST_AUC, MOST_LOST = 0.05, 0.1, 0.88, 0.06


@dataclass(frozen=True)
class Outcome:
    """Of one seed: accuracies on conflicting and aligned rows, and how well the biased network's loss tells them apart.

    Attributes:
        plain: Of plain training, conflicting and aligned.
        main: Of the network that learns from failures.
        biased: Of the biased network.
        auc: Area under the ROC curve of the biased network's cross-entropy for conflicting against aligned training
            rows.
    """

    plain: tuple[float, float]
    main: tuple[float, float]
    biased: tuple[float, float]
    auc: float


@register(name="mechanisms/lff")
@dataclass(frozen=True, kw_only=True)
class MechanismsLff(Reproduction):
    """On digits of which 95 % have the color of their class, learning from failure finds the others and the digit.

    The experiment of ``mechanisms/gce``, after 400 updates. Thresholds are the card's, and hold on every seed. On
    digits of another class's color the accuracy is at least .05 above that of plain training, the biased network's at
    least .1 below it; the biased network's loss tells conflicting from aligned training rows with an area under the
    curve of at least .88; on digits of their own class's color at most .06 of plain training's accuracy is lost.

    Attributes:
        seeds: Data and initial weights.
        steps: Updates of each training.
    """

    claim: ClassVar[str] = (
        "Weighting rows by how much harder they are to a deliberately biased network trains a network that relies on "
        "the bias less, without any label of the bias."
    )
    published: ClassVar[str] = (
        "Colored MNIST, 95 % aligned, accuracy over all pairs of class and color: 77.6 (plain), 85.4 (LfF)"
    )
    source: ClassVar[str] = (
        "Nam, Cha, Ahn, Lee, Shin, Learning from failure: training debiased classifier from biased classifier, NeurIPS "
        "2020, arXiv:2007.02561"
    )
    uses: ClassVar[tuple[tuple[str, str], ...]] = (*USES, ("method", "lff"))

    seeds: Annotated[int, Range(2)] = 5
    steps: Annotated[int, Range(1)] = 400

    def reproduce(self) -> Finding:
        """Train both ways on every seed."""
        if not has_data_set("mnist"):
            return Finding("inconclusive", {}, NEEDS_MNIST)
        return judged([self._outcome(seed) for seed in range(self.seeds)])

    def _outcome(self, seed: int) -> Outcome:
        plain = trained(ERM(optimizer=OPTIMIZER), STRENGTH, seed, self.steps)
        method = LfF(optimizer=OPTIMIZER)
        training = Training.of(method, STRENGTH, seed, self.steps)
        models = method.fitted(training.view, training.trainer).models
        main, biased = (accuracies(models[name], training.task) for name in ("model", "biased"))
        return Outcome(
            (plain.conflicting, plain.aligned),
            (main.conflicting, main.aligned),
            (biased.conflicting, biased.aligned),
            _auc(models["biased"], training),
        )


def judged(outcomes: list[Outcome]) -> Finding:
    """The verdict on one outcome for each seed."""
    plain, main, biased = (np.array([getattr(o, name) for o in outcomes]) for name in ("plain", "main", "biased"))
    auc = np.array([o.auc for o in outcomes])
    measured = {
        f"{kind}, {name}": estimated(values[:, place])
        for place, kind in enumerate(("conflicting", "aligned"))
        for name, values in {"plain": plain, "LfF": main, "its biased network": biased}.items()
    }
    measured["AUC of the biased network's loss"] = estimated(auc)
    conditions = {
        f"conflicting: LfF ≥ plain + {ABOVE} on every seed": bool((main[:, 0] >= plain[:, 0] + ABOVE).all()),
        f"conflicting: biased ≤ plain − {BELOW} on every seed": bool((biased[:, 0] <= plain[:, 0] - BELOW).all()),
        f"AUC ≥ {LEAST_AUC} on every seed": bool((auc >= LEAST_AUC).all()),
        f"aligned: at most {MOST_LOST} lost on every seed": bool((main[:, 1] >= plain[:, 1] - MOST_LOST).all()),
    }
    return decided(conditions, measured)


def _auc(biased: nn.Module, training: Training) -> float:
    from sklearn.metrics import roc_auc_score

    rows = training.view.train
    losses = cross_entropy(forward(biased, rows), rows.labels)
    return float(roc_auc_score(training.conflicting, losses.numpy()))
