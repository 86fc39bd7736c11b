"""Agreement of signs, against counts by hand and random signs."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from holdfast.core.errors import UserError
from holdfast.gradients import AndMask, GradientEngine, SignAgreement, chance


def random_signs(environments: int, components: int, seed: int = 0, zeros: float = 0.1) -> SignAgreement:
    rng = torch.Generator().manual_seed(seed)
    signs = 2 * torch.randint(2, (environments, components), generator=rng) - 1
    signs[torch.rand(signs.shape, generator=rng) < zeros] = 0
    first, second = signs.to(torch.int8).tensor_split([components // 3], dim=1)
    return SignAgreement({"a.weight": first, "b": second})


@pytest.mark.parametrize("environments", [2, 3, 4, 7])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_shares_are_counts(environments: int, threshold: float) -> None:
    agreement = random_signs(environments, 60, zeros=0.5)
    every = torch.cat(list(agreement.signs.values()), dim=1)
    columns = [column for column in every.T.tolist() if any(column)]
    kept = [column for column in columns if abs(sum(column)) >= threshold * environments - 1e-9]
    assert agreement.share(threshold) == pytest.approx(len(kept) / len(columns))
    assert set(agreement.share_by_layer(threshold)) == {"a", "b"}


def test_the_share_is_what_the_mask_keeps() -> None:
    """Where every component moves."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    x, groups = torch.randn(30, 4), torch.arange(30) % 5
    y = torch.randn(30)

    def losses() -> torch.Tensor:
        return (model(x).squeeze(1) - y).square()

    agreement = SignAgreement.of(model, [lambda e=e: losses()[groups == e].mean() for e in range(5)])  # type: ignore[misc]
    for threshold in (0.2, 0.6, 1.0):
        with GradientEngine(model) as engine:
            result = engine.backward(losses(), groups, aggregator=AndMask(threshold))
        sizes = {name: p.numel() for name, p in model.named_parameters()}
        kept = sum(float(result.diagnostics[f"kept {name}"]) * size for name, size in sizes.items())
        assert agreement.share(threshold) == pytest.approx(kept / sum(sizes.values()), abs=1e-6)


@pytest.mark.parametrize("environments", [1, 2, 5, 6])
def test_chance_is_that_of_tossed_signs(environments: int) -> None:
    for threshold in (0.0, 0.4, 0.75, 1.0):
        tosses = list(itertools.product((-1, 1), repeat=environments))
        kept = [toss for toss in tosses if abs(sum(toss)) >= threshold * environments - 1e-9]
        assert chance(threshold, environments) == pytest.approx(len(kept) / len(tosses))


@pytest.mark.parametrize("environments", [3, 8])
def test_tossed_signs_suggest_nothing(environments: int) -> None:
    assert random_signs(environments, 200_000, zeros=0.0).suggestion() is None


def test_the_suggestion_is_where_agreement_exceeds_chance_most() -> None:
    """40 % of the components are shared by six of eight environments, the others are tossed."""
    agreement = random_signs(8, 40_000, zeros=0.0)
    shared = torch.cat(list(agreement.signs.values()), dim=1)
    shared[:6, :16_000] = 1
    shared[6:, :16_000] = -1
    found = SignAgreement({"w": shared}).suggestion()
    assert found is not None
    assert found.threshold == 0.5
    assert found.share == pytest.approx(0.4 + 0.6 * chance(0.5, 8), abs=0.01)


def test_pairs_are_shares_of_equal_less_opposite_signs() -> None:
    agreement = random_signs(4, 50, zeros=0.5)
    every = torch.cat(list(agreement.signs.values()), dim=1).double()
    moved = every[:, (every != 0).any(0)]
    pairs = agreement.between_pairs()
    for e, f in itertools.product(range(4), repeat=2):
        assert float(pairs[e, f]) == pytest.approx(float((moved[e] * moved[f]).mean()))
    order = [2, 0, 3, 1]
    permuted = SignAgreement({name: signs[order] for name, signs in agreement.signs.items()})
    torch.testing.assert_close(permuted.between_pairs(), pairs[order][:, order])


def test_what_cannot_be_compared() -> None:
    model = nn.Linear(1, 1)
    x = torch.ones(1, 1)
    with pytest.raises(UserError, match="two at least"):
        SignAgreement.of(model, [lambda: model(x).sum()])
    with pytest.raises(UserError, match="not finite"):
        SignAgreement.of(model, [lambda: model(x).sum(), lambda: (torch.nan * model(x)).sum()])
    with pytest.raises(UserError, match="requires a gradient"):
        SignAgreement.of(nn.Linear(1, 1).requires_grad_(False), [])
