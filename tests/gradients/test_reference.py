from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from holdfast.core.errors import HoldfastError
from holdfast.gradients import AndMask, Mean, ReferenceEngine, Stats
from holdfast.gradients.aggregators import Aggregator


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.LeakyReLU(), nn.Linear(5, 3)).double()


def rows(n: int = 23, environments: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, labels, environment codes (unequal, with gaps and an unknown one) and weights."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=rng, dtype=torch.float64)
    codes = torch.tensor([-1, 2, 7, 8, 11])[:environments]
    groups = torch.cat([codes, codes[torch.randint(environments, (n - environments,), generator=rng) ** 2 // 2]])
    weights = torch.rand(n, generator=rng, dtype=torch.float64)
    return x, torch.randint(3, (n,), generator=rng), groups, weights


def losses(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y, reduction="none")


def one_by_one(
    model: nn.Module, x: Tensor, y: Tensor, groups: Tensor, weights: Tensor, factors: Tensor, aggregator: Aggregator
) -> dict[str, Tensor]:
    """A forward and a backward pass for each environment's own rows."""
    totals: dict[str, Stats] = {}
    for factor, group in zip(factors, groups.unique(), strict=True):
        own = groups == group
        model.zero_grad()
        mean = (weights[own] * losses(model, x[own], y[own])).sum() / weights[own].sum()
        (factor * mean).backward()
        for name, p in model.named_parameters():
            stats = Stats.of(p.grad.clone(), aggregator.needs)
            totals[name] = totals[name] + stats if name in totals else stats
    model.zero_grad()
    return dict(aggregator(totals, {}).gradients)


@pytest.mark.parametrize("aggregator", [Mean(), AndMask(1.0), AndMask(0.4, rescale="global")], ids=str)
@pytest.mark.parametrize("environments", [1, 2, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_a_loop_over_environments(aggregator: Aggregator, environments: int, weighted: bool) -> None:
    model, (x, y, groups, weights) = network(), rows(environments=environments)
    factors = (
        torch.rand(environments, dtype=torch.float64) if weighted else torch.full((environments,), 1 / environments)
    )
    row_weights = weights if weighted else None
    expected = one_by_one(model, x, y, groups, torch.ones(23) if row_weights is None else weights, factors, aggregator)
    ReferenceEngine(model).backward(
        losses(model, x, y),
        groups,
        aggregator=aggregator,
        row_weights=row_weights,
        environment_weights=factors if weighted else None,
    )
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name])


def gradient(x: Tensor, y: Tensor, groups: Tensor, aggregator: Aggregator | None = None) -> Tensor:
    model = network()
    ReferenceEngine(model).backward(losses(model, x, y), groups, aggregator=aggregator)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@given(st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    x, y, groups, _ = rows(seed=seed)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    for aggregator in (Mean(), AndMask()):
        torch.testing.assert_close(
            gradient(x[order], y[order], groups[order], aggregator), gradient(x, y, groups, aggregator)
        )


def test_doubling_every_environment_changes_nothing() -> None:
    x, y, groups, _ = rows()
    twice = torch.cat([x, x]), torch.cat([y, y]), torch.cat([groups, groups + 100])
    for aggregator in (Mean(), AndMask(), AndMask(0.5, rescale="none")):
        torch.testing.assert_close(gradient(*twice, aggregator), gradient(x, y, groups, aggregator))


def test_one_environment_unscaled_is_a_plain_backward_pass() -> None:
    x, y, _, _ = rows()
    model = network()
    losses(model, x, y).mean().backward()
    plain = torch.cat([p.grad.flatten() for p in model.parameters()])
    groups = torch.zeros(len(x), dtype=torch.int64)
    torch.testing.assert_close(gradient(x, y, groups, AndMask(rescale="none")), plain)
    torch.testing.assert_close(gradient(x, y, groups), plain)


def test_it_adds_to_gradients_that_are_there() -> None:
    x, y, groups, _ = rows()
    model = network()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    ReferenceEngine(model).backward(losses(model, x, y), groups)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in model.parameters()]), 1 + gradient(x, y, groups))


def test_frozen_and_unused_parameters() -> None:
    x, y, groups, _ = rows()
    model = network()
    model[0].requires_grad_(False)
    model.register_parameter("unused", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    ReferenceEngine(model).backward(losses(model, x, y), groups, aggregator=AndMask())
    assert model[0].weight.grad is None
    assert model.unused.grad.tolist() == [0, 0]
    assert model[2].weight.grad.abs().sum() > 0


def test_the_graph_is_kept_only_on_request() -> None:
    x, y, groups, _ = rows()
    model = network()
    values = losses(model, x, y)
    engine = ReferenceEngine(model)
    engine.backward(values, groups, retain_graph=True)
    engine.backward(values, groups)
    with pytest.raises(RuntimeError, match="second time"):
        engine.backward(values, groups)


def test_an_aggregator_gets_its_state_back() -> None:
    class Counting:
        needs: frozenset = frozenset()

        def __call__(self, stats: dict, state: dict) -> object:
            result = Mean()(stats, state)
            return type(result)(result.gradients, state={"calls": state.get("calls", 0) + 1})

    x, y, groups, _ = rows()
    model = network()
    first = ReferenceEngine(model).backward(losses(model, x, y), groups, aggregator=Counting())
    again = ReferenceEngine(model).backward(losses(model, x, y), groups, aggregator=Counting(), state=first.state)
    assert again.state == {"calls": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values, groups: (values.mean(), groups), "one per example"),
        (lambda values, groups: (values, groups[:-1]), "give one each"),
        (lambda values, groups: (values, groups.double()), "whole numbers"),
        (lambda values, groups: (values / 0, groups), "not finite"),
    ],
)
def test_what_would_silently_be_wrong_is_refused(change: object, message: str) -> None:
    x, y, groups, _ = rows()
    model = network()
    with pytest.raises(HoldfastError, match=message):
        ReferenceEngine(model).backward(*change(losses(model, x, y), groups))
    assert all(p.grad is None for p in model.parameters())
