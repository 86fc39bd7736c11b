"""Images of one's own as a task: a folder of image files, and what a table says of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch

from holdfast.core.errors import UserError
from holdfast.core.lazy import LazyInputs
from holdfast.core.options import Range
from holdfast.core.registry import register
from holdfast.core.task import Task, TaskData
from holdfast.core.words import count
from holdfast.models.cnn import CNN
from holdfast.tasks.arrangement import Arrangement, Rows, everything
from holdfast.tasks.image_overview import image_grid
from holdfast.tasks.table_splits import Parts
from holdfast.tasks.targets import usual_model

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.images import Header, ImageFile

SMALL_BYTES = 1 << 25
"""Images that take no more memory than this are read once: a small folder need not be decoded at every step."""
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}


@register
@dataclass(frozen=True, kw_only=True)
class ImageFolder(Task):
    r"""A folder of image files; images come from environments and have a label.

    The label is by default the first folder below ``path`` that an image lies in, ``path/cat/1.png``. Everything else
    are columns of ``metadata.csv`` (or ``.parquet``) in the folder, which names each image in ``file_name``, or the
    names ``folder-1``, ``folder-2``, … of the folders that an image lies in: in ``path/cat/north/1.png`` the second is
    ``north``. What is held out, and which images are for what, is as for a table (``holdfast show table``).

    Images are read from disk when a batch needs them, and memory does not grow with their number; only those of a
    small folder, up to 32 MiB, are read once. They become float32 in [0, 1], grey where all are grey and else RGB.
    Row ids are positions among all images in order of their paths. The hash of the data covers each image's path,
    size and time of change, and the columns that have a role; not the pixels.

    Attributes:
        path: The folder.
        environment: Column that tells environments apart; images without a value are left out.
        label: Column to predict; ``label`` is ``folder-1`` where the metadata have no such column.
        metadata: The metadata file; by default the one in the folder, if any.
        group: Columns by whose combinations evaluations are broken down.
        unit: Column of images that belong together, such as a patient; a unit is never split.
        weight: Column of non-negative row weights.
        split: Column that says what an image is for: train, selection (or validation, val, dev), holdout,
            calibration, unlabelled, pool, test.
        holdout_environment: Environments to test on, joined by ``|``; a ``|`` within a name is written ``\|``.
        kind: What the label is; ``auto`` infers it.
        min_environment_rows: Smaller environments are pooled as ``rare``.
        size: Height and width; None for the images' own size where it is common to all, else 64.
        skip_unreadable: Whether to leave out images that are damaged or missing, with a note; else they are refused.
        data_seed: Fixes the splits.
    """

    path: str
    environment: str
    label: str = "label"
    metadata: str | None = None
    group: tuple[str, ...] = ()
    unit: str | None = None
    weight: str | None = None
    split: str | None = None
    holdout_environment: str | None = None
    kind: Literal["auto", "classification", "regression"] = "auto"
    min_environment_rows: Annotated[int, Range(low=1)] = 10
    size: Annotated[int | None, Range(low=1, high=4096)] = None
    skip_unreadable: bool = False
    data_seed: int = 0

    def load(self) -> TaskData:
        images = self._images()
        rows = self._rows(images)
        return self._task_data(images, rows, self._arrangement.parts(rows))

    def whole(self) -> TaskData:
        if self._arrangement.is_fixed:
            return self.load()
        images = self._images()
        rows = self._rows(images)
        return self._task_data(images, rows, everything(rows))

    def _task_data(self, images: _Images, rows: Rows, parts: Parts) -> TaskData:
        from holdfast.images import ImageReader, common_shape

        places = rows.frame.index.tolist()
        shape, notes = common_shape([images.headers[place] for place in places], self.size)
        reader = ImageReader(self.path, tuple(images.files[place] for place in places), shape)
        task = self._arrangement.task_data(
            rows,
            parts,
            LazyInputs.of(reader.in_memory() if 4 * len(places) * math.prod(shape) <= SMALL_BYTES else reader),
            model=usual_model(rows.kind, rows.label[parts.train], CNN()),
            notes=notes,
        )
        return dataclasses.replace(task, pictures=(*task.pictures, image_grid(task)))

    def folds(self) -> Sequence[ImageFolder]:
        if self._arrangement.is_fixed:
            return (self,)
        held_out = self._arrangement.in_turn(self._rows(self._images()))
        return tuple(dataclasses.replace(self, holdout_environment=names) for names in held_out)

    def columns(self) -> list[str]:
        """The columns that can have a role."""
        return list(map(str, self._images().frame.columns))

    @property
    def title(self) -> str:
        return Path(self.path).absolute().name

    @property
    def question(self) -> str:
        return self._arrangement.question

    @property
    def fold_name(self) -> str:
        return ", ".join(self._arrangement.held_out)

    @property
    def _arrangement(self) -> Arrangement:
        from holdfast.tables import ColumnRoles

        return Arrangement(
            roles=ColumnRoles(self.label, self.environment, self.group, self.unit, self.weight, self.split),
            title=self.title,
            stream=self.name,
            holdout_environment=self.holdout_environment,
            kind=self.kind,
            min_environment_rows=self.min_environment_rows,
            data_seed=self.data_seed,
        )

    def _rows(self, images: _Images) -> Rows:
        """The usable rows; their ids are positions among all images."""
        rows = self._arrangement.rows(images.frame, images.notes)
        return dataclasses.replace(rows, index=torch.tensor(rows.frame.index.to_numpy()))

    def _images(self) -> _Images:
        """The images that can be read, and what is known of them.

        Raises:
            UserError: There is none, or some are damaged or missing and ``skip_unreadable`` does not leave them out.
        """
        from holdfast.images import Metadata, described, find_images, find_metadata, headers

        found = find_images(self.path)
        if not found.files:
            raise UserError(
                f"folder {self.path} holds no images: put them into a folder for each label, as PNG or JPEG"
            )
        metadata = (Metadata(Path(self.metadata)),) if self.metadata else find_metadata(self.path)
        frame, missing, notes = described([file.name for file in found.files], metadata)
        heads = headers(self.path, found.files)
        faults = {found.files[place].name: heads[place].fault for place in frame.index if heads[place].fault}
        faults |= dict.fromkeys(missing, "missing")
        left_out = self._left_out(faults, len(frame) + len(missing))
        frame = frame[[not heads[place].fault for place in frame.index]]
        return _Images(self._labelled(frame), found.files, heads, (*found.notes, *notes, *left_out))

    def _left_out(self, faults: dict[str, str], among: int) -> tuple[str, ...]:
        if not faults:
            return ()
        from holdfast.images.files import some

        which = some([f"{name}: {fault}" for name, fault in faults.items()])
        if len(faults) == among:
            raise UserError(f"no image of {self.path} can be read ({which}): give PNG or JPEG files")
        if not self.skip_unreadable:
            raise UserError(
                f"{len(faults):,} of {count(among, 'image')} cannot be read ({which}): mend them, or leave them out "
                "with --skip-unreadable"
            )
        return (f"left out, as they cannot be read: {count(len(faults), 'image')} ({which})",)

    def _labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """With the column ``label``, where that is what is predicted."""
        if self.label != "label" or "label" in frame:
            return frame
        if "folder-1" not in frame:
            raise UserError(f"the images of {self.path} have no label: sort them into folders or name --label COLUMN")
        values = set(frame["folder-1"].dropna())
        if values and values <= _SPLITS and "folder-2" in frame:
            raise UserError(
                f"the folders of {self.path} are {', '.join(sorted(values))}, which look like splits: add "
                "--split folder-1 --label folder-2"
            )
        return frame.assign(label=frame["folder-1"])


@dataclass(frozen=True)
class _Images:
    """All images of a folder.

    Attributes:
        frame: A row for each that can be used, with its position among the files as index.
        files: (N,) the files.
        headers: (N,) what is known of them.
        notes: Remarks for the report.
    """

    frame: pd.DataFrame
    files: tuple[ImageFile, ...]
    headers: tuple[Header, ...]
    notes: tuple[str, ...]
