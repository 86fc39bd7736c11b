"""What a grid refuses before anything is trained, each in one line with the mend."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from holdfast.core.augmentation import Augmentation
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation
from holdfast.core.inference import GroupInference
from holdfast.core.method import Method
from holdfast.core.others_code import running
from holdfast.core.task import Kind, Model, TaskData, check_needs, concatenate
from holdfast.training import SelectionRule


def check_chain(chain: Sequence[Method], data: TaskData) -> None:
    """Refuse methods that this task cannot serve, or that cannot follow each other.

    Raises:
        UserError: One line that says what is missing.
    """
    for place, method in enumerate(chain):
        needs = method.needs()
        if needs.base and place == 0:
            raise UserError(
                f"{method.name} repairs a model: write METHOD+{method.reference}, such as erm+{method.reference}"
            )
        if len(chain) > 1 and not needs.network:
            raise UserError(f"{method.name} is no network and cannot be part of a chain: name it alone")
        check_needs(data, needs, what=f"method {method.name!r}")


def check_augmentations(augmentations: Sequence[Augmentation], chain: Sequence[Method], data: TaskData) -> None:
    """Refuse augmentations of what is no image, and where they would have no effect.

    Raises:
        UserError: One line with the mend.
    """
    for augmentation in augmentations:
        augmentation.check(data.input_shape)
        for method in chain:
            if not method.needs().network:
                raise UserError(f"{method.name} does not learn from batches: run it without --augment")


def check_classes(chain: Sequence[Method], data: TaskData, fold: str = "") -> None:
    """Refuse rows of one class only where a method would learn from them.

    Args:
        chain: The methods.
        data: The loaded task.
        fold: What it holds out, for the message.

    Raises:
        UserError: One line that names the role and the class.
    """
    if data.kind != "classification":
        return
    for role in dict.fromkeys(role for method in chain for role in method.needs().roles):
        labelled = [split.data for split in data.with_role(role) if split.data.y is not None]
        found = sorted({int(label) for rows in labelled for label in rows.labels.tolist()})
        if len(found) == 1:
            where = f"with {fold} held out, " if fold else ""
            raise UserError(
                f"{where}all rows in role {role!r} are of class {data.classes[found[0]]!r}: there is nothing to learn; "
                "hold out other environments or take more rows"
            )


def check_inference(inference: GroupInference, data: TaskData) -> None:
    """Refuse to infer groups where this cannot be done.

    Raises:
        UserError: One line that says why.
    """
    what = f"group inference {inference.name!r}"
    if data.kind not in inference.kinds:
        raise UserError(f"{what} is for {' and '.join(inference.kinds)}: this task is {data.kind}")
    if data.phases > 1:
        raise UserError(f"{what} needs all rows at once: this task has {data.phases} phases")
    inference.check(concatenate([split.data for split in data.with_role("train")]))


def check_rule(rule: SelectionRule, data: TaskData) -> None:
    """Refuse a rule that has no rows, or no groups, to look at.

    Raises:
        UserError: One line that says what is missing.
    """
    if rule.role is not None and not data.with_role(rule.role):
        raise UserError(
            f"selection rule {rule.name!r} needs rows in role {rule.role!r}: this task has none; use --select last"
        )
    if rule.groups and not data.groups:
        raise UserError(
            f"selection rule {rule.name!r} needs groups: name a column with --group or use another --select"
        )


def check_model(model: Model, data: TaskData) -> None:
    """Refuse a network that does not fit the inputs; trying it draws nothing from the global generators.

    Raises:
        UserError: As the model says, or it fails on a row.
    """
    x = data.splits[0].data.batch(slice(0, 1)).x
    rows = ", ".join(x) if isinstance(x, dict) else f"shape {data.input_shape}"
    with torch.random.fork_rng(), running(f"network {model.reference}, on rows of {rows},"):
        model.build(data.input_shape, data.outputs).eval()(x)


def check_evaluations(evaluations: Sequence[Evaluation], kind: Kind) -> None:
    """Refuse an evaluation that was asked for by name and can say nothing of this task.

    Raises:
        UserError: It is for another kind of task.
    """
    for evaluation in evaluations:
        if kind not in evaluation.kinds:
            raise UserError(f"evaluation {evaluation.name!r} is for {' and '.join(evaluation.kinds)}: this is {kind}")
