"""Artifacts: named tables, curves, matrices and image grids that an evaluation leaves behind.

Each is plain data that goes to JSON and draws itself, so a new evaluation never edits the report. Drawing needs
matplotlib, which is imported only then.
"""

from __future__ import annotations

import dataclasses
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns; numbers are shown with three significant digits."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str = ""

    def to_html(self) -> str:
        """An HTML table; every text is escaped."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in self.columns)
        body = "".join("<tr>" + "".join(f"<td>{_cell(c)}</td>" for c in row) + "</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True)
class Curve:
    """Lines over a common axis: ``series`` maps a name to its points (x, y)."""

    name: str
    series: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
    x_label: str
    y_label: str
    log_x: bool = False
    caption: str = ""

    def to_html(self) -> str:
        """An inline SVG."""

        def draw(axes: Axes) -> None:
            for label, (x, y) in self.series.items():
                axes.plot(x, y, label=label, linewidth=1.5, marker="o", markersize=2.5)
            if self.log_x:
                axes.set_xscale("symlog", linthresh=1)
            axes.set_xlabel(self.x_label)
            axes.set_ylabel(self.y_label)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False, fontsize=8)

        return svg(draw, title=self.name)


@dataclass(frozen=True)
class Matrix:
    """Numbers in a grid with named rows and columns."""

    name: str
    values: tuple[tuple[float, ...], ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    x_label: str = ""
    y_label: str = ""
    caption: str = ""

    def to_html(self) -> str:
        """An inline SVG heat map with the numbers written in when they fit."""

        def draw(axes: Axes) -> None:
            image = axes.imshow(self.values, cmap="viridis", aspect="auto")
            axes.set_xticks(range(len(self.columns)), self.columns, rotation=45, ha="right", fontsize=7)
            axes.set_yticks(range(len(self.rows)), self.rows, fontsize=7)
            axes.set_xlabel(self.x_label)
            axes.set_ylabel(self.y_label)
            assert axes.figure is not None
            axes.figure.colorbar(image, ax=axes, shrink=0.8)

        return svg(draw, title=self.name, height=3.6)


@dataclass(frozen=True)
class ImageGrid:
    """Small pictures under captions: each is height × width × 3 nested tuples of values in [0, 1]."""

    name: str
    images: tuple[Any, ...]
    captions: tuple[str, ...]
    columns: int = 10
    caption: str = ""

    def to_html(self) -> str:
        """Inline PNG pictures, drawn without smoothing."""
        figures = "".join(
            f'<figure><img alt="{html.escape(text)}" src="data:image/png;base64,{_png(image)}">'
            f"<figcaption>{html.escape(text)}</figcaption></figure>"
            for image, text in zip(self.images, self.captions, strict=True)
        )
        return f'<div class="image-grid" style="--columns:{self.columns}">{figures}</div>'


Artifact = Table | Curve | Matrix | ImageGrid
_KINDS: dict[str, type[Artifact]] = {cls.__name__: cls for cls in (Table, Curve, Matrix, ImageGrid)}


def to_json(artifact: Artifact) -> dict[str, Any]:
    """Plain JSON, with the kind of artifact."""
    return {"kind": type(artifact).__name__, **dataclasses.asdict(artifact)}


def from_json(data: Mapping[str, Any]) -> Artifact:
    """The artifact that :func:`to_json` wrote."""
    fields = {key: _tuples(value) for key, value in data.items() if key != "kind"}
    return _KINDS[data["kind"]](**fields)


def svg(draw: Callable[[Axes], None], *, title: str = "", width: float = 5.2, height: float = 3.0) -> str:
    """Draw on fresh axes and return a self-contained SVG element whose colours follow the page's text colour."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    draw(axes)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else html.escape(str(value))


def _png(image: Any) -> str:
    import base64

    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((np.asarray(image, dtype=float).clip(0, 1) * 255).round().astype("uint8")).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _tuples(value: Any) -> Any:
    """JSON lists back to tuples, all the way down."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return value
