from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.gradients import AndMask, Mean, Stat, Stats

SCOPES = ("tensor", "global", "none")
Gradients = dict[str, torch.Tensor]


def statistics(gradients: Gradients, needs: frozenset[Stat]) -> dict[str, Stats]:
    stats = {}
    for name, g in gradients.items():
        total = Stats.of(g[0], needs)
        for row in g[1:]:
            total = total + Stats.of(row, needs)
        stats[name] = total
    return stats


def aggregate(mask: AndMask | Mean, gradients: Gradients) -> Gradients:
    return dict(mask(statistics(gradients, mask.needs), {}).gradients)


def by_hand(threshold: float, rescale: str, gradients: Gradients) -> Gradients:
    """Component by component in float64, comparing exact fractions."""
    kept, sums = {}, {}
    for name, g in gradients.items():
        components = g.double().reshape(len(g), -1).T.tolist()
        agreement = [abs(sum((x > 0) - (x < 0) for x in c)) for c in components]
        kept[name] = [Fraction(a, len(g)) >= Fraction(repr(threshold)) for a in agreement]
        sums[name] = [sum(c) for c in components]
    everything = [k for mask in kept.values() for k in mask]
    result = {}
    for name, g in gradients.items():
        scope = {"tensor": kept[name], "global": everything, "none": [True]}[rescale]
        fraction = sum(scope) / len(scope)
        values = [s / fraction if k else 0.0 for k, s in zip(kept[name], sums[name], strict=True)]
        result[name] = torch.tensor(values, dtype=torch.float64).reshape(g.shape[1:])
    return result


def draw(environments: int, shapes: list[tuple[int, ...]], seed: int) -> Gradients:
    rng = torch.Generator().manual_seed(seed)
    gradients = {}
    for i, shape in enumerate(shapes):
        values = torch.randn(environments, *shape, generator=rng, dtype=torch.float64)
        gradients[str(i)] = values * (torch.rand(values.shape, generator=rng) > 0.15)
    return gradients


shapes = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=3)
thresholds = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


@given(st.integers(1, 10), shapes, thresholds, st.sampled_from(SCOPES), st.integers(0, 10_000))
def test_the_mask_is_what_its_definition_says(
    environments: int, shapes: list[tuple[int, ...]], threshold: float, rescale: str, seed: int
) -> None:
    gradients = draw(environments, shapes, seed)
    expected = by_hand(threshold, rescale, gradients)
    for name, result in aggregate(AndMask(threshold, rescale=rescale), gradients).items():
        torch.testing.assert_close(result, expected[name])


@pytest.mark.parametrize("environments", range(1, 65))
def test_signs_are_compared_as_whole_numbers(environments: int) -> None:
    """k of E signs reach the threshold k / E, as a float, and k − 1 do not: 0.07 · 100 rounds to more than 7."""
    for k in range(1, environments + 1):
        sign = torch.tensor([k, k - 1, -k, 1 - k], dtype=torch.int32)
        stats = Stats(environments=environments, sum=torch.ones(4), sign=sign)
        result = AndMask(k / environments, rescale="none")({"p": stats}, {}).gradients["p"]
        assert result.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("rescale", SCOPES)
def test_threshold_zero_is_the_mean(rescale: str) -> None:
    gradients = draw(4, [(5, 3), (2,)], 0)
    plain = aggregate(Mean(), gradients)
    for name, result in aggregate(AndMask(0.0, rescale=rescale), gradients).items():
        torch.testing.assert_close(result, plain[name])


def test_one_environment_is_left_alone() -> None:
    gradients = draw(1, [(5, 3)], 0)
    assert torch.equal(aggregate(AndMask(1.0, rescale="none"), gradients)["0"], gradients["0"][0])


def test_a_zero_gradient_is_disagreement() -> None:
    gradients = {"p": torch.tensor([[1.0, 1.0], [1.0, 0.0]])}
    assert aggregate(AndMask(1.0, rescale="none"), gradients)["p"].tolist() == [2, 0]


@pytest.mark.parametrize("rescale", SCOPES)
def test_a_fully_masked_tensor_stays_zero(rescale: str) -> None:
    gradients = {"masked": torch.tensor([[1.0], [-1.0]]), "kept": torch.tensor([[1.0], [1.0]])}
    assert aggregate(AndMask(rescale=rescale), gradients)["masked"].tolist() == [0]
    assert aggregate(AndMask(rescale=rescale), {"masked": gradients["masked"]})["masked"].tolist() == [0]


@given(st.permutations(range(5)), thresholds, st.sampled_from(SCOPES))
def test_the_order_of_environments_does_not_matter(order: list[int], threshold: float, rescale: str) -> None:
    gradients, mask = draw(5, [(4, 3), (2,)], 1), AndMask(threshold, rescale=rescale)
    permuted = {name: g[order] for name, g in gradients.items()}
    for name, result in aggregate(mask, gradients).items():
        torch.testing.assert_close(aggregate(mask, permuted)[name], result)


@given(thresholds, st.sampled_from(SCOPES), st.integers(0, 10_000))
def test_doubling_every_environment_changes_nothing(threshold: float, rescale: str, seed: int) -> None:
    """Their weights 1/E are halved."""
    gradients, mask = draw(3, [(4, 3), (2,)], seed), AndMask(threshold, rescale=rescale)
    doubled = {name: torch.cat([g, g]) / 2 for name, g in gradients.items()}
    for name, result in aggregate(mask, gradients).items():
        torch.testing.assert_close(aggregate(mask, doubled)[name], result)


@pytest.mark.parametrize("environments", [2, 3, 5, 8])
def test_pure_noise_is_kept_with_probability_two_to_the_one_minus_e(environments: int) -> None:
    n, p = 40_000, 2.0 ** (1 - environments)
    noise = torch.randn(environments, n, generator=torch.Generator().manual_seed(environments))
    mask = AndMask(1.0)
    kept = mask(statistics({"p": noise}, mask.needs), {}).diagnostics["kept p"]
    assert abs(float(kept) - p) < 4 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_out_of_range_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        AndMask(threshold)


def test_the_mean_is_the_sum_of_weighted_gradients() -> None:
    gradients = draw(4, [(3, 2)], 0)
    torch.testing.assert_close(aggregate(Mean(), gradients)["0"], gradients["0"].sum(0))
