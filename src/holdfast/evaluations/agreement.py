"""How far environments agreed, in training, on where the weights should go."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.artifacts import Artifact, Curve, Matrix
from holdfast.core.data import Dataset
from holdfast.core.evaluation import Evaluation, Finding, Measurement, Predictor, Result
from holdfast.core.options import Range
from holdfast.core.predictors import checkpoints_of
from holdfast.core.registry import register
from holdfast.core.task import Role, TaskData
from holdfast.evaluations.weight_space import rows_of
from holdfast.gradients import SignAgreement, Suggestion, chance
from holdfast.losses import Loss, default_loss

ROLES: tuple[Role, ...] = ("train", "test")
START, MIDDLE, END, NOW = "start", "middle", "end", "as it is"


@dataclass(frozen=True)
class Stage:
    """A time in training; the step is None where it is not known."""

    name: str
    step: int | None = None

    @property
    def text(self) -> str:
        return self.name if self.step is None else f"{self.name} (step {self.step:,})"


@register
@dataclass(frozen=True, kw_only=True)
class Agreement(Evaluation):
    """Shares of the gradient's components whose sign environments agree on: at the start, middle and end of training.

    What all environments ask for is shared by them; what some ask for and others refuse is not (Parascandolo et al.,
    *Learning explanations that are hard to vary*, ICLR 2021, arXiv:2009.00329). The suggested threshold of an AND-mask
    is the one at which most agreement is left beyond that of tossed signs, in the middle of training; at the end
    gradients are near zero and their signs near noise. Where no checkpoints are kept, the network as it is stands for
    all three.

    Training rows, or test rows where there are none; mean loss of each environment, in evaluation mode. Components
    without a gradient in any environment do not count. Networks of more weights than ``max_weights`` have no result.

    Attributes:
        max_rows: So many rows are used at most.
        max_environments: The largest so many of them.
        max_weights: See above.
    """

    max_rows: Annotated[int, Range(low=2)] = 1_000
    max_environments: Annotated[int, Range(low=2)] = 16
    max_weights: Annotated[int, Range(low=1)] = 30_000_000

    def evaluate(self, predictor: Predictor, task: TaskData, rng: np.random.Generator) -> Result:
        module = predictor.module
        if module is None or not 0 < sum(p.numel() for p in module.parameters()) <= self.max_weights:
            return Result()
        found = ((role, rows_of(task, role, self.max_rows, rng)) for role in ROLES)
        role, rows = next(((role, rows) for role, rows in found if rows is not None), ("", None))
        if rows is None or len(environments := self._largest(rows)) < 2:
            return Result()
        loss = default_loss(task.kind, task.target_scale)
        stages = {
            stage: SignAgreement.of(network, _losses(network, rows, environments, loss))
            for stage, network in _stages(predictor, module)
        }
        return _result(stages, tuple(rows.environment.names[code] for code in environments), role)

    def _largest(self, rows: Dataset) -> list[int]:
        column = rows.environment
        by_size = sorted(zip(column.counts(), column.present(), strict=True), key=lambda pair: (-pair[0], pair[1]))
        return sorted(code for _, code in by_size[: self.max_environments])


def _stages(predictor: Predictor, module: nn.Module) -> Iterator[tuple[Stage, nn.Module]]:
    """The network at three kept steps, or as it is; copies in evaluation mode whose weights all have gradients."""
    checkpoints = checkpoints_of(predictor)
    made: dict[Stage, Callable[[], nn.Module]] = {Stage(NOW): lambda: copy.deepcopy(module)}
    if len(checkpoints) > 2:
        steps = sorted(checkpoints)
        middle = min(steps[1:-1], key=lambda step: abs(step - steps[-1] / 2))
        named = ((START, steps[0]), (MIDDLE, middle), (END, steps[-1]))
        made = {Stage(name, step): checkpoints[step] for name, step in named}
    for stage, make in made.items():
        yield stage, make().cpu().eval().requires_grad_()


def _losses(network: nn.Module, rows: Dataset, environments: list[int], loss: Loss) -> list[Callable[[], Tensor]]:
    dtype = next(p.dtype for p in network.parameters() if p.is_floating_point())
    data = rows.to("cpu", dtype)

    def mean_of(code: int) -> Callable[[], Tensor]:
        batch = data.batch((data.environment.codes == code).nonzero()[:, 0])

        def mean() -> Tensor:
            losses = loss(network(batch.x), batch.labels)
            weight = torch.ones_like(losses) if batch.weight is None else batch.weight.to(losses)
            return (weight * losses).sum() / weight.sum()

        return mean

    return [mean_of(code) for code in environments]


def _result(stages: Mapping[Stage, SignAgreement], names: tuple[str, ...], split: str) -> Result:
    of_interest = next((stage for stage in stages if stage.name == MIDDLE), next(iter(stages)))
    middle = stages[of_interest]
    found = middle.suggestion()
    threshold = 1.0 if found is None else found.threshold
    measurements = [
        Measurement(
            f"agreeing components, {stage.name}",
            agreement.share(threshold),
            split,
            len(names),
            unit="environment",
            note=f"signs agree to a threshold of {threshold:.4g}, {stage.text}",
        )
        for stage, agreement in stages.items()
    ]
    artifacts = (_by_layer(stages, threshold), _by_threshold(stages), _pairs(middle, names, of_interest.text))
    findings = () if found is None else (_finding(found, names, of_interest),)
    return Result(tuple(measurements), artifacts, findings)


def _finding(found: Suggestion, names: tuple[str, ...], stage: Stage) -> Finding:
    """Where no more signs agree than if they were tossed there is none."""
    share, by_chance = 100 * found.share, 100 * found.chance
    return Finding(
        "gradient signs",
        f"{share:.0f} % of the gradient's components have one sign in {_needed(found.threshold, names)}, {stage.text}; "
        f"{by_chance:.0f} % by chance: and-mask:threshold={found.threshold:.4g} keeps them.",
    )


def _needed(threshold: float, names: tuple[str, ...]) -> str:
    """In how many environments signs are the same where they agree to the threshold."""
    same = round(len(names) * (1 + threshold) / 2)
    return f"all {len(names)} environments" if same == len(names) else f"at least {same} of {len(names)} environments"


def _by_layer(stages: Mapping[Stage, SignAgreement], threshold: float) -> Artifact:
    shares = [agreement.share_by_layer(threshold) for agreement in stages.values()]
    return Matrix(
        "share of components that agree, by layer",
        tuple(tuple(of_stage[layer] for of_stage in shares) for layer in shares[0]),
        tuple(shares[0]),
        tuple(stage.text for stage in stages),
        caption=f"Signs that agree to a threshold of {threshold:.4g}.",
    )


def _by_threshold(stages: Mapping[Stage, SignAgreement]) -> Artifact:
    first = next(iter(stages.values()))
    at = (0.0, *first.thresholds())
    series = {s.text: (at, tuple(agreement.share(t) for t in at)) for s, agreement in stages.items()}
    series["tossed signs"] = (at, tuple(chance(t, first.environments) for t in at))
    return Curve("share of components that a mask keeps", series, "threshold", "share kept")


def _pairs(agreement: SignAgreement, names: tuple[str, ...], stage: str) -> Artifact:
    values = agreement.between_pairs()
    order = _clustered(values)
    ordered = tuple(names[k] for k in order)
    return Matrix(
        "which environments agree",
        tuple(tuple(row) for row in values[order][:, order].tolist()),
        ordered,
        ordered,
        caption=f"Share of components of equal sign less that of opposite sign, {stage}; alike ones stand together.",
    )


def _clustered(similarity: Tensor) -> list[int]:
    """An order in which alike environments are neighbours, by average linkage."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = (1 - similarity.numpy()).clip(min=0)
    np.fill_diagonal(distance, 0)
    if len(distance) < 3:
        return list(range(len(distance)))
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]
