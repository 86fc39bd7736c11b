"""Hidden units: permuting, matching, and repairing what averaging does to them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from weight_networks import convnet, images, mlp, rows

from holdfast.core.errors import UserError
from holdfast.models.cnn import CNN
from holdfast.models.mlp import MLP
from holdfast.weights import (
    Axis,
    Functional,
    PermutationSpec,
    WeightTree,
    aligned,
    combined,
    match_activations,
    match_weights,
    permuted,
    repair,
    variance_ratios,
)
from holdfast.weights.matching import _assigned, _gains, _uses


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Residual(nn.Module):
    """A block whose sum ties the units before and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.outer, self.last = (
            nn.Linear(4, 6), nn.Linear(6, 9), nn.Linear(9, 6), nn.Linear(6, 3),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stream = self.first(x)
        return self.last(stream + self.outer(self.inner(stream).relu()))


def small_cnn(seed: int) -> nn.Module:
    """Channels are normalised in bundles."""
    torch.manual_seed(seed)
    return CNN(channels=(6, 8), groups=2).build((1, 6, 6), 3).double()


STREAM, INNER = Axis("stream"), Axis("inner")
RESIDUAL = PermutationSpec(
    {
        "first.weight": (STREAM, None),
        "first.bias": (STREAM,),
        "inner.weight": (INNER, STREAM),
        "inner.bias": (INNER,),
        "outer.weight": (STREAM, INNER),
        "outer.bias": (STREAM,),
        "last.weight": (None, STREAM),
    }
)


@pytest.mark.parametrize("seed", range(3))
def test_a_permutation_leaves_the_function_as_it_is(seed: int) -> None:
    for net, x in (
        (mlp(4, 7, 5, 3, seed=seed), rows().batch().x),
        (convnet(seed), next(images())),
        (MLP(hidden=(9, 8)).build((2, 3, 3), 4), torch.randn(5, 2, 3, 3)),
        (CNN().build((3, 8, 8), 4), torch.randn(5, 3, 8, 8)),
    ):
        PermutationSpec.of(net).check(net, x, rng(seed))
    RESIDUAL.check(Residual(), torch.randn(5, 4), rng(seed))


def test_a_spec_without_an_axis_is_found_out() -> None:
    net = convnet()
    whole = PermutationSpec.of(net)
    for name in whole.axes:
        axes = {key: value for key, value in whole.axes.items() if key != name}
        if any(whole.axes[name]):
            with pytest.raises(UserError, match="an axis is missing"):
                PermutationSpec(axes).check(net, next(images()), rng())


def test_chains_that_are_not_known_are_refused() -> None:
    with pytest.raises(UserError, match=r"layer '1' is Softmax.*write down the axes"):
        PermutationSpec.of(nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2)))
    with pytest.raises(UserError, match=r"layer '' is Residual|no linear or convolutional"):
        PermutationSpec.of(Residual())


@pytest.mark.parametrize("build", [lambda s: mlp(4, 30, 20, 3, seed=s), convnet, small_cnn])
def test_a_planted_permutation_is_found_by_weights_and_by_activations(build: object) -> None:
    net = build(0)  # type: ignore[operator]
    x = [rows(200).batch().x] if isinstance(net[0], nn.Linear) else list(images())
    spec, tree = PermutationSpec.of(net), WeightTree.of(net)
    planted = permuted(spec, spec.random(tree, rng(3)), tree)
    assert not torch.equal(next(iter(planted.parameters.values())), next(iter(tree.parameters.values())))
    by_weights = match_weights(spec, tree, planted, rng(), restarts=3)
    by_activations = match_activations(spec, net, tree, planted, x)
    for matching in (by_weights, by_activations):
        back = aligned(spec, matching, planted)
        for name, tensor in tree.tensors.items():
            torch.testing.assert_close(back.tensors[name], tensor)
    total = sum(float(w.square().sum()) for w in tree.parameters.values())
    assert by_weights.objective == pytest.approx(total)


def test_one_hidden_layer_is_matched_optimally() -> None:
    """By brute force over all permutations of five units."""
    one, other = mlp(4, 5, 3), mlp(4, 5, 3, seed=1)
    spec, fixed, free = PermutationSpec.of(one), WeightTree.of(one), WeightTree.of(other)

    def objective(order: tuple[int, ...]) -> float:
        moved = permuted(spec, {"0": torch.tensor(order)}, free).parameters
        return sum(float((fixed.parameters[name] * moved[name]).sum()) for name in moved)

    best = max(itertools.permutations(range(5)), key=objective)
    found = match_weights(spec, fixed, free, rng())
    assert found.objective == pytest.approx(objective(best), rel=1e-12)
    assert found.permutations["0"].tolist() == list(best)


def test_bundles_stay_together_and_are_assigned_optimally() -> None:
    """By brute force over all permutations of three bundles of two units."""
    gain = torch.rand(6, 6, dtype=torch.float64, generator=rng(1))

    def allowed(order: tuple[int, ...]) -> bool:
        return all(order[k] // 2 == order[k + 1] // 2 for k in (0, 2, 4))

    best = max(filter(allowed, itertools.permutations(range(6))), key=lambda order: float(gain[range(6), order].sum()))
    assert _assigned(gain, 3).tolist() == list(best)
    assert float(gain[range(6), best].sum()) < float(gain[range(6), _assigned(gain, 1)].sum())


def test_no_unit_can_be_swapped_for_the_better_at_the_end() -> None:
    one, other = mlp(4, 12, 12, 3), mlp(4, 12, 12, 3, seed=1)
    spec, fixed, free = PermutationSpec.of(one), WeightTree.of(one), WeightTree.of(other)
    found = match_weights(spec, fixed, free, rng())
    for units, order in found.permutations.items():
        gain = _gains(_uses(spec, units, fixed), spec, fixed, free, dict(found.permutations))
        assert float(gain[torch.arange(12), _assigned(gain, 1)].sum()) == pytest.approx(
            float(gain[torch.arange(12), order].sum())
        )
    many = match_weights(spec, fixed, free, rng(), restarts=5)
    assert many.objective >= found.objective


def test_matching_brings_a_network_nearer() -> None:
    one, other = mlp(4, 60, 3), mlp(4, 60, 3, seed=1)
    spec, fixed, free = PermutationSpec.of(one), WeightTree.of(one), WeightTree.of(other)
    moved = aligned(spec, match_weights(spec, fixed, free, rng()), free)

    def apart(tree: WeightTree) -> float:
        return sum(float((tree.parameters[n] - w).square().sum()) for n, w in fixed.parameters.items())

    assert apart(moved) < 0.9 * apart(free)
    with pytest.raises(UserError, match="different architectures"):
        match_weights(spec, fixed, WeightTree.of(mlp(4, 61, 3)), rng())
    with pytest.raises(UserError, match="no layer to look at"):
        match_activations(PermutationSpec(spec.axes), one, fixed, free, [])


def test_correlations_are_those_of_numpy() -> None:
    import numpy as np

    from holdfast.weights.matching import _correlations

    one, other = mlp(4, 6, 3), mlp(4, 6, 3, seed=1)
    x = rows(50).batch().x
    assert isinstance(x, torch.Tensor)
    spec = PermutationSpec.of(one)
    found = _correlations(spec, one, WeightTree.of(one), WeightTree.of(other), [x[:20], x[20:]])["0"]
    a, b = (net[1](net[0](x)).detach().numpy() for net in (one, other))
    expected = np.corrcoef(a.T, b.T)[:6, 6:]
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-3)


@pytest.mark.parametrize("depth", [2, 4])
def test_repair_gives_every_layer_the_variance_that_averaging_took(depth: int) -> None:
    widths = (4, *[64] * depth, 3)
    one, other = mlp(*widths), mlp(*widths, seed=1)
    ends = [(0.5, WeightTree.of(one)), (0.5, WeightTree.of(other))]
    x = [rows(400, seed=2).batch().x]
    merged, network = combined(ends), Functional.of(one)
    before = variance_ratios(network, merged, ends, x)
    mended = repair(one, merged, ends, x)
    after = variance_ratios(network, mended, ends, x)
    assert max(before.values()) < 0.8
    assert all(ratio == pytest.approx(1.0, abs=0.01) for ratio in after.values())
    assert list(after) == [f"{2 * k}" for k in range(depth)]
    assert torch.equal(mended.parameters[f"{2 * depth}.weight"], merged.parameters[f"{2 * depth}.weight"])


def test_an_end_repaired_by_itself_stays_as_it_is() -> None:
    net = mlp(4, 16, 16, 3)
    tree, x = WeightTree.of(net), [rows(400).batch().x]
    again = repair(net, tree, [(1.0, tree)], x)
    torch.testing.assert_close(
        Functional.of(net).outputs(again, x[0]), Functional.of(net).outputs(tree, x[0]), atol=1e-3, rtol=1e-3
    )


def test_repair_of_a_network_with_running_statistics_computes_them_anew() -> None:
    from holdfast.weights import recalibrate

    net, batches = convnet(), list(images())
    ends = [(0.5, WeightTree.of(net)), (0.5, WeightTree.of(convnet(seed=1)))]
    merged = combined(ends)
    mended, expected = repair(net, merged, ends, batches), recalibrate(net, merged, batches)
    assert torch.equal(mended.buffers["0.1.running_var"], expected.buffers["0.1.running_var"])
