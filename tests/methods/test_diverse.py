"""DivDis, D-BAT and the last-layer ensemble: what they find, what the labels choose, and what they are charged."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.data import Batch, Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.ledger import Ledger
from holdfast.core.method import Method
from holdfast.core.predictors import forward
from holdfast.core.registry import create
from holdfast.core.taps import last_linear
from holdfast.core.task import Split, TaskData, TrainingView, training_view
from holdfast.heads.ensemble import LastLayerEnsemble as Ensemble
from holdfast.losses import cross_entropy, divergence_from_prior, mutual_information
from holdfast.methods._candidates import chosen
from holdfast.methods.d_bat import DBAT
from holdfast.methods.divdis import DivDis, label_shares, loss_of_heads
from holdfast.methods.last_layer_ensemble import LastLayerEnsemble
from holdfast.models.linear import Linear
from holdfast.selection.kinds import KIND
from holdfast.testing import toy_task
from holdfast.training import Adam, Budget, EnsembleStep, Trainer

FAST = Adam(lr=0.03)


@functools.cache
def confounded() -> TaskData:
    """Two coordinates whose signs are both the label's in training, and independent where labels are hidden."""

    def rows(n: int, seed: int, independent: bool) -> Dataset:
        rng = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, (n, 2), generator=rng)
        signs = signs if independent else signs[:, :1].expand(-1, 2)
        x = (2 * signs - 1) * (0.2 + torch.rand(n, 2, generator=rng)) * torch.tensor([3.0, 1.0])
        columns = {"large": Column(signs[:, 0].clone(), ("-", "+"))}
        return Dataset(x, signs[:, 1].clone(), Column.constant(n), columns, index=torch.arange(n) + 1000 * seed)

    parts = (("train", 400, False), ("unlabelled", 400, True), ("pool", 100, True), ("test", 400, True))
    splits = [Split(name, name, rows(n, seed, free)) for seed, (name, n, free) in enumerate(parts)]  # type: ignore[arg-type]
    return TaskData("classification", tuple(splits), Linear(), classes=("no", "yes"))


def view_of(method: Method, task: TaskData, ledger: Ledger | None = None) -> TrainingView:
    return training_view(task, method.needs(), ledger or Ledger())


def follows(model: nn.Module) -> tuple[float, float]:
    """How often a model names the sign of the first and of the second coordinate, where they differ."""
    rows = confounded().split("test").data
    differ = rows.attributes["large"].codes != rows.labels
    named = forward(model, rows).argmax(1)[differ]
    first, second = rows.attributes["large"].codes[differ], rows.labels[differ]
    return float((named == first).double().mean()), float((named == second).double().mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_linear_heads_of_divdis_take_one_coordinate_each_and_the_labels_choose_the_second(seed: int) -> None:
    method = DivDis(optimizer=FAST)
    trainer = Trainer(seed=seed, budget=Budget(300))
    view = view_of(method, confounded(), trainer.ledger)
    heads = method.diversified(view, trainer)
    first, second = sorted((follows(heads.single(head)) for head in range(2)), reverse=True)
    assert first[0] > 0.9
    assert second[1] > 0.9
    found = method.fit(view, Trainer(seed=seed, budget=Budget(300)))
    assert follows(found)[1] > 0.9


def test_the_second_model_of_dbat_takes_the_coordinate_that_the_first_does_not() -> None:
    method = DBAT(optimizer=FAST)
    first, second = method.sequence(view_of(method, confounded()), Trainer(budget=Budget(300)))
    assert follows(first)[0] > 0.9
    assert follows(second)[1] > 0.9
    assert follows(method.fit(view_of(method, confounded()), Trainer(budget=Budget(300))))[1] > 0.9


@pytest.mark.parametrize(
    "method", [DivDis(repulsion=0.0, prior=0.0, optimizer=FAST), DBAT(strength=0.0, optimizer=FAST)]
)
def test_without_repulsion_all_take_the_same(method: DivDis | DBAT) -> None:
    view, trainer = view_of(method, confounded()), Trainer(budget=Budget(300))
    if isinstance(method, DivDis):
        heads = method.diversified(view, trainer)
        models = [heads.single(0), heads.single(1)]
    else:
        models = method.sequence(view, trainer)
    assert all(follows(model)[0] > 0.7 for model in models)


def test_as_many_labels_are_bought_as_asked_for_where_models_contradict_each_other() -> None:
    method = DivDis(queries=7)
    trainer = Trainer(budget=Budget(2))
    view = view_of(method, confounded(), trainer.ledger)
    method.fit(view, trainer)
    assert trainer.ledger.labels == {"train": 400, "pool": 7}
    assert view.oracle is not None
    assert len(set(view.oracle.purchases)) == 7


class Sign(nn.Module):
    """Names the sign of a coordinate."""

    def __init__(self, coordinate: int) -> None:
        super().__init__()
        self.coordinate = coordinate

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.coordinate, None] * torch.tensor([-5.0, 5.0])


@pytest.mark.parametrize("right", [0, 1])
def test_the_model_that_the_bought_labels_speak_for_is_chosen(right: int) -> None:
    task = confounded()
    if right == 0:
        splits = [
            dataclasses.replace(s, data=dataclasses.replace(s.data, y=s.data.attributes["large"].codes))
            for s in task.splits
        ]
        task = dataclasses.replace(task, splits=tuple(splits))
    trainer = Trainer()
    view = view_of(DivDis(), task, trainer.ledger)
    models = [Sign(0), Sign(1)]
    assert chosen(models, view, trainer, "pool", 20) is models[right]
    pool = view.role("pool")
    asked = pool.take(torch.isin(pool.index, torch.tensor(view.oracle.purchases)).nonzero()[:, 0])  # type: ignore[union-attr]
    assert ((asked.x[:, 0] > 0) != (asked.x[:, 1] > 0)).all()  # type: ignore[index]


def test_the_loss_of_heads_is_the_mean_of_their_cross_entropies() -> None:
    outputs, y = torch.randn(6, 3, 4), torch.arange(6) % 4
    expected = torch.stack([cross_entropy(outputs[:, head], y) for head in range(3)]).mean(0)
    torch.testing.assert_close(loss_of_heads(outputs, y), expected)


def test_the_penalty_is_repulsion_and_balance_with_their_factors() -> None:
    prior, outputs = torch.tensor([0.2, 0.8]), torch.randn(9, 2, 2)
    batch = Batch(torch.zeros(9, 1), None, torch.zeros(9), {}, None, torch.arange(9))
    p = outputs.softmax(-1)
    balance = (divergence_from_prior(p[:, 0], prior) + divergence_from_prior(p[:, 1], prior)) / 2
    expected = 3 * mutual_information(p[:, 0], p[:, 1]) + 7 * balance
    torch.testing.assert_close(DivDis(repulsion=3.0, prior=7.0)._penalty(prior)(outputs, batch), expected)


def test_the_prior_is_the_weighted_share_of_the_training_labels() -> None:
    view = view_of(DivDis(), toy_task())
    rows = dataclasses.replace(view.train, weight=(view.train.labels != 0).float())
    shares = label_shares(dataclasses.replace(view, data={**view.data, "train": rows}))
    counts = torch.bincount(view.train.labels)
    torch.testing.assert_close(shares, torch.tensor([0.0, *(counts[1:] / counts[1:].sum()).tolist()]))


@pytest.mark.parametrize("method", ["divdis", "d-bat"])
def test_a_task_without_unlabelled_rows_is_refused_in_one_line(method: str) -> None:
    task = toy_task()
    task = dataclasses.replace(task, splits=tuple(s for s in task.splits if s.role != "unlabelled"))
    with pytest.raises(UserError, match="needs rows in role 'unlabelled'") as caught:
        view_of(create(Method, method), task)
    assert "\n" not in str(caught.value)


def biased() -> TaskData:
    """The same coordinates, with signs apart in the test and mostly together in training; rows can be drawn anew."""
    rng = torch.Generator().manual_seed(9)
    size = 0.2 + torch.rand(800, 2, generator=rng)
    label, other = torch.randint(2, (800,), generator=rng), torch.randint(2, (800,), generator=rng)
    together = (torch.rand(800, generator=rng) < 0.97) & (torch.arange(800) < 400)
    large = torch.where(together, label, other)

    def render(factors: Mapping[str, Tensor], noise_ids: Tensor) -> Tensor:
        signs = 2 * torch.stack([factors["large"], factors["label"]], dim=1) - 1
        return signs * size[noise_ids] * torch.tensor([3.0, 1.0])

    columns = {"large": Column(large, ("-", "+"))}
    x = render({"label": label, "large": large}, torch.arange(800))
    data = Dataset(x, label, Column.constant(800), columns)
    splits = (
        Split("train", "train", data.take(torch.arange(400))),
        Split("test", "test", data.take(torch.arange(400, 800))),
    )
    return TaskData("classification", splits, Linear(), classes=("no", "yes"), render=render)


def test_drawing_the_shortcut_anew_teaches_what_is_left() -> None:
    task = biased()
    rows = task.split("test").data
    right = {}
    for reference in ("erm", 'factor-randomization:factors=["large"]', 'last-layer-ensemble:interventions=["large"]'):
        method = create(Method, f"{reference}:optimizer.lr=0.01")
        model = method.fit(view_of(method, task), Trainer(budget=Budget(60), batch_size=64))
        right[method.name] = float((forward(model, rows).argmax(1) == rows.labels).double().mean())
    assert right["factor-randomization"] > right["erm"] + 0.2
    assert right["factor-randomization"] > 0.9
    assert right["last-layer-ensemble"] > right["erm"] + 0.05


def test_the_ensemble_trains_the_head_of_each_rows_kind_and_the_predictor_of_kinds() -> None:
    ensemble = Ensemble(nn.Linear(3, 2), 3)
    kind = torch.tensor([0, 2, 2, 0])
    batch = Batch(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]), torch.zeros(4), {KIND: kind}, None, torch.arange(4))
    step = EnsembleStep(loss=cross_entropy)
    losses = step._run(ensemble, batch, 0.0).losses
    heads, kinds = ensemble.parts(batch.x)
    for row in range(4):
        expected = -heads[row, kind[row]].log_softmax(0)[batch.labels[row]] - kinds[row].log_softmax(0)[kind[row]]
        torch.testing.assert_close(losses[row], expected)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    gradient = last_linear(ensemble).weight.grad
    assert gradient is not None
    assert (gradient[2:4] == 0).all()
    assert (gradient[[0, 1, 4, 5, 6, 7, 8]].abs().sum(1) > 0).all()


def test_augmentations_need_images() -> None:
    method = LastLayerEnsemble(augmentations=("random-erasing",))
    with pytest.raises(UserError, match="takes images"):
        method.fit(view_of(method, toy_task()), Trainer(budget=Budget(1)))
