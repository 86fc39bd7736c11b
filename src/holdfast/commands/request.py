"""From command-line options to plug-ins: what ``run`` and ``sweep`` have in common."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.core.augmentation import Augmentation
from holdfast.core.errors import UserError, unknown_name
from holdfast.core.evaluation import Evaluation
from holdfast.core.inference import GroupInference
from holdfast.core.method import Method
from holdfast.core.options import Reference, options_of, parse_alternatives, parse_reference
from holdfast.core.others_code import DOTTED
from holdfast.core.registry import create, plugins
from holdfast.core.task import Model, Task
from holdfast.experiments.grid import Chain, Fold, Grid, load_folds
from holdfast.experiments.numerics import Numerics, device_of
from holdfast.tasks.data_folder import data_set_folder, has_data_set
from holdfast.tasks.hub import PREFIX, hub_folder
from holdfast.tasks.image_folder import ImageFolder
from holdfast.tasks.table import TableFile
from holdfast.training import Budget, SelectionRule

ROLE_OPTIONS = (
    "label",
    "environment",
    "group",
    "unit",
    "weight",
    "split",
    "holdout_environment",
    "kind",
    "min_environment_rows",
)
TABLE_OPTIONS = ("drop", "tokenizer", "max_tokens")
IMAGE_OPTIONS = ("size",)
FOLDER_OPTIONS = ("metadata", "skip_unreadable")
_MOST = {
    "seeds": 10_000,
    "trials": 10_000,
    "threads": 1024,
    "steps": math.inf,
    "batch_size": math.inf,
    "min_environment_rows": math.inf,
    "size": 4096,
    "max_tokens": 1 << 20,
}
_SHOWN_COLUMNS = 12
TABLE_SUFFIXES = {".csv", ".tsv", ".txt", ".parquet", ".pq"}


def grid_of(options: argparse.Namespace) -> Grid:
    """The grid that a command line asks for, its data loaded and everything checked.

    Raises:
        UserError: Anything that cannot be served as asked.
    """
    check_numbers(options)
    chains = chains_of(options.method)
    asked = create(SelectionRule, options.select) if options.select is not None else None
    model = model_of(options.model) if options.model is not None else None
    task = task_of(options)
    folds = load_folds(task)
    if all(fold.data.encoder and fold.data.encoder.columns for fold in folds):
        chains = with_table_baselines(chains)
    grid = Grid(
        folds=folds,
        chains=chains,
        seeds=tuple(range(options.seeds)),
        rule=asked or usual_rule(folds),
        budget=Budget(options.steps) if options.steps else None,
        batch_size=options.batch_size,
        model=model,
        augment=augmentations_of(options.augment),
        inference=create(GroupInference, options.infer_groups) if options.infer_groups is not None else None,
        numerics=Numerics(options.threads, device_of(options.device), options.precision),
    )
    if isinstance(task, (TableFile, ImageFolder)):
        check_group_columns(chains, task)
    grid.check()
    return grid


def check_group_columns(chains: Sequence[Chain], table: TableFile | ImageFolder) -> None:
    """Refuse columns of a file that methods group by and that have no part, or another name, on the command line.

    Raises:
        UserError: One line with the option to add, or the name to write.
    """
    named = {column: method.name for chain in chains for method in chain for column in method.needs().columns}
    for column, method in named.items():
        if column in table.group:
            continue
        for role in ("label", "environment"):
            if column == getattr(table, role):
                raise UserError(f"groups of {method}: column {column!r} is called {role} there: write {role}")
        columns = table.columns()
        if column in columns:
            raise UserError(f"groups of {method}: column {column!r} is no group yet: add --group {column}")
        near = unknown_name(f"column in the groups of {method}", column, columns)
        raise UserError(f"{near}; a column becomes a group with --group COLUMN")


def usual_rule(folds: Sequence[Fold]) -> SelectionRule:
    """Training-domain validation, or no selection where a fold has no selection rows."""
    has_rows = all(fold.data.with_role("selection") for fold in folds)
    return create(SelectionRule, "validation" if has_rows else "last")


def task_of(options: argparse.Namespace) -> Task:
    """The task that was named, or that of a table file, a data set or a folder of images."""
    names = (*ROLE_OPTIONS, *TABLE_OPTIONS, *IMAGE_OPTIONS, *FOLDER_OPTIONS)
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    path = path_of(options.task, options.data_dir)
    if not given and options.task in plugins("task") and not _is_file(options.task):
        path = (
            None  # a data set of this name may lie in the folder of data sets: nothing says how to read it as a table
        )
    if path is None:
        nothing = "no file, and no data set in the folder that --data-dir or HOLDFAST_DATA names"
        what = "a task" if parse_reference(options.task).name in plugins("task") else nothing
        _refuse(given, names, f"only a table file or a folder of images takes these, and {options.task} is {what}")
        return _registered(options.task, options.data_dir)
    if "split" in given and "holdout_environment" in given:
        raise UserError("--split and --holdout-environment contradict each other: give one of them")
    if "holdout_environment" in given:
        given["holdout_environment"] = "|".join(name.replace("|", r"\|") for name in given["holdout_environment"])
    given = {name: _once(value) if isinstance(value, list) else value for name, value in given.items()}
    return (_images_of if _is_image_folder(path) else _table_of)(path, given)


def _table_of(path: str, given: dict[str, Any]) -> Task:
    _refuse(given, FOLDER_OPTIONS, f"only a folder of images takes these, and {path} is a table")
    for name in ("label", "environment"):
        if name not in given:
            columns = _shown(TableFile(**{"path": path, "label": "", "environment": "", **given}).columns())
            raise UserError(f"a table file needs --{name} COLUMN: {path} has {columns}")
    needed = {name: given.pop(name) for name in ("label", "environment")}
    table = create(TableFile, Reference("table"), path=path, **needed)
    return dataclasses.replace(table, **given)  # as typed: here a column called null is no missing value


def _images_of(path: str, given: dict[str, Any]) -> Task:
    _refuse(given, TABLE_OPTIONS, f"only a table file takes these, and {path} is a folder of images")
    if "environment" not in given:
        columns = _shown(ImageFolder(path=path, **{**given, "environment": ""}).columns())
        raise UserError(f"a folder of images needs --environment COLUMN: {path} has {columns or 'no metadata.csv'}")
    images = create(ImageFolder, Reference("image-folder"), path=path, environment=given.pop("environment"))
    return dataclasses.replace(images, **given)


def _refuse(given: Mapping[str, Any], names: Sequence[str], why: str) -> None:
    flags = ["--" + name.replace("_", "-") for name in names if name in given]
    if flags:
        raise UserError(f"{', '.join(flags)}: {why}")


def path_of(text: str, data_dir: str | None) -> str | None:
    """The file or folder that is meant: a path, a data set on the hub, one in the folder of data sets; else None."""
    if text.startswith(PREFIX):
        return str(hub_folder(text))
    if _is_file(text):
        return text
    return str(data_set_folder(text, data_dir)) if has_data_set(text, data_dir) else None


def _registered(reference: str, data_dir: str | None) -> Task:
    """The task of this reference, on data below ``data_dir`` where it takes any."""
    name = parse_reference(reference).name
    if data_dir is None or name not in plugins("task"):
        return create(Task, reference)
    if "data_dir" not in options_of(plugins("task")[name]):
        raise UserError(f"--data-dir: task {name!r} makes its own data and takes none; leave it out")
    return create(Task, reference, data_dir=data_dir)


def model_of(text: str) -> Model:
    """The network that was named: ``mlp:hidden=[64]``, ``hf:FOLDER``, or ``module:function`` of one's own."""
    if text.startswith("hf:") and not text.startswith("hf:path="):
        return create(Model, Reference("hf"), path=text.removeprefix("hf:"))
    if re.fullmatch(DOTTED, text) and text.partition(":")[0] not in plugins("model"):
        return create(Model, Reference("own"), function=text)
    return create(Model, text)


def chains_of(text: str) -> tuple[Chain, ...]:
    """The methods of ``erm,erm+dfr``; a chain that is named twice counts once."""
    chains = [tuple(create(Method, part) for part in chain) for chain in parse_alternatives(text)]
    return tuple(dict.fromkeys(chains))


def augmentations_of(text: str | None) -> tuple[Augmentation, ...]:
    """The augmentations of ``horizontal-flip+random-crop:padding=2``, which are applied in this order."""
    if text is None:
        return ()
    chains = parse_alternatives(text)
    if len(chains) > 1:
        raise UserError("augmentations are applied one after the other: join them with '+'")
    return tuple(create(Augmentation, reference) for reference in chains[0])


def with_table_baselines(chains: tuple[Chain, ...]) -> tuple[Chain, ...]:
    """Every table report has rows for logistic regression and gradient boosting: often nothing beats them."""
    extra = [(create(Method, name),) for name in ("logistic", "gradient-boosting")]
    named = {chain[0].name for chain in chains if len(chain) == 1}
    return chains + tuple(chain for chain in extra if chain[0].name not in named)


def evaluations_of(text: str | None) -> tuple[Evaluation, ...]:
    """The evaluations named, or the usual ones."""
    if text is None:
        from holdfast.evaluations import DEFAULT

        return tuple(create(Evaluation, reference) for reference in DEFAULT)
    chains = parse_alternatives(text)
    if any(len(chain) > 1 for chain in chains):
        raise UserError("evaluations are not chained: separate them with ','")
    return tuple(create(Evaluation, chain[0]) for chain in chains)


def check_numbers(options: argparse.Namespace) -> None:
    """Refuse counts below one or absurdly large.

    Raises:
        UserError: One line that names the option.
    """
    for name, most in _MOST.items():
        value = getattr(options, name, None)
        flag = "--" + name.replace("_", "-")
        if value is not None and value < 1:
            raise UserError(f"{flag} is {value}: it must be at least 1")
        if value is not None and value > most:
            raise UserError(f"{flag} is {value}: it must be at most {most:.0f}")


def _once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _is_file(text: str) -> bool:
    """Whether a path is meant: one that is there, or has a table's suffix or a slash; a task's name comes first."""
    if "://" in text:
        raise UserError(f"{text} is an address on the web: download the file and name it here")
    name = text.partition(":")[0]
    there = os.path.exists(text)  # noqa: PTH110  # unlike Path.exists, False for what is too long for a path
    if there or name in plugins("task"):
        return there and text not in plugins("task")
    return Path(text).suffix.lower() in TABLE_SUFFIXES or "/" in name


def _is_image_folder(path: str) -> bool:
    from holdfast.images.files import holds_images

    return Path(path).is_dir() and holds_images(path)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN_COLUMNS]) + (", …" if len(names) > _SHOWN_COLUMNS else "")
