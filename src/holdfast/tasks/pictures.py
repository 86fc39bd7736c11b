"""Pictures that show a task of images: examples of every environment, and what goes with the label."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from holdfast.core.artifacts import Artifact, ImageGrid, Matrix, nested
from holdfast.core.data import Column, Dataset, Inputs
from holdfast.core.task import Split

MAX_ENVIRONMENTS = 8
MAX_VALUES = 10


def examples(splits: Sequence[Split], of: str, names: Sequence[str], also: str = "") -> Artifact:
    """A row of pictures per environment of ``train`` and ``test``: the first example of every value of a column.

    Of many environments and values the first are shown.

    Args:
        splits: Of the task, with inputs (N, C, H, W) in [0, 1]; C is 1 for grey, 2 for red and green, 3 for colors.
        of: The column, ``label`` or an attribute.
        names: Of its values.
        also: An attribute column to name in the captions, too.
    """
    images, captions = [], []
    for data in (split.data for split in splits if split.name in ("train", "test")):
        codes = data.column(of).codes
        shown = itertools.product(data.environment.present()[:MAX_ENVIRONMENTS], range(len(names))[:MAX_VALUES])
        for environment, code in shown:
            rows = ((data.environment.codes == environment) & (codes == code)).nonzero()[:1, 0]
            if len(rows):
                named = [names[code], *([_name(data.column(also), rows)] if also else [])]
                images.append(nested(as_rgb(data.batch(rows).x)[0].permute(1, 2, 0).tolist()))
                captions.append(f"{data.environment.names[environment]}: {', '.join(named)}")
    columns = min(len(names), MAX_VALUES)
    caption = f"A row is an environment, a column a {of}; the test comes last."
    return ImageGrid("Examples of every environment", tuple(images), tuple(captions), columns=columns, caption=caption)


def cooccurrence(train: Dataset, column: str, classes: Sequence[str]) -> Artifact:
    """How often each label goes with each value of an attribute column, as shares of the label's rows."""
    attribute = train.attributes[column]
    counts = torch.zeros(len(classes), len(attribute.names))
    counts.index_put_((train.labels, attribute.codes), torch.tensor(1.0), accumulate=True)
    return Matrix(
        f"How often each label has each {column} in training",
        values=nested((counts / counts.sum(dim=1, keepdim=True).clamp_min(1)).tolist()),
        rows=tuple(classes),
        columns=attribute.names,
        x_label=column,
        y_label="label",
        caption="Share of a label's training rows.",
    )


def as_rgb(x: Inputs) -> Tensor:
    """(N, C, H, W) with one or two channels as three: grey, or red and green."""
    assert isinstance(x, Tensor)
    if x.shape[1] == 1:
        return x.expand(-1, 3, -1, -1)
    return torch.cat([x, torch.zeros_like(x[:, :1])], dim=1) if x.shape[1] == 2 else x


def _name(column: Column, row: Tensor) -> str:
    return column.names[int(column.codes[row])]
