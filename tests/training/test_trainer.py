from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.errors import HoldfastError, UserError
from holdfast.core.ledger import Ledger
from holdfast.core.task import HiddenFromMethod, Needs, TrainingView, training_view
from holdfast.gradients import AndMask
from holdfast.losses import VarianceOfRisks
from holdfast.methods.erm import ERM
from holdfast.models.mlp import MLP
from holdfast.selection import EnvironmentSampler
from holdfast.testing import toy_task
from holdfast.training import SGD, Budget, GradientStep, Last, MemoryStore, Oracle, SelectionRule, Trainer, Validation

TASK = toy_task(model=MLP(hidden=(6,)))
STEPS = 20


def view(*roles: str) -> TrainingView:
    return training_view(TASK, Needs(roles=roles or ("train",)), Ledger())


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return TASK.model.build((6,), 3)


def trainer(**options: Any) -> Trainer:
    return Trainer(**{"budget": Budget(STEPS), "batch_size": 24, **options})


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_it_is_the_loop_one_would_write() -> None:
    """Bit by bit, on the batches of the stage's own stream."""
    model, optimizer_model = network(), network()
    trainer(seed=3).fit(model, view(), GradientStep())
    data = view().train
    sampler = EnvironmentSampler(data.environment.codes, 24, Trainer(seed=3).rng("batches main"))
    optimizer = torch.optim.Adam(optimizer_model.parameters(), lr=1e-3, fused=True)
    for _ in range(STEPS):
        batch = data.batch(sampler.draw())
        loss = nn.functional.cross_entropy(optimizer_model(batch.x), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert same(model.state_dict(), optimizer_model.state_dict())


def test_what_a_fit_holds() -> None:
    model = network()
    fit = trainer().fit(model, view(), GradientStep())
    assert fit.model is model
    assert fit.steps == fit.selected == STEPS
    assert fit.kept == (0, 1, 2, 3, 4, 6, 8, 11, 16, 20)
    assert [line["step"] for line in fit.history] == list(range(1, STEPS + 1))
    assert same(fit.weights_at(0), network().state_dict())
    assert same(fit.weights_at(STEPS), model.state_dict())
    assert fit.at(4) is model
    assert same(model.state_dict(), fit.weights_at(4))
    assert same(fit.last.state_dict(), fit.weights_at(STEPS))
    with pytest.raises(UserError, match="step 5 were not kept: there are 0, 1, 2"):
        fit.at(5)


def test_kept_weights_are_those_of_a_shorter_run() -> None:
    long, short = network(), network()
    fit = trainer().fit(long, view(), GradientStep())
    trainer(budget=Budget(8)).fit(short, view(), GradientStep())
    assert same(fit.weights_at(8), short.state_dict())


@pytest.mark.parametrize(
    ("budget", "steps"),
    [(Budget(5), 5), (Budget(100, "examples"), 5), (Budget(24, "examples"), 1), (Budget(433, "tokens"), 4)],
)
def test_budgets(budget: Budget, steps: int) -> None:
    """24 rows of 6 numbers an update."""
    run = trainer(budget=budget)
    fit = run.fit(network(), view(), GradientStep())
    assert fit.steps == run.ledger.steps == steps
    assert run.ledger.forwards == run.ledger.gradients == steps * 24


@pytest.mark.parametrize("budget", [Budget(1000), Budget(24_000, "examples")])
def test_the_history_has_some_two_hundred_points(budget: Budget) -> None:
    fit = trainer(budget=budget).fit(network(), view(), GradientStep(optimizer=SGD()))
    steps = [line["step"] for line in fit.history]
    assert steps == [1, *range(5, 1001, 5)]
    assert all(line["loss"] > 0 for line in fit.history)


def test_a_step_sees_its_progress() -> None:
    seen = []

    class Watching(GradientStep):
        def forward(self, models: Any, batch: Any, optimizers: Any, progress: float) -> Any:
            seen.append(progress)
            return super().forward(models, batch, optimizers, progress)

    trainer(budget=Budget(96, "examples")).fit(network(), view(), Watching())
    assert seen == [0, 0.25, 0.5, 0.75]


def test_a_finished_stage_is_not_run_again() -> None:
    class Broken(GradientStep):
        def forward(self, *arguments: Any) -> Any:
            raise AssertionError("the stage is finished")

    store, model, again = MemoryStore(), network(), network()
    first = trainer(store=store)
    first.fit(model, view(), GradientStep())
    second = trainer(store=store)
    fit = second.fit(again, view(), Broken())
    assert same(model.state_dict(), again.state_dict())
    assert fit.history == first.fits["main"].history
    assert second.ledger == first.ledger


def test_stages_have_their_own_names_batches_and_costs() -> None:
    run = trainer()
    first, second = (run.fit(network(), view(), GradientStep(), stage=stage) for stage in ("one", "two"))
    assert not same(first.model.state_dict(), second.model.state_dict())
    assert run.ledger.steps == 2 * STEPS
    assert set(run.ledger.seconds) == {"one", "two"}
    with pytest.raises(ValueError, match="'two' was fitted already"):
        run.fit(network(), view(), GradientStep(), stage="two")


def test_the_end_can_be_a_kept_step() -> None:
    fit = trainer().fit(network(), view(), GradientStep(), select=8)
    assert fit.selected == 8
    assert same(fit.model.state_dict(), fit.weights_at(8))


def test_a_step_that_was_not_kept_is_refused() -> None:
    with pytest.raises(UserError, match="step 7 was not kept: there are 0, 1, 2"):
        trainer().fit(network(), view("train"), GradientStep(), budget=Budget(10), select=7)


def test_a_rule_inside_a_stage_reads_its_own_role_alone() -> None:
    fit = trainer().fit(network(), view("train"), GradientStep(), budget=Budget(3), select=Last())
    assert fit.selected == 3
    with pytest.raises(HiddenFromMethod):
        trainer().fit(network(), view("train"), GradientStep(), budget=Budget(3), select=Oracle())


def test_the_end_can_be_chosen_by_a_rule() -> None:
    class Chosen(SelectionRule):
        def choose(self, records: Any) -> int:
            assert {r.step for r in records} == {0, 1, 2, 3, 4, 6, 8, 11, 16, 20}
            assert {r.environment for r in records} == {None, "north", "east", "south"}
            assert {r.role for r in records} == {"selection"}
            return 11

    fit = trainer().fit(network(), view("train", "selection"), GradientStep(), select=Chosen())
    assert fit.selected == 11
    assert same(fit.model.state_dict(), fit.weights_at(11))


def test_a_rules_records_are_scores_on_the_selection_rows() -> None:
    fit = trainer(budget=Budget(200)).fit(network(), view("train", "selection"), GradientStep(), select=Validation())
    rows = TASK.split("selection").data
    best = max(fit.records, key=lambda r: (r.environment is None, r.score))
    model = fit.at(best.step)
    accuracy = (model(rows.x).argmax(1) == rows.labels).double().mean()
    assert best.score == pytest.approx(float(accuracy))
    with pytest.raises(HiddenFromMethod, match="did not declare the role 'selection'"):
        trainer().fit(network(), view(), GradientStep(), select=Validation())


def test_double_precision() -> None:
    model = network()
    trainer(precision="64-true").fit(model, view(), GradientStep())
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    single = network()
    trainer().fit(single, view(), GradientStep())
    for p, q in zip(model.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(p.float(), q, atol=1e-4, rtol=1e-3)


def test_mixed_precision_keeps_single_weights_and_learns() -> None:
    model = network()
    fit = trainer(precision="bf16-mixed", budget=Budget(100)).fit(model, view(), GradientStep(optimizer=SGD(lr=0.1)))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert fit.history[-1]["loss"] < fit.history[0]["loss"]


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(HoldfastError, match="not finite at step"):
        trainer().fit(network(), view(), GradientStep(optimizer=SGD(lr=1e30)))


@pytest.mark.parametrize("options", [{"budget": Budget(0)}, {"batch_size": 0}])
def test_nothing_to_do_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="both must be ≥ 1"):
        Trainer(**options)


def test_streams_differ_by_name_and_seed() -> None:
    def numbers(run: Trainer, name: str) -> tuple[float, float]:
        return torch.rand(1, generator=run.rng(name)).item(), run.numpy_rng(name).random()

    assert numbers(trainer(), "a") == numbers(trainer(), "a")
    drawn = [numbers(trainer(seed=seed), name) for seed in (0, 1) for name in "ab"]
    assert len(set(drawn)) == 4


def test_training_neither_hears_nor_moves_the_global_generator() -> None:
    dropout = toy_task(model=MLP(hidden=(6,), dropout=0.5)).model
    trained = []
    for seed in (1, 2):
        torch.manual_seed(0)
        model = dropout.build((6,), 3)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        trained.append(trainer().fit(model, view(), GradientStep()).model.state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert same(*trained)


def test_a_second_backward_pass_is_counted() -> None:
    run = trainer()
    run.fit(network(), view(), GradientStep(aggregator=AndMask(), penalties=[(1.0, VarianceOfRisks())]))
    assert run.ledger.forwards == STEPS * 24
    assert run.ledger.gradients == 2 * STEPS * 24


def test_initial_weights_follow_the_seed_alone() -> None:
    built = []
    for seed in (0, 0, 1):
        torch.rand(3)
        built.append(trainer(seed=seed).build(ERM(), view()).state_dict())
    assert same(built[0], built[1])
    assert not same(built[0], built[2])


def test_progress_is_reported() -> None:
    reports: list[tuple[str, float]] = []
    run = trainer(report_progress=lambda stage, part: reports.append((stage, part)))
    run.fit(network(), view(), GradientStep(), stage="only")
    assert reports[-1] == ("only", 1.0)


def test_rows_are_placed_in_the_trainers_precision() -> None:
    placed = trainer(precision="64-true").place(view().train)
    assert placed.x.dtype == torch.float64
    assert placed.labels.dtype == placed.environment.codes.dtype == torch.int64
