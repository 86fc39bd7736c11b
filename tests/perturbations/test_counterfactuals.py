"""Interventions change one factor and keep the rest."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from holdfast.perturbations.counterfactuals import counterfactual_inputs, counterfactual_outputs


def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
    return torch.stack([factors["label"], factors["color"], 7 * noise_ids], dim=1)


FACTORS = {"label": torch.tensor([0, 1, 2]), "color": torch.tensor([2, 0, 1])}
NOISE = torch.tensor([5, 3, 8])


def test_only_the_factor_changes() -> None:
    x = counterfactual_inputs(render, FACTORS, NOISE, "color", 1)
    assert x.tolist() == [[0, 1, 35], [1, 1, 21], [2, 1, 56]]
    assert FACTORS["color"].tolist() == [2, 0, 1]


def test_outputs_are_those_of_each_value_in_order() -> None:
    said = counterfactual_outputs(lambda x: x.double(), render, FACTORS, NOISE, "label", [2, 0])
    assert said.shape == (2, 3, 3)
    assert said[0, :, 0].tolist() == [2, 2, 2]
    assert said[1, :, 0].tolist() == [0, 0, 0]
    assert torch.equal(said[0, :, 1:], said[1, :, 1:])
