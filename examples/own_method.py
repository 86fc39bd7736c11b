"""A method of one's own in one file: a soft maximum over environments.

Run it with ``python examples/own_method.py``: it registers the method and calls the command line, where the method is
now known by name with its options. To make it known to every ``holdfast`` command, put the file into a package and name
the module in that package's entry points under ``holdfast.plugins``.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from holdfast.cli import main
from holdfast.core.method import Method
from holdfast.core.options import Range, Uniform
from holdfast.core.registry import register
from holdfast.core.task import TrainingView
from holdfast.losses import EnvironmentLosses
from holdfast.training import Adam, GradientStep, Optimizer, Trainer


@dataclass(frozen=True)
class SoftMaximum:
    """A risk between the mean and the maximum over environments: log-mean-exp at a temperature."""

    temperature: float

    def __call__(self, losses: EnvironmentLosses) -> Tensor:
        scaled = losses.values / self.temperature
        return self.temperature * (scaled.logsumexp(0) - torch.log(torch.tensor(float(len(scaled)))))


@register
@dataclass(frozen=True, kw_only=True)
class SoftWorst(Method):
    """Minimise a soft maximum of the environments' losses.

    Attributes:
        temperature: Small is close to the worst environment, large close to the mean.
        optimizer: The optimizer.
    """

    temperature: Annotated[float, Range(1e-3), Uniform(0.05, 2.0)] = 0.5
    optimizer: Optimizer = Adam()

    def fit(self, view: TrainingView, trainer: Trainer, model: nn.Module | None = None) -> nn.Module:
        step = GradientStep(risk=SoftMaximum(self.temperature), optimizer=self.optimizer)
        return trainer.fit(trainer.build(self, view, model), view, step).model


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["run", "colored-digits", "--method", "erm,soft-worst:temperature=0.2", "--seeds", "2"]
    sys.exit(main(wanted))
