"""Making a cell: train a chain of methods on a task, score its checkpoints, keep everything."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import UserError
from holdfast.core.evaluation import Predictor
from holdfast.core.ledger import Ledger
from holdfast.core.method import Method
from holdfast.core.predictors import EstimatorPredictor, ModulePredictor
from holdfast.core.seeds import seed_for
from holdfast.core.task import Split, TaskData, TrainingView, training_view
from holdfast.experiments.inferred import InferredGroups, infer_groups
from holdfast.experiments.numerics import limited
from holdfast.experiments.provenance import provenance
from holdfast.experiments.spec import CellSpec
from holdfast.experiments.store import Cell, CellFiles, CellStore
from holdfast.training import Fit, FolderStore, Record, SelectionRule, Trainer
from holdfast.training.records import record

Progress = Callable[[str, float], None]
FINAL = -1
"""The step under which the records of a model without kept checkpoints stand."""


def finish_cell(spec: CellSpec, data: TaskData, store: CellStore, report_progress: Progress | None = None) -> Cell:
    """The finished cell of a spec: found, resumed, or made from the start, its chain's prefix first.

    Args:
        spec: What to make.
        data: The loaded task of ``spec``.
        store: Where cells are.
        report_progress: Called with a stage and the part of its budget spent.

    Raises:
        UserError: The task cannot serve the method, or training failed for a reason the user can mend.
    """
    found = store.find(spec)
    if found is not None:
        return found
    data = in_precision(data, spec)
    base, ledger = None, Ledger()
    if spec.prefix is not None:
        prefix = finish_cell(spec.prefix, data, store, report_progress)
        base, ledger = load_module(spec.prefix, prefix, data), Ledger(**prefix.read("ledger"))
    reference = None
    if spec.reference is not None:
        made = finish_cell(spec.reference, data, store, report_progress)
        reference = module_at(spec.reference, made, data, None)
        if spec.prefix is None or spec.prefix.reference is None:  # else its costs are among the prefix's
            ledger.add(Ledger(**made.read("ledger")))
    with store.lock(spec), limited(spec.numerics):
        return store.find(spec) or _make(spec, data, store, (base, reference), ledger, report_progress)


def load_module(spec: CellSpec, cell: Cell, data: TaskData) -> nn.Module:
    """The network of a cell with the weights that the spec's rule selects.

    Raises:
        UserError: The cell holds an estimator that is not a network.
    """
    if not cell.is_module:
        raise UserError(f"{spec.label} is not a network: it cannot be repaired or gone on from")
    return module_at(spec, cell, data, selected_step(cell, spec.rule))


def module_at(spec: CellSpec, cell: Cell, data: TaskData, step: int | None) -> nn.Module:
    """The network of a cell after so many updates, or the one it ended with."""
    module = build_module(spec, data)
    module.load_state_dict(cell.weights(step))
    return module


def finished_predictor(spec: CellSpec, cell: Cell, data: TaskData, model: Any) -> ModulePredictor | EstimatorPredictor:
    """What evaluations see of a model of a cell: with the checkpoints of its training, where it is a network."""
    predictor = predictor_of(model, data)
    if isinstance(predictor, EstimatorPredictor):
        return predictor
    kept = sorted({r.step for r in cell.records} - {FINAL})
    return dataclasses.replace(
        predictor, checkpoints={step: functools.partial(module_at, spec, cell, data, step) for step in kept}
    )


def build_module(spec: CellSpec, data: TaskData) -> nn.Module:
    """The architecture of a cell, its weights not yet loaded; nothing is drawn from the global generators."""
    module: nn.Module | None = None
    with torch.random.fork_rng(devices=[]):
        for method in spec.chain:
            module = method.build(_view(method, data, spec, Ledger()), module)
    assert module is not None
    return module.double() if spec.numerics.precision == "64-true" else module


def in_precision(data: TaskData, spec: CellSpec) -> TaskData:
    """The task with its rows in the precision of the cell's model."""
    if spec.numerics.precision != "64-true":
        return data
    splits = (dataclasses.replace(split, data=split.data.to("cpu", torch.float64)) for split in data.splits)
    return dataclasses.replace(data, splits=tuple(splits))


def selected_step(cell: Cell, rule: SelectionRule) -> int | None:
    """The step that a rule chooses among a cell's kept checkpoints; None for a model that has none."""
    records = cell.records
    if all(r.step == FINAL for r in records):
        return None
    return rule.choose([r for r in records if rule.role is None or r.role == rule.role])


def _make(
    spec: CellSpec,
    data: TaskData,
    store: CellStore,
    earlier: tuple[nn.Module | None, nn.Module | None],
    ledger: Ledger,
    report_progress: Progress | None,
) -> Cell:
    """Go on from a model, with groups from a reference; the ledger holds the costs of both."""
    base, reference = earlier
    inferred = None if reference is None else _inferred(spec, data, reference)
    ledger.forwards += 0 if inferred is None else inferred.rows
    folder = store.partial(spec)
    history: list[Mapping[str, Any]] = []
    model: Any = base
    for phase in range(data.phases - 1):
        model, trainer = _train_phase(spec, data, folder, model, phase, inferred, report_progress)
        _keep_phase(folder, phase, model)
        ledger.add(trainer.ledger)
        history += _history(trainer, phase)
    last = data.phases - 1
    model, trainer = _train_phase(spec, data, folder, model, last, inferred, report_progress)
    ledger.add(trainer.ledger)
    history += _history(trainer, last)
    stage, fit = _candidates(model, trainer)
    records = _records(data, model, fit)
    if fit is not None:
        _keep_checkpoints(_stages(folder, last) / stage, folder / "checkpoints", fit)
    state = model.state_dict() if isinstance(model, nn.Module) else model
    names = {"task": spec.task.reference, "fold": spec.fold, "method": spec.label}
    tables = () if inferred is None else inferred.tables
    files = CellFiles(state, records, history, ledger.as_dict(), {**provenance(), **names}, tables)
    cell = store.finish(spec, files)
    shutil.rmtree(cell.folder / "stages", ignore_errors=True)
    return cell


def _train_phase(
    spec: CellSpec,
    data: TaskData,
    folder: Path,
    model: Any,
    phase: int,
    inferred: InferredGroups | None,
    report_progress: Progress | None,
) -> tuple[Any, Trainer]:
    """Let the last method of the chain train or repair in one phase; its finished stages are not run again."""
    method, trainer = spec.chain[-1], _trainer(spec, _stages(folder, phase), report_progress)
    view = _view(method, data, spec, trainer.ledger, phase)
    if inferred is not None:
        view = inferred.put_into(view)
    with trainer.timed(), trainer.randomness(f"phase {phase}"):
        return method.fit(view, trainer, model), trainer


def _inferred(spec: CellSpec, data: TaskData, reference: nn.Module) -> InferredGroups:
    """Groups of the rows that the last method sees."""
    assert spec.inference is not None, "a spec with a reference has an inference"
    view = _view(spec.chain[-1], data, spec, Ledger())
    return infer_groups(view, data, spec.inference, reference, seed_for(spec.seed, "groups"))


def _history(trainer: Trainer, phase: int) -> list[Mapping[str, Any]]:
    return [{"phase": phase, "stage": name, **line} for name, fit in trainer.fits.items() for line in fit.history]


def _stages(folder: Path, phase: int) -> Path:
    return folder / "stages" / f"phase-{phase}"


def _trainer(spec: CellSpec, folder: Path, report_progress: Progress | None) -> Trainer:
    return Trainer(
        seed=spec.seed,
        budget=spec.budget,
        batch_size=spec.batch_size,
        device=spec.numerics.device,
        precision=spec.numerics.precision,
        store=FolderStore(folder),
        augment=spec.augment,
        report_progress=report_progress,
    )


def _view(method: Method, data: TaskData, spec: CellSpec, ledger: Ledger, phase: int = 0) -> TrainingView:
    view = training_view(data, method.needs(), ledger, phase=phase, what=f"method {method.name!r}")
    return dataclasses.replace(view, model=spec.model)


def _candidates(model: Any, trainer: Trainer) -> tuple[str, Fit | None]:
    """The last stage, if the method returned its model as trained: then its checkpoints may be selected from."""
    if not isinstance(model, nn.Module) or not trainer.fits:
        return "", None
    stage, fit = list(trainer.fits.items())[-1]
    if model is not fit.model:
        return "", None
    weights, kept = model.state_dict(), fit.weights_at(fit.selected)
    same = all(torch.equal(_cpu(weights[name]), _cpu(kept[name])) for name in weights)
    return (stage, fit) if same else ("", None)


def _records(data: TaskData, model: Any, fit: Fit | None) -> list[Record]:
    """Scores of the candidate checkpoints, or of the final model, on every split with labels."""
    splits = [split for split in data.splits if split.data.y is not None]

    def score(step: int, model: Any) -> list[Record]:
        predictor = predictor_of(model, data)
        return [r for split in splits for r in _score(step, predictor, split, data)]

    if fit is None:
        return score(FINAL, model)
    final = _cpu_state(fit.model)
    records = [r for step in fit.kept for r in score(step, fit.at(step))]
    fit.model.load_state_dict(final)
    return records


def predictor_of(model: Any, data: TaskData) -> ModulePredictor | EstimatorPredictor:
    """What evaluations see of a network or of a fitted estimator."""
    if isinstance(model, nn.Module):
        return ModulePredictor(model, data.kind, data.classes, encoder=data.encoder)
    return EstimatorPredictor(model, data.kind, data.classes, encoder=data.encoder)


def _score(step: int, predictor: Predictor, split: Split, data: TaskData) -> list[Record]:
    outputs = predictor.predict(split.data).outputs
    groups = data.group_column(split.data)
    return record(step, outputs, split.name, split.role, split.data, data.kind, groups)


def _keep_checkpoints(stage: Path, folder: Path, fit: Fit) -> None:
    folder.mkdir(exist_ok=True)
    for step in fit.kept:
        name = f"step-{step:08d}.safetensors"
        shutil.copyfile(stage / name, folder / name)


def _keep_phase(folder: Path, phase: int, model: Any) -> None:
    from holdfast.core.files import write_tree

    if not isinstance(model, nn.Module):
        raise UserError("a task with several phases needs a network: estimators cannot go on from one to the next")
    write_tree(folder / "phases" / f"{phase}.safetensors", model.state_dict())


def _cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu()


def _cpu_state(module: nn.Module) -> dict[str, Tensor]:
    return {name: _cpu(tensor).clone() for name, tensor in module.state_dict().items()}
