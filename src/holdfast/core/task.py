"""Tasks: data with environments, split into roles, and what a method may see of them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from holdfast.core.artifacts import Artifact
from holdfast.core.data import Column, Dataset, join_inputs
from holdfast.core.errors import HoldfastError, UserError
from holdfast.core.interventions import check_intervention, with_factors_drawn_anew
from holdfast.core.registry import Plugin
from holdfast.core.simulator import Simulator

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.core.ledger import Ledger
    from holdfast.tables import Encoder, TokenEncoder

Role = Literal["train", "selection", "holdout", "calibration", "unlabelled", "pool", "test"]
Kind = Literal["classification", "regression"]


@dataclass(frozen=True)
class Split:
    """Rows with one role.

    Attributes:
        name: Unique within the task, such as ``test`` or ``test-grey``.
        role: What the rows are for. Splits of different roles share neither rows nor units.
        data: The rows.
        shifted: True where the rows follow another distribution than the training rows.
        phase: The phase of a stream in which the split becomes available; 0 where there is one phase.
    """

    name: str
    role: Role
    data: Dataset
    shifted: bool = False
    phase: int = 0


@dataclass(frozen=True, eq=False)
class RawTable:
    """A table as it was read.

    Attributes:
        frame: Its usable rows without the label, indexed by row id.
        features: The columns that a model of this task reads.
    """

    frame: pd.DataFrame
    features: tuple[str, ...]

    def rows(self, index: Tensor) -> pd.DataFrame:
        """The rows of these (M,) row ids."""
        return self.frame.loc[index.numpy()]


@dataclass(frozen=True)
class TaskData:
    """What a task loads: its splits and the facts that methods, evaluations and reports need.

    Attributes:
        kind: Fixes the output contract: C logits for classification, one mean for regression.
        splits: The rows by role.
        model: The default architecture.
        steps, batch_size: The default budget: updates, and rows per update.
        target_scale: Standard deviation of the training targets, by which the default regression loss is made free of
            units; 1 for classification.
        classes: Names of the C classes; empty for regression.
        groups: Attribute columns whose values are the groups of the evaluation.
        question: One sentence: what is asked of a model here.
        stable: What holds in every environment, where known.
        shortcut: What does not, where known.
        notes: One-line warnings and remarks for the report.
        pictures: Artifacts that show the task.
        render: ``(factors, noise_ids) -> x``: draws rows from their factors, where the task can; ``factors`` maps
            factor names to (N,) codes, equal noise ids give equal nuisance.
        associations: What each factor says of the label in training: for each of its values the class that goes with
            it; empty where none does, or it is not known. Where given, its keys are all the factors that ``render``
            takes beside ``label``.
        simulator: The live environments that the rows were recorded in, where there are any.
        encoder: What turned a table's columns into x, so that a model can be used on raw rows.
        raw: The rows of a table as they were read, for models that were made elsewhere.
    """

    kind: Kind
    splits: tuple[Split, ...]
    model: Model
    steps: int = 400
    batch_size: int = 128
    target_scale: float = 1.0
    classes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    question: str = ""
    stable: str = ""
    shortcut: str = ""
    notes: tuple[str, ...] = ()
    pictures: tuple[Artifact, ...] = ()
    render: Callable[[Mapping[str, Tensor], Tensor], Tensor] | None = None
    associations: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    simulator: Simulator | None = None
    encoder: Encoder | TokenEncoder | None = None
    raw: RawTable | None = None

    def __post_init__(self) -> None:
        names = [split.name for split in self.splits]
        if len(set(names)) != len(names):
            raise ValueError(f"split names are not unique: {names}")
        _check_disjoint(self.splits)

    @property
    def outputs(self) -> int:
        """Width of a model's output: C for classification, 1 for regression."""
        return len(self.classes) if self.kind == "classification" else 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input row."""
        return self.splits[0].data.input_shape

    @property
    def phases(self) -> int:
        """Number of phases."""
        return 1 + max(split.phase for split in self.splits)

    def with_role(self, role: Role) -> tuple[Split, ...]:
        """The splits of a role, in order."""
        return tuple(split for split in self.splits if split.role == role)

    def split(self, name: str) -> Split:
        """A split by name."""
        return next(split for split in self.splits if split.name == name)

    def group_column(self, data: Dataset) -> Column | None:
        """The evaluation groups of some rows; None where the task names none."""
        return data.grouped_by("*".join(self.groups)).environment if self.groups else None

    def fingerprint(self) -> str:
        """A hash of every row with its role."""
        parts = [(s.name, s.role, s.phase, s.shifted, s.data.fingerprint()) for s in self.splits]
        return hashlib.sha256(repr((self.kind, self.classes, self.groups, parts)).encode()).hexdigest()


class Task(Plugin):
    """A recipe for data with environments; a frozen dataclass whose fields are its options."""

    family: ClassVar[str] = "task"

    def load(self) -> TaskData:
        """Make the data; equal options give equal data.

        Raises:
            UserError: The data cannot be had as asked.
        """
        raise NotImplementedError

    def folds(self) -> Sequence[Task]:
        """The tasks that a run of this one stands for: itself, or one for each environment held out."""
        return (self,)

    def whole(self) -> TaskData:
        """The data for a model that was made elsewhere: rows that nothing is trained on, all of them where it can be.

        Raises:
            UserError: The data cannot be had as asked.
        """
        return self.load()

    @property
    def title(self) -> str:
        """How reports call the task; equal for all folds."""
        return self.reference

    @property
    def question(self) -> str:
        """What is asked over all folds together; empty for a task that has none."""
        return ""

    @property
    def fold_name(self) -> str:
        """What this fold holds out; empty for a task that is not a fold."""
        return ""


class Model(Plugin):
    """An architecture; a frozen dataclass whose fields are its options."""

    family: ClassVar[str] = "model"

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A fresh network from inputs (B, *input_shape) to (B, outputs)."""
        raise NotImplementedError

    def replaced_by(self, other: Model) -> Model:
        """What a task uses in place of this one when a user names another network."""
        return other


@dataclass(frozen=True)
class Needs:
    """What a method asks to see.

    Attributes:
        roles: The roles whose rows it uses.
        columns: Attribute columns it uses, by name.
        environments: Whether it looks at the environment column.
        base: Whether it repairs a model that another method trained.
        network: Whether it takes and returns a network; an estimator stands alone.
        kinds: The kinds of task it can do.
        interventions: Factors, or several joined by ``*``, that are drawn anew for it in copies of the training rows:
            knowledge of what may not matter, which only a task that renders can serve.
    """

    roles: tuple[Role, ...] = ("train",)
    columns: tuple[str, ...] = ()
    environments: bool = True
    base: bool = False
    network: bool = True
    kinds: tuple[Kind, ...] = ("classification", "regression")
    interventions: tuple[str, ...] = ()


class HiddenFromMethod(HoldfastError):
    """A method reached for rows or columns that it did not declare: an error of its author."""


@dataclass(frozen=True)
class TrainingView:
    """What a method is given of a task: the roles, columns and environments it declared, and never a test row.

    ``interventions`` holds, for each that it declared, the training rows in the same order with these factors drawn
    anew from all their values, whatever the label, and everything else as it was.
    """

    kind: Kind
    classes: tuple[str, ...]
    outputs: int
    input_shape: tuple[int, ...]
    model: Model
    data: Mapping[Role, Dataset]
    oracle: Oracle | None = None
    target_scale: float = 1.0
    interventions: Mapping[str, Dataset] = field(default_factory=dict)

    @property
    def train(self) -> Dataset:
        """The training rows."""
        return self.role("train")

    def role(self, role: Role) -> Dataset:
        """The rows of a role.

        Raises:
            HiddenFromMethod: The method did not declare it, or it is ``test``.
        """
        if role not in self.data:
            raise HiddenFromMethod(f"this method did not declare the role {role!r}: it sees {', '.join(self.data)}")
        return self.data[role]

    def grouped_by(self, names: str) -> TrainingView:
        """The view with the product of some columns, such as ``label*color``, as environment.

        A code means the same group in every role.

        Raises:
            UserError: A column has another value in every row.
        """
        rows = list(self.data.values())
        columns = concatenated_columns(rows)
        for name in {part.strip() for part in names.split("*")} & set(columns.attributes):
            if len(columns.attributes[name].present()) == len(columns) > 1:
                raise UserError(
                    f"groups={names}: column {name!r} has another value in each of {len(columns)} rows, which makes as "
                    "many groups as rows: leave it out, or write row where every row is meant to be a group"
                )
        groups = columns.grouped_by(names).environment
        codes = torch.split(groups.codes, [len(data) for data in rows])
        grouped = {
            role: dataclasses.replace(data, environment=dataclasses.replace(groups, codes=part))
            for (role, data), part in zip(self.data.items(), codes, strict=True)
        }
        return dataclasses.replace(self, data=grouped)


@dataclass
class Oracle:
    """Sells labels of the pool. Purchases are charged to the ledger and logged."""

    labels: Mapping[int, float | int]
    ledger: Ledger
    purchases: list[int] = field(default_factory=list)

    def label(self, index: Tensor) -> Tensor:
        """The labels of these row ids, (M,); a row already bought is not charged again."""
        ids = [int(i) for i in index.tolist()]
        bought = set(self.purchases)
        new = [i for i in dict.fromkeys(ids) if i not in bought]
        self.purchases.extend(new)
        self.ledger.labels["pool"] = self.ledger.labels.get("pool", 0) + len(new)
        whole = all(isinstance(value, int) for value in self.labels.values())
        return torch.tensor([self.labels[i] for i in ids], dtype=torch.int64 if whole else torch.float32)


def training_view(
    task: TaskData, needs: Needs, ledger: Ledger, *, phase: int = 0, what: str = "method"
) -> TrainingView:
    """What a method with these needs may see of a task.

    Args:
        task: The loaded task.
        needs: The method's declaration.
        ledger: Charged with the labels of every role that the view holds.
        phase: Splits of this phase are visible.
        what: How messages call the method.

    Raises:
        UserError: The task lacks a role, a column or a factor that the method needs, or is of another kind.
    """
    check_needs(task, needs, what=what)
    data: dict[Role, Dataset] = {}
    for role in needs.roles:
        rows = [split.data for split in task.with_role(role) if split.phase == phase]
        if rows:
            data[role] = _restricted(concatenate(rows), needs)
    oracle = None
    if "pool" in data:
        pool = data["pool"]
        oracle = Oracle(dict(zip(pool.index.tolist(), pool.labels.tolist(), strict=True)), ledger)
    for role in ("pool", "unlabelled"):
        if role in data:
            data[role] = dataclasses.replace(data[role], y=None)
    for role, rows_of_role in data.items():
        if rows_of_role.y is not None:
            ledger.labels[role] = len(rows_of_role)
    return TrainingView(
        kind=task.kind,
        classes=task.classes,
        outputs=task.outputs,
        input_shape=task.input_shape,
        model=task.model,
        data=data,
        oracle=oracle,
        target_scale=task.target_scale,
        interventions=_interventions(task, needs, phase),
    )


def check_needs(task: TaskData, needs: Needs, *, what: str = "method") -> None:
    """Refuse a method that this task cannot serve.

    Raises:
        UserError: One line that says what is missing.
    """
    if task.kind not in needs.kinds:
        raise UserError(f"{what} is for {' and '.join(needs.kinds)}: this task is {task.kind}")
    for role in needs.roles:
        if role == "test":
            raise HiddenFromMethod(f"{what} asks for test rows: no method sees them")
        if not task.with_role(role):
            mend = f"leave it out, or mark rows as {role} in a column that --split names"
            raise UserError(f"{what} needs rows in role {role!r}: this task has none; {mend}")
    train = task.with_role("train")[0].data
    for column in needs.columns:
        if column != "label":
            train.column(column)
    for names in needs.interventions:
        check_intervention(task, names, what=what)


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """Data sets of one task below each other."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def column(get: Callable[[Dataset], Column]) -> Column:
        if any(get(part).names != get(first).names for part in parts):
            raise ValueError("a column has other names in another split: the same code would mean two things")
        return dataclasses.replace(get(first), codes=torch.cat([get(part).codes for part in parts]))

    def optional(get: Callable[[Dataset], Tensor | None]) -> Tensor | None:
        tensors = [t for t in map(get, parts) if t is not None]
        return torch.cat(tensors) if len(tensors) == len(parts) else None

    return Dataset(
        x=join_inputs([part.x for part in parts]),
        y=optional(lambda d: d.y),
        environment=column(lambda d: d.environment),
        attributes={name: column(lambda d, n=name: d.attributes[n]) for name in first.attributes},  # type: ignore[misc]
        unit=optional(lambda d: d.unit),
        weight=optional(lambda d: d.weight),
        index=torch.cat([part.index for part in parts]),
    )


def concatenated_columns(parts: Sequence[Dataset]) -> Dataset:
    """All columns of several data sets of one task, with row ids in place of the inputs, which are not read."""
    return concatenate([dataclasses.replace(part, x=part.index) for part in parts])


def _interventions(task: TaskData, needs: Needs, phase: int) -> dict[str, Dataset]:
    if not needs.interventions:
        return {}
    train = concatenate([split.data for split in task.with_role("train") if split.phase == phase])
    return {names: _restricted(with_factors_drawn_anew(task, train, names), needs) for names in needs.interventions}


def _restricted(data: Dataset, needs: Needs) -> Dataset:
    copy = data.take(torch.arange(len(data)))
    attributes = {name: column for name, column in copy.attributes.items() if name in needs.columns}
    environment = copy.environment if needs.environments else Column.constant(len(copy))
    return dataclasses.replace(copy, attributes=attributes, environment=environment)


def _check_disjoint(splits: Sequence[Split]) -> None:
    """No row and no unit may have two roles."""
    _check_one_role("row", [(split.role, split.data.index) for split in splits])
    units = [(split.role, split.data.unit) for split in splits if split.data.unit is not None]
    _check_one_role("unit", [(role, unit[unit >= 0]) for role, unit in units])


def _check_one_role(what: str, members: Sequence[tuple[Role, Tensor]]) -> None:
    """Sorted by id, equal ids are neighbours: these must have one role."""
    if not members:
        return
    roles = [role for role, _ in members]
    ids, order = torch.cat([codes for _, codes in members]).sort()
    role = torch.cat([torch.full_like(codes, roles.index(role)) for role, codes in members])[order]
    clashes = ((ids[1:] == ids[:-1]) & (role[1:] != role[:-1])).nonzero()[:, 0]
    if len(clashes):
        first = int(clashes[0])
        one, other = sorted((roles[int(role[first])], roles[int(role[first + 1])]))
        raise ValueError(f"{what} {int(ids[first])} is in role {one!r} and in role {other!r}")
