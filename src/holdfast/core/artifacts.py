"""Artifacts: named tables, curves, matrices and image grids that an evaluation leaves behind.

Each is plain data that goes to JSON and draws itself, so a new evaluation never edits the report. Drawing needs
matplotlib, which is imported only then.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#2f6db3", "#d9761f", "#2e8b57", "#b8447f", "#7a5bbf", "#948000", "#1f8f9e", "#c8442f")
"""Colors of lines and marks in order; a page may restyle them as ``--series-1``, …"""

INK = "#0a0b0c"
"""Stands for the page's text color in what is drawn by :func:`svg`."""

PAPER = "#f0f1f2"
"""Stands for the page's background, ``--paper``."""

_MAX_WRITTEN = 12
_MAX_TICKS = 30
_MAX_MARKS = 15
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "holdfast",
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.18,
    "lines.linewidth": 1.4,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns; numbers are shown with three significant digits."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str = ""

    def _repr_html_(self) -> str:
        return in_notebook(self)

    def to_html(self) -> str:
        """An HTML table that scrolls inside its place; every text is escaped."""
        head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in self.columns)
        body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in self.rows)
        return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


@dataclass(frozen=True)
class Curve:
    """Lines over a common axis: ``series`` maps a name to its points (x, y)."""

    name: str
    series: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
    x_label: str
    y_label: str
    log_x: bool = False
    caption: str = ""

    def _repr_html_(self) -> str:
        return in_notebook(self)

    def to_html(self) -> str:
        """An inline SVG and the legend of its lines."""

        def draw(axes: Axes) -> None:
            for (x, y), color in zip(self.series.values(), itertools.cycle(COLORS)):
                axes.plot(x, y, color=color, marker="o" if len(x) <= _MAX_MARKS else "", markersize=2.5)
            if self.log_x:
                log_steps(axes)
            axes.set_xlabel(self.x_label)
            axes.set_ylabel(self.y_label)
            axes.grid()

        return svg(draw, title=self.name) + (legend(tuple(self.series)) if len(self.series) > 1 else "")


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

    def _repr_html_(self) -> str:
        return in_notebook(self)

    def to_html(self) -> str:
        """A grid whose cells are the fuller of color the larger the number, of another color below zero.

        Small grids are tables with the numbers written in, large ones an inline SVG without.
        """
        import numpy as np

        values = np.asarray(self.values, dtype=float).reshape(len(self.rows), len(self.columns))
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
        strength = np.nan_to_num(np.clip(values / largest, -1, 1))
        if max(values.shape) > _MAX_WRITTEN:
            return self._image(strength)
        digits = ".2f" if largest <= 1 else ".3g"
        both = np.stack([values, strength], axis=-1).tolist()
        return self._table(["".join(_shaded(value, shade, digits) for value, shade in line) for line in both])

    def _table(self, cells: Sequence[str]) -> str:
        """The table, from the cells of each row."""
        corners = [
            f"{html.escape(name)}\N{NO-BREAK SPACE}{arrow}"
            for name, arrow in ((self.y_label, "↓"), (self.x_label, "→"))
            if name
        ]
        head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in self.columns)
        rows = zip(self.rows, cells, strict=True)
        body = "".join(f'<tr><th scope="row">{html.escape(name)}</th>{line}</tr>' for name, line in rows)
        return (
            f'<div class="scroll"><table class="matrix"><thead><tr><th>{" ".join(corners)}</th>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def _image(self, strength: Any) -> str:
        import numpy as np

        pixels = np.zeros((*strength.shape, 4))
        pixels[..., :3] = np.where((strength < 0)[..., None], _rgb(COLORS[1]), _rgb(COLORS[0]))
        pixels[..., 3] = np.abs(strength)

        def draw(axes: Axes) -> None:
            axes.imshow(pixels, aspect="auto", interpolation="none")
            for axis, names in ((axes.xaxis, self.columns), (axes.yaxis, self.rows)):
                every = math.ceil(len(names) / _MAX_TICKS)
                axis.set_ticks(range(0, len(names), every), [shorten(name) for name in names[::every]])
            axes.tick_params(axis="x", rotation=90)
            axes.tick_params(length=0)
            axes.set_xlabel(self.x_label)
            axes.set_ylabel(self.y_label)

        return svg(draw, title=self.name, height=min(1.2 + 0.16 * len(self.rows), 6.0))


@dataclass(frozen=True)
class ImageGrid:
    """Small pictures under captions: each is height × width × 3 nested tuples of values in [0, 1]."""

    name: str
    images: tuple[Any, ...]
    captions: tuple[str, ...]
    columns: int = 10
    caption: str = ""

    def _repr_html_(self) -> str:
        return in_notebook(self)

    def to_html(self) -> str:
        """Inline PNG pictures, drawn without smoothing; captions are written out where there is room for them."""
        wide = self.columns <= 5

        def figure(image: Any, text: str) -> str:
            text = html.escape(text)
            below = f"<figcaption>{text}</figcaption>" if wide else ""
            picture = f'<img alt="{text}" title="{text}" src="data:image/png;base64,{_png(image)}">'
            return f"<figure>{picture}{below}</figure>"

        figures = "".join(map(figure, self.images, self.captions))
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


def in_notebook(artifact: Artifact) -> str:
    """An artifact with its name and caption, as notebooks show it."""
    name, caption = html.escape(artifact.name), html.escape(artifact.caption)
    return f"<figure><figcaption><b>{name}.</b> {caption}</figcaption>{artifact.to_html()}</figure>"


def nested(values: Any) -> Any:
    """Nested lists of numbers as nested tuples, rounded: four digits are enough for a picture.

    >>> nested([[0.123456, 1.0]])
    ((0.1235, 1.0),)
    """
    return tuple(map(nested, values)) if isinstance(values, list) else round(values, 4)


def svg(draw: Callable[[Axes], None], *, title: str = "", width: float = 4.4, height: float = 2.7) -> str:
    """Draw on fresh axes and return an inline SVG element: equal drawings give equal text.

    Text, ticks and grid take the page's text color, and :data:`COLORS` the custom properties ``--series-1``, … where
    the page defines them, so that one drawing serves light and dark. Labels are text in the page's font, and never
    read as mathematics: a user's ``$`` is a dollar.

    Args:
        draw: Draws on the axes.
        title: Read aloud in place of the picture.
        width: Inches; the element shrinks with its place and never grows beyond.
        height: Inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        # savefig would lay out and draw twice.
        canvas.print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return _inline(buffer.getvalue(), title, width)


def log_steps(axes: Axes) -> None:
    """A logarithmic x axis of steps that has room for step 0, with plain numbers at the ticks."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    low, high = max(axes.get_xlim()[0], 0.0), axes.get_xlim()[1]
    axes.set_xlim(low, high)
    ticks = [0, *(10**k for k in range(12))]
    axes.set_xticks([t for t in ticks if low <= t <= high], [f"{t:,}" for t in ticks if low <= t <= high])
    axes.minorticks_off()


def legend(names: Sequence[str], dashed: Sequence[bool] = ()) -> str:
    """An HTML list that explains lines in the order of :data:`COLORS`, some of them dashed."""
    items = []
    for k, (name, dash) in enumerate(itertools.zip_longest(names, dashed, fillvalue=False)):
        color = f"--color:var(--series-{k % len(COLORS) + 1},{COLORS[k % len(COLORS)]})"
        kind = ' class="dashed"' if dash else ""
        items.append(f'<li{kind} style="{color}">{html.escape(str(name))}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def shorten(text: str, length: int = 24) -> str:
    """A label that fits beside an axis: its middle gives way.

    >>> shorten("a-very-long-name-of-an-environment")
    'a-very-long-…environment'
    """
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[: length - 1 - half]}…{text[-half:]}"


def _inline(text: str, title: str, width: float) -> str:
    """A stand-alone SVG file as an element of a page: short, in the page's colors and font, with ids of its own."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|(?<= )font-family: [^;]*;", "", text, flags=re.DOTALL)
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path.group()), text)
    text = re.sub(r"\s*\n\s*", " ", text)
    for k, color in enumerate(COLORS, start=1):
        text = text.replace(f": {color}", f": var(--series-{k}, {color})")
    text = text.replace(f": {INK}", ": currentColor").replace(f": {PAPER}", ": var(--paper, white)")
    used = set(re.findall(r'(?:url\(|xlink:href=")#([\w.-]+)', text))
    own = hashlib.sha256((title + text).encode("utf-8", "replace")).hexdigest()[:8]
    text = re.sub(r' id="([^"]*)"', lambda name: f' id="{own}-{name[1]}"' if name[1] in used else "", text)
    text = re.sub(r'(url\(|xlink:href=")#', rf"\g<1>#{own}-", text)
    label = f'class="plot" role="img" aria-label="{html.escape(title)}" style="max-width:{width}in"'
    return re.sub(r'<svg (.*?)width="\S*" height="\S*"', lambda head: f"<svg {head[1]}{label}", text, count=1)


def _rgb(color: str) -> tuple[float, ...]:
    return tuple(int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))


def _shaded(value: float, strength: float, digits: str) -> str:
    """A table cell that is the fuller of color the nearer its strength is to one or minus one."""
    if math.isnan(value):
        return '<td class="number">–</td>'
    text = "0" if value == 0 else f"{value:{digits}}".replace("-", "−")
    k = int(strength < 0)
    mix = f"color-mix(in srgb,var(--series-{k + 1},{COLORS[k]}) {70 * abs(strength):.0f}%,transparent)"
    style = f' style="background:{mix}"' if strength else ""
    return f'<td class="number"{style}>{text}</td>'


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{html.escape(str(value))}</td>"
    text = "–" if math.isnan(value) else str(value) if isinstance(value, int) else f"{value:.3g}"
    return f'<td class="number">{text.replace("-", "−")}</td>'


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
