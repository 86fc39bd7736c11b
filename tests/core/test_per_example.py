from __future__ import annotations

import torch

from holdfast.core.per_example import PerExample


def test_values_are_kept_by_row_id_and_saved() -> None:
    memory = PerExample(5, initial=-1.0)
    memory.write(torch.tensor([4, 1]), torch.tensor([0.5, 2.0], dtype=torch.float64))
    assert memory.read(torch.tensor([1, 4, 0])).tolist() == [2.0, 0.5, -1.0]
    again = PerExample(5)
    again.load_state_dict(memory.state_dict())
    assert torch.equal(again.values, memory.values)


def test_no_gradient_flows_through_the_memory() -> None:
    memory = PerExample(2)
    losses = torch.ones(2, requires_grad=True) * 3
    memory.write(torch.arange(2), losses)
    assert not memory.read(torch.arange(2)).requires_grad
