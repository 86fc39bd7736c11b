"""Whether a network and another are joined by a curve of low loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from holdfast.core.evaluation import Evaluation, Predictor, Result
from holdfast.core.ledger import Ledger
from holdfast.core.options import LogUniform, Range
from holdfast.core.registry import register
from holdfast.core.task import Needs, TaskData, training_view
from holdfast.evaluations.weight_space import Surroundings, drawn, measured
from holdfast.training import Adam, Budget, GradientStep, Trainer
from holdfast.weights import Evaluate, Profile, WeightTree, fit_curve, line_profile, read_weights, recalibrate


@register
@dataclass(frozen=True, kw_only=True)
class CurvedPath(Evaluation):
    """Train a curve of low loss from this network to another of the same architecture, and measure it.

    T. Garipov, P. Izmailov, D. Podoprikhin, D. Vetrov, A. G. Wilson, *Loss surfaces, mode connectivity, and fast
    ensembling of DNNs*, NeurIPS 2018, arXiv:1802.10026. The middle of the curve is trained on the training rows; that
    costs as much as a training of the network. Running statistics of batch normalisation are computed anew at each
    point.

    Attributes:
        other: A safetensors file with the other network's weights, or a folder with one, such as a cell's.
        kind: ``bezier``, or ``polygon`` for straight pieces.
        bends: Control points between the ends.
        steps: Updates of the training; None for the task's own number.
        lr: Learning rate of Adam.
        points: On the curve.
        max_rows: So many rows are used for measuring at most, of the training and of the test.
    """

    other: str
    kind: Literal["bezier", "polygon"] = "bezier"
    bends: Annotated[int, Range(low=1)] = 1
    steps: Annotated[int | None, Range(low=1)] = None
    lr: Annotated[float, Range(low=0.0), LogUniform(1e-4, 1e-2)] = 1e-3
    points: Annotated[int, Range(low=3)] = 25
    max_rows: Annotated[int, Range(low=1)] = 2_000

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        around = Surroundings.of(predictor, task, self.max_rows, rng)
        if around is None:
            return Result()
        ends = around.tree, read_weights(self.other, around.module)
        trainer = Trainer(
            seed=int(rng.integers(2**31)), budget=Budget(self.steps or task.steps), batch_size=task.batch_size
        )
        view = training_view(task, Needs(), Ledger())
        step = GradientStep(optimizer=Adam(lr=self.lr))
        curve = fit_curve(trainer, around.module, ends, view, step, kind=self.kind, bends=self.bends)
        inputs = around.inputs()

        def refreshed(weights: WeightTree) -> WeightTree:
            return recalibrate(around.module, weights, inputs)

        def profiles(evaluate: Evaluate) -> dict[str, Profile]:
            return {
                "the line": line_profile(*ends, evaluate, points=self.points, mend=refreshed),
                "the curve": curve.profile(evaluate, points=self.points, mend=refreshed),
            }

        losses = profiles(around.objective(around.train))
        found = [measured(f"highest loss on {name}", p.highest, around.train, "train") for name, p in losses.items()]
        found += [measured(f"loss barrier on {name}", p.barrier, around.train, "train") for name, p in losses.items()]
        shown = [drawn("training loss on the curve", losses, "training loss")]
        if around.test is not None:
            what = "error" if around.classes else "loss"
            errors = profiles(around.error_on_test())
            found += [
                measured(f"highest {what} on {name}", p.highest, around.test, "test") for name, p in errors.items()
            ]
            shown.append(drawn(f"test {what} on the curve", errors, f"test {what}"))
        return Result(tuple(found), tuple(shown))
