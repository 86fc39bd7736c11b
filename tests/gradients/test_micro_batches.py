"""Statistics over micro-batches and ranks equal those of one batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gradient_checks import ALL, squares
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn

from holdfast.core.errors import UserError
from holdfast.gradients import (
    AndMask,
    GeometricMean,
    GradientEngine,
    MicroBatches,
    SandMask,
    SplitEnvironments,
    Stats,
    all_reduce,
)

GROUPS = torch.tensor([4, 4, 0, 1, 1, 1, 7, 7, 9])


def model_and_rows(*, batch_norm: bool = False) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    norm: list[nn.Module] = [nn.BatchNorm1d(4)] if batch_norm else []
    return nn.Sequential(nn.Linear(3, 4), *norm, nn.Tanh(), nn.Linear(4, 2)).double(), torch.randn(9, 3).double()


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize("aggregator", [AndMask(0.5), GeometricMean(0.5), SandMask(0.3)])
def test_micro_batches_of_whole_environments_equal_one_batch(aggregator) -> None:
    model, x = model_and_rows()
    engine = GradientEngine(model)
    engine.backward(squares(model(x)), GROUPS, aggregator=aggregator)
    wanted = gradients(model)
    model.zero_grad()
    batches = MicroBatches(engine, aggregator)
    for rows in ([0, 1, 2], [8], [7, 6, 3, 4, 5]):
        batches.add(squares(model(x[rows])), GROUPS[rows])
    batches.finish()
    assert all(torch.allclose(f, w, rtol=1e-10) for f, w in zip(gradients(model), wanted, strict=True))
    with pytest.raises(UserError, match="no micro-batch"):
        batches.finish()


def test_an_environment_in_two_micro_batches_is_refused_or_kept_open() -> None:
    model, x = model_and_rows()
    engine = GradientEngine(model)
    weights = torch.rand(9).double() + 0.1
    engine.backward(squares(model(x)), GROUPS, aggregator=AndMask(0.5), row_weights=weights)
    wanted = gradients(model)
    model.zero_grad()
    batches = MicroBatches(engine, AndMask(0.5))
    batches.add(squares(model(x[:4])), GROUPS[:4])
    with pytest.raises(UserError, match="environment 1 has rows in two"):
        batches.add(squares(model(x[4:])), GROUPS[4:])
    split = SplitEnvironments(engine, AndMask(0.5))
    for rows in (slice(0, 4), slice(4, 9)):
        split.add(squares(model(x[rows])), GROUPS[rows], row_weights=weights[rows])
    split.finish()
    assert all(torch.allclose(f, w, rtol=1e-10) for f, w in zip(gradients(model), wanted, strict=True))


def test_batch_norm_with_one_environment_per_micro_batch() -> None:
    model, x = model_and_rows(batch_norm=True)
    groups = torch.arange(9) // 3
    batches = MicroBatches(GradientEngine(model), AndMask(1.0))
    wanted: dict[str, Stats] = {}
    for e in range(3):
        loss = squares(model(x[groups == e])).mean() / 3
        g = torch.autograd.grad(loss, list(model.parameters()))
        for (name, _), value in zip(model.named_parameters(), g, strict=True):
            stats = Stats.of(value, AndMask.needs)
            wanted[name] = wanted[name] + stats if name in wanted else stats
        batches.add(squares(model(x[groups == e])), groups[groups == e])
    batches.finish()
    expected = AndMask(1.0)(wanted, {}).gradients
    assert all(torch.allclose(p.grad, expected[name]) for name, p in model.named_parameters())


def run_rank(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model, x = model_and_rows()
    rows = [[0, 1, 8], [2, 3, 4, 5, 6, 7]][rank]
    count = len(set(GROUPS[rows].tolist()))
    engine = GradientEngine(model)
    local = engine.statistics(
        squares(model(x[rows])), GROUPS[rows], needs=ALL, environment_weights=torch.full((count,), 1 / 5)
    )
    engine.apply(all_reduce(local), AndMask(0.5))
    save_file({name: p.grad for name, p in model.named_parameters()}, folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(run_rank, (tmp_path,), nprocs=2, start_method="fork")
    model, x = model_and_rows()
    GradientEngine(model).backward(squares(model(x)), GROUPS, aggregator=AndMask(0.5))
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert all(torch.allclose(found[name], p.grad, rtol=1e-6) for name, p in model.named_parameters())
