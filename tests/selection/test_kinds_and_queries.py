"""Rows under one of several changes, and rows that models contradict each other on."""

from __future__ import annotations

import pytest
import torch

from holdfast.core.data import Batch, Column, Dataset
from holdfast.selection import EnvironmentSampler, Rows
from holdfast.selection.kinds import KIND, Counterparts, OneOfKinds
from holdfast.selection.queries import best_of, most_disputed

N = 300
ROWS = Dataset(torch.zeros(N, 2), torch.arange(N) % 3, Column.constant(N), index=1000 - torch.arange(N))
SHUFFLED = torch.randperm(N, generator=torch.Generator().manual_seed(5))
OTHER = Dataset(ROWS.index[:, None].float().expand(-1, 2).clone(), ROWS.y, ROWS.environment, index=ROWS.index)


def plus_one(batch: Batch, generator: torch.Generator) -> torch.Tensor:
    return batch.x + torch.rand(len(batch), 1, generator=generator).ceil()  # type: ignore[operator]


def source() -> OneOfKinds:
    rows = Rows(ROWS, EnvironmentSampler(ROWS.environment.codes, N, torch.Generator().manual_seed(1)))
    return OneOfKinds(rows, [plus_one, Counterparts(OTHER.take(SHUFFLED))], torch.Generator().manual_seed(2))


def test_every_row_is_under_the_change_of_its_kind() -> None:
    batch = source().next_batch()
    kind = batch.attributes[KIND]
    expected = torch.where(kind == 0, 0, torch.where(kind == 1, 1, batch.index))
    assert torch.equal(batch.x, expected[:, None].float().expand(-1, 2))  # type: ignore[arg-type]
    counts = torch.bincount(kind, minlength=3)
    assert counts.sum() == N
    assert counts.min() > 70
    assert torch.equal(ROWS.x, torch.zeros(N, 2))  # type: ignore[arg-type]


def test_a_restored_source_goes_on_with_the_same_batches() -> None:
    first = source()
    first.next_batch()
    state = {"source": first.source.state_dict(), "generator": first.generator.get_state().clone()}
    expected = first.next_batch()
    again = source()
    again.load_state_dict(state)
    found = again.next_batch()
    assert torch.equal(found.x, expected.x)  # type: ignore[arg-type]
    assert torch.equal(found.attributes[KIND], expected.attributes[KIND])


def test_the_most_disputed_rows_come_first() -> None:
    outputs = torch.zeros(2, 4, 2)
    outputs[0, :, 0] = torch.tensor([0.0, 3.0, 9.0, 3.0])
    assert most_disputed(outputs, 3).tolist() == [2, 1, 3]
    assert most_disputed(outputs, 9).tolist() == [2, 1, 3, 0]


@pytest.mark.parametrize(("labels", "best"), [([0, 0], 0), ([1, 1], 1), ([0, 1], 2)])
def test_the_model_that_is_right_most_often_and_then_surest_is_best(labels: list[int], best: int) -> None:
    eye = torch.eye(2)
    models = [3 * eye[torch.tensor(named)] for named in ([0, 0], [1, 1], [0, 1])]
    assert best_of(torch.stack(models), torch.tensor(labels)) == best
    surer = torch.stack([models[0], 2 * models[0]])
    assert best_of(surer, torch.tensor([0, 0])) == 1
    assert best_of(surer, torch.tensor([1, 0])) == 0
