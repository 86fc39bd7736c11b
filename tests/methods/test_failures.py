"""Methods that learn from what a first network fails on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.method import Method
from holdfast.core.predictors import forward
from holdfast.core.task import TrainingView
from holdfast.methods.dfa import DFA
from holdfast.methods.eiil import EIIL
from holdfast.methods.erm import ERM
from holdfast.methods.gce import GCE
from holdfast.methods.jtt import JTT
from holdfast.methods.lff import LfF
from holdfast.methods.spectral_decoupling import SpectralDecoupling
from holdfast.models.mlp import MLP
from holdfast.selection import RepeatingSampler
from holdfast.training import Adam, Budget, Trainer


def view(conflicts: int = 20, n: int = 400) -> TrainingView:
    """The label is the sign of a weak feature; a strong one says it too, but for some rows, the last ones."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    strong = torch.where(torch.arange(n) < n - conflicts, y, 1 - y)
    x = torch.stack([0.4 * (2 * y - 1.0), 3 * (2 * strong - 1.0)], dim=1) + 0.1 * torch.randn(n, 2, generator=rng)
    return TrainingView(
        "classification", ("a", "b"), 2, (2,), MLP(hidden=(16,)), {"train": Dataset(x, y, Column.constant(n))}
    )


def right(method: Any, steps: int = 60) -> tuple[float, float]:
    """Accuracy on the rows where the strong feature is right, and on those where it is wrong."""
    rows = view().train
    network = method.fit(view(), Trainer(budget=Budget(steps), batch_size=100))
    hits = (forward(network, rows).argmax(1) == rows.labels).double()
    return float(hits[:-20].mean()), float(hits[-20:].mean())


def test_failures_of_the_biased_network_are_learnt() -> None:
    optimizer = Adam(lr=0.01)
    _, biased = right(GCE(optimizer=optimizer))
    assert biased < 0.1
    assert right(LfF(optimizer=optimizer))[1] > biased + 0.5
    assert right(DFA(optimizer=optimizer))[1] > biased + 0.5
    assert right(JTT(first=0.25, optimizer=optimizer), steps=200)[1] > biased + 0.5


def noisy_digits(method: Method, seed: int) -> float:
    """Test accuracy on scikit-learn's digits after a long training with 40 % of the labels wrong."""
    X, labels = load_digits(return_X_y=True)
    x, y, rng = torch.tensor(X / 16).float(), torch.tensor(labels), torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=rng)
    train, test = order[:1200], order[1200:]
    other = (y[train] + 1 + torch.randint(9, (1200,), generator=rng)) % 10
    given = torch.where(torch.rand(1200, generator=rng) < 0.4, other, y[train])
    rows = Dataset(x[train], given, Column.constant(1200))
    model, classes = MLP(hidden=(256,)), tuple("0123456789")
    noisy = TrainingView("classification", classes, 10, (64,), model, {"train": rows})
    network = method.fit(noisy, Trainer(seed=seed, budget=Budget(1500), batch_size=100))
    right = forward(network, Dataset(x[test], y[test], Column.constant(len(test)))).argmax(1) == y[test]
    return float(right.double().mean())


def test_wrong_labels_are_learnt_less_with_generalized_cross_entropy_and_least_with_the_truncated() -> None:
    methods = (ERM(), GCE(), GCE(least=0.5))
    plain, generalized, truncated = (sum(noisy_digits(m, seed) for seed in range(3)) / 3 for m in methods)
    assert generalized > plain + 0.04
    assert truncated > plain + 0.06
    assert truncated > generalized


def test_lff_gives_both_networks() -> None:
    fit = LfF(optimizer=Adam(lr=0.01)).fitted(view(), Trainer(budget=Budget(60), batch_size=100))
    rows = view().train
    of_biased = (forward(fit.models["biased"], rows).argmax(1) == rows.labels).double()
    assert of_biased[:-20].mean() > 0.95
    assert of_biased[-20:].mean() < 0.1


def test_jtt_repeats_the_rows_that_the_first_network_got_wrong() -> None:
    trainer = Trainer(budget=Budget(200), batch_size=100)
    wrong = JTT(first=0.25, optimizer=Adam(lr=0.01)).errors(view(), trainer)
    assert wrong[-20:].all()
    assert not wrong[:-20].any()
    assert trainer.fits["reference"].steps == 50


@pytest.mark.parametrize("rows", ["easy", "hopeless"])
def test_jtt_says_so_where_the_first_network_tells_no_rows_apart(rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = view(conflicts=0) if rows == "easy" else view(conflicts=400)
    if rows == "hopeless":

        def never(method: object, view: TrainingView, *more: object) -> torch.Tensor:
            return torch.nn.functional.one_hot(1 - view.train.labels, 2).float()

        monkeypatch.setattr("holdfast.methods.jtt.outputs_of_reference", never)
    with pytest.raises(UserError, match="right on every" if rows == "easy" else "right on no") as caught:
        JTT(first=1.0, optimizer=Adam(lr=0.01)).fit(data, Trainer(budget=Budget(100), batch_size=100))
    assert "\n" not in str(caught.value)


def test_spectral_decoupling_keeps_logits_small() -> None:
    def logits(penalty: float) -> float:
        method = SpectralDecoupling(penalty=penalty, optimizer=Adam(lr=0.01))
        network = method.fit(view(), Trainer(budget=Budget(150), batch_size=100))
        return float(forward(network, view().train).square().mean())

    assert logits(1.0) < 0.5 < 2.0 < logits(0.0)


def test_repeated_rows_come_as_often_as_they_count() -> None:
    counts = torch.tensor([1, 0, 3, 6])
    sampler = RepeatingSampler(counts, 10, torch.Generator().manual_seed(0))
    for _ in range(5):
        assert torch.equal(sampler.draw().bincount(minlength=4), counts)
    state, following = sampler.state_dict(), sampler.draw()
    other = RepeatingSampler(counts, 10, torch.Generator().manual_seed(1))
    other.load_state_dict(state)
    assert torch.equal(other.draw(), following)


def test_eiil_infers_the_rows_that_the_strong_feature_gets_wrong_and_does_not_look_at_environments() -> None:
    trainer = Trainer(budget=Budget(200), batch_size=100)
    method = EIIL(first=0.25, optimizer=Adam(lr=0.01))
    assert not method.needs().environments
    codes = method.inferred(view(), trainer).train.environment.codes
    assert torch.equal(codes, (torch.arange(400) >= 380).long())
    assert right(method, steps=200)[1] > 0.5


def test_eiil_says_so_where_there_is_one_environment() -> None:
    with pytest.raises(UserError, match="eiil: the first network tells no rows apart") as caught:
        EIIL(first=1.0, optimizer=Adam(lr=0.01)).fit(view(conflicts=0), Trainer(budget=Budget(100), batch_size=100))
    assert "\n" not in str(caught.value)
