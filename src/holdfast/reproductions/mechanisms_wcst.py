"""Which cue a network adopts where digit, color and position tell the class equally well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from holdfast.core.ledger import Ledger
from holdfast.core.options import Range
from holdfast.core.predictors import forward
from holdfast.core.registry import register
from holdfast.core.reproduction import Estimate, Finding, Reproduction
from holdfast.core.task import Model, Needs, training_view
from holdfast.models.cnn import CNN
from holdfast.models.mlp import MLP
from holdfast.reproductions.estimates import estimated
from holdfast.tasks.cue_diagonal import Cue, CueDiagonal
from holdfast.training import Adam, Budget, GradientStep, Trainer

NETWORKS: Mapping[str, Model] = {"mlp": MLP(hidden=(256, 256)), "cnn": CNN()}
FOLLOWED = ("digit", "color", "position")
COLOR_AT_LEAST = 0.8
DIGIT_AT_MOST = 0.3
SEEDS_AT_LEAST = 0.8
Scores = NDArray[np.float64]


@register(name="mechanisms/wcst")
@dataclass(frozen=True, kw_only=True)
class MechanismsWcst(Reproduction):
    """Trained where all cues agree, networks answer by color rather than by shape where the cues say different classes.

    The embedded digits in ten colors and ten places of a canvas of 16 × 16 pixels, in training all of the class; 200
    updates of 128 rows by Adam. Off the diagonal no two of digit, color and position say the same class, and the share
    of answers that follow each is measured. The condition is the card's, at least .8 follow the color and at most .3
    the digit in four fifths of the seeds, for each of two networks: the multilayer perceptron that the card names, and
    a convolutional one with a mean over positions, which is nearer to the paper's residual network. The claim holds
    where both meet it and fails where one does not. The place of a digit is the card's cue and not among the paper's;
    so the perceptron's shares without it, digits of all places and the color as the only other cue, are measured, too.

    Attributes:
        seeds: Data and initial weights.
        steps: Updates of each training.
    """

    claim: ClassVar[str] = (
        "Where all cues predict the class equally well, networks adopt color and hardly use shape, whatever the seed."
    )
    published: ClassVar[str] = "color > scale > shape > orientation, on DSprites (no figure taken)"
    source: ClassVar[str] = (
        "Scimeca, Oh, Chun, Poli, Yun, Which shortcut cues will DNNs choose? A study from the parameter-space "
        "perspective, ICLR 2022, arXiv:2110.03095"
    )
    uses: ClassVar[tuple[tuple[str, str], ...]] = (("task", "cue-diagonal"), ("model", "mlp"), ("model", "cnn"))

    seeds: Annotated[int, Range(2)] = 5
    steps: Annotated[int, Range(1)] = 200

    def reproduce(self) -> Finding:
        """Train each network on every seed and count whom its answers follow."""
        scores = {name: self._over_seeds(model, ("color", "position")) for name, model in NETWORKS.items()}
        met = {name: _meets(values) for name, values in scores.items()}
        shares = scores | {"mlp, places at random": self._over_seeds(NETWORKS["mlp"], ("color",))}
        reasons = [
            f"{name}: at least .8 follow the color and at most .3 the digit in {values.sum()} of {len(values)} seeds"
            for name, values in met.items()
        ]
        holds = all(values.mean() >= SEEDS_AT_LEAST for values in met.values())
        return Finding("holds" if holds else "fails", _measured(shares), "; ".join(reasons))

    def _over_seeds(self, model: Model, cues: tuple[Cue, ...]) -> Scores:
        """(seeds, 1 + cues) shares of the answers that follow the digit and each cue, as in :data:`FOLLOWED`."""
        return np.array([self._shares(model, cues, seed) for seed in range(self.seeds)])

    def _shares(self, model: Model, cues: tuple[Cue, ...], seed: int) -> Scores:
        task = CueDiagonal(cues=cues, data_seed=seed).load()
        trainer = Trainer(seed=seed, budget=Budget(self.steps), batch_size=task.batch_size)
        view = training_view(task, Needs(), Ledger())
        with trainer.randomness("init"):
            network = model.build(view.input_shape, view.outputs)
        trained = trainer.fit(network, view, GradientStep(optimizer=Adam(lr=1e-3))).model
        test = task.split("test").data
        answers = forward(trained, test).argmax(dim=1)
        said = {"digit": test.labels, **{cue: column.codes for cue, column in test.attributes.items()}}
        return np.array([float((answers == codes).double().mean()) for codes in said.values()])


def _meets(shares: Scores) -> NDArray[np.bool_]:
    """(seeds,) whether the answers follow the color and not the digit, as the card asks."""
    return np.asarray((shares[:, 1] >= COLOR_AT_LEAST) & (shares[:, 0] <= DIGIT_AT_MOST))


def _measured(shares: Mapping[str, Scores]) -> dict[str, Estimate]:
    return {
        f"{setting}: share that follows the {cue}": estimated(values[:, place])
        for setting, values in shares.items()
        for place, cue in enumerate(FOLLOWED[: values.shape[1]])
    }
