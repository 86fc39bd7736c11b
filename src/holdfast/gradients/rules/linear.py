"""Linear layers: one batched product per chunk; per example, signs and squares without any gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from holdfast.gradients.accumulator import Accumulator
from holdfast.gradients.grouping import Chunk, Grouping
from holdfast.gradients.rules.base import LayerGradient, Rule, Workspace, sum_positions


class LinearRule(Rule):
    """g_e = Σ over rows and positions of δ ⊗ a, with a the input and δ the gradient of the output."""

    def environment_bytes(self, gradient: LayerGradient, rows: int) -> int:
        return gradient.parameter_bytes

    def blocks(self, gradient: LayerGradient, chunk: Chunk, workspace: Workspace) -> Mapping[str, Tensor]:
        outputs = chunk.take_gradients(gradient.outputs)
        blocks = {}
        if "bias" in gradient.wanted:
            blocks["bias"] = sum_positions(outputs, keep=1)
        if "weight" in gradient.wanted:
            inputs = chunk.take(gradient.inputs).to(outputs.dtype).flatten(1, -2)
            outputs = outputs.flatten(1, -2)
            buffer = workspace.take("linear", (len(inputs), outputs.shape[-1], inputs.shape[-1]), outputs)
            blocks["weight"] = torch.bmm(outputs.transpose(1, 2), inputs, out=buffer)
        return blocks

    def shortcut(self, gradient: LayerGradient, grouping: Grouping, sums: Mapping[str, Accumulator]) -> bool:
        if not grouping.is_per_example or gradient.inputs.ndim != 2:
            return False
        if "weight" in sums:
            sums["weight"].add_outer_products(gradient.outputs, gradient.inputs.to(gradient.outputs.dtype))
        if "bias" in sums:
            sums["bias"].add(gradient.outputs.clone())
        return True
