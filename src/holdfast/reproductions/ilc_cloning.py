"""Behavioral cloning: does a mask over time help in levels never seen?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from holdfast.core.ledger import Ledger
from holdfast.core.options import Range
from holdfast.core.predictors import ModulePredictor, forward
from holdfast.core.registry import register
from holdfast.core.reproduction import Finding, Reproduction, Verdict
from holdfast.core.task import Needs, TaskData, training_view
from holdfast.evaluations.live_success import LiveSuccess
from holdfast.gradients import AndMask
from holdfast.reproductions.estimates import estimated
from holdfast.selection import EnvironmentCyclingSampler, EnvironmentSampler
from holdfast.statistics import mean_t
from holdfast.tasks.grid_runner import GridRunner
from holdfast.training import AdamW, AndAdam, Budget, GradientStep, Trainer
from holdfast.training.records import Record, record

TUNING_SEED = 1000
SHARE = 0.8
DROPS = (0.5, 0.75)
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """How a policy is trained: the optimizer, what is done to gradients, and which rows make a batch."""

    optimizer: AdamW | AndAdam
    aggregator: AndMask | None = None
    sampler: type[EnvironmentSampler] = EnvironmentSampler


RATES, DECAYS, THRESHOLDS = (1e-3, 6e-3), (0.0, 0.06), (0.2, 0.4)
GRIDS: Mapping[str, Sequence[Setting]] = {
    "Adam": [
        Setting(AdamW(lr=lr, weight_decay=decay)) for lr, decay in itertools.product((5e-4, 1e-3, 2e-3, 6e-3), DECAYS)
    ],
    "AND-mask": [
        Setting(AdamW(lr=lr, weight_decay=decay), AndMask(threshold))
        for threshold, lr, decay in itertools.product(THRESHOLDS, RATES, DECAYS)
    ],
    "AND-Adam": [
        Setting(AndAdam(lr=lr, threshold=threshold, weight_decay=decay), sampler=EnvironmentCyclingSampler)
        for threshold, lr, decay in itertools.product(THRESHOLDS, RATES, DECAYS)
    ],
}
"""Eight settings for each; of the published ranges where the method has them."""
MEASURED = ("test loss", "test accuracy", "live success on test levels", "live success on training levels")


@dataclass(frozen=True, eq=False)
class Policy:
    """A trained network and the world that it was trained in."""

    network: nn.Module
    world: TaskData

    def loss(self, split: str) -> float:
        """Mean cross-entropy of the planner's actions."""
        return self._record(split).loss

    def accuracy(self, split: str) -> float:
        """Share of states in which the most probable action is the planner's."""
        return self._record(split).score

    def success(self, split: str) -> float:
        """Share of levels whose coin is reached."""
        predictor = ModulePredictor(self.network, "classification", self.world.classes)
        result = LiveSuccess().evaluate(predictor, self.world, np.random.default_rng(0))
        return next(m.value for m in result.measurements if m.split == split)

    def _record(self, split: str) -> Record:
        rows = self.world.split(split)
        everything, *_ = record(0, forward(self.network, rows.data), split, rows.role, rows.data, "classification")
        return everything


@register(name="ilc/cloning")
@dataclass(frozen=True, kw_only=True)
class IlcCloning(Reproduction):
    """A policy cloned with the temporal AND-mask has a lower loss in unseen levels than one cloned with Adam.

    In the grid runner, whose expert is an exact planner, in place of CoinRun with a trained one: only the direction
    can be compared, and the loss, the cross-entropy of the planner's action. Each method has eight settings, chosen by
    the loss on selection levels in a world of its own; then every seed has new levels and new initial weights, the
    same for all methods. Adam sees up to 16 levels in each batch, which is how it is used here, AND-Adam one. Both
    have decoupled weight decay in half of their settings. The verdict is on AND-Adam against Adam: it holds where the
    loss is lower in at least four fifths of the seeds and the paired interval excludes zero, fails where the interval
    lies on the other side, and is inconclusive else. The published margin is small: at most some 8 % of the loss.
    Five seeds, which were the default at first, held on one machine and were inconclusive on another, whose sums are
    rounded otherwise: hence fifteen, under the same rule.

    Attributes:
        seeds: Worlds.
        levels, rows: Training levels, and states of each.
        test_levels: Levels of selection and of the test, each.
        steps: Updates of each training, of 128 rows: by default the 30 passes of the paper.
    """

    claim: ClassVar[str] = (
        "In behavioral cloning of a side-scroller, Adam with a temporal AND-mask, which sees one level per batch, ends "
        "with a lower loss on unseen levels than Adam."
    )
    published: ClassVar[str] = (
        "CoinRun, 64 levels, ResNet-18, 1,024 trials each: least test KL of the top runs 1.652e-2 to 1.672e-2 "
        "(AND-mask); Adam's lie higher within 1.65e-2 to 1.80e-2"
    )
    source: ClassVar[str] = (
        "Parascandolo, Neitz, Orvieto, Gresele, Schölkopf, Learning explanations that are hard to vary, ICLR 2021, "
        "arXiv:2009.00329, section 3.3"
    )
    uses: ClassVar[tuple[tuple[str, str], ...]] = (("task", "grid-runner"), ("evaluation", "live-success"))

    seeds: Annotated[int, Range(2)] = 15
    levels: Annotated[int, Range(1)] = 16
    rows: Annotated[int, Range(1)] = 200
    test_levels: Annotated[int, Range(1)] = 100
    steps: Annotated[int, Range(1)] = 750

    def reproduce(self) -> Finding:
        """Choose a setting for each method, train it on every seed and compare."""
        chosen = {name: self._chosen(grid) for name, grid in GRIDS.items()}
        worlds = [self._world(seed) for seed in range(self.seeds)]
        scores = {
            name: np.array([self._scores(setting, world, seed) for seed, world in enumerate(worlds)])
            for name, setting in chosen.items()
        }
        measured = {
            f"{name}: {what}": estimated(values[:, k])
            for name, values in scores.items()
            for k, what in enumerate(MEASURED)
        }
        gain = scores["Adam"][:, 0] - scores["AND-Adam"][:, 0]
        measured["test loss of Adam − of AND-Adam"] = estimated(gain)
        return Finding(_verdict(gain), measured, _reason(gain))

    def _world(self, seed: int) -> TaskData:
        return GridRunner(
            levels=self.levels,
            rows_per_level=self.rows,
            selection_levels=self.test_levels,
            test_levels=self.test_levels,
            data_seed=seed,
        ).load()

    def _chosen(self, grid: Sequence[Setting]) -> Setting:
        """The setting with the least loss on the selection levels of the tuning world."""
        world = self._world(TUNING_SEED)
        losses = [self._trained(setting, world, TUNING_SEED).loss("selection") for setting in grid]
        return grid[int(np.argmin(losses))]

    def _scores(self, setting: Setting, world: TaskData, seed: int) -> Scores:
        """The values of :data:`MEASURED`."""
        policy = self._trained(setting, world, seed)
        return np.array([policy.loss("test"), policy.accuracy("test"), policy.success("test"), policy.success("train")])

    def _trained(self, setting: Setting, world: TaskData, seed: int) -> Policy:
        trainer = Trainer(seed=seed, budget=Budget(self.steps), batch_size=128)
        view = training_view(world, Needs(), Ledger())
        with trainer.randomness("init"):
            model = view.model.build(view.input_shape, view.outputs)
        falling = dataclasses.replace(setting.optimizer, drops=DROPS)
        step = GradientStep(optimizer=falling, aggregator=setting.aggregator)
        sampler = setting.sampler(view.train.environment.codes, trainer.batch_size, trainer.rng("batches"))
        return Policy(trainer.fit(model, view, step, source=trainer.rows(view, sampler)).model, world)


def _verdict(gain: Scores) -> Verdict:
    """What (N,) differences of the loss say, positive where AND-Adam's is lower."""
    interval = mean_t(gain)
    if interval.contains(0.0):
        return "inconclusive"
    if gain.mean() < 0:
        return "fails"
    return "holds" if (gain > 0).mean() >= SHARE else "inconclusive"


def _reason(gain: Scores) -> str:
    interval = mean_t(gain)
    sides = "unknown" if interval.low is None else f"[{interval.low:.3g}, {interval.high:.3g}]"
    return (
        f"AND-Adam's test loss is lower in {(gain > 0).sum()} of {len(gain)} seeds; the paired interval of the "
        f"difference is {sides}"
    )
