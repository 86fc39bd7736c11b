"""The answer of a run on a terminal: methods × splits with intervals and verdicts, and the findings below."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.experiments.seed_scores import Estimate
from holdfast.experiments.summary import Summary

MAX_REMARKS = 12
"""Notes on the data and warnings beyond this many are left to the report."""

_STYLES = {"better": "green", "worse": "red", "undecided": "dim"}
_METHOD_WIDTH, _SPLIT_WIDTH, _VERDICT_WIDTH = 20, 16, 22
_PLAIN = str.maketrans({"−": "-", "–": "-", "∞": "inf", "†": "*", "•": "*", "…": "~", "“": '"', "”": '"', "·": ","})


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Print a summary on standard output, or on another console; without color where that is no terminal."""
    console = console or Console(highlight=False)
    console.print(_Writer(console).summary(summary))


class _Writer:
    """Writes for one console: within its width, in characters that it has."""

    def __init__(self, console: Console) -> None:
        self._encoding, self._width = console.encoding, console.width

    def summary(self, summary: Summary) -> RenderableType:
        room = (self._width - _METHOD_WIDTH - _VERDICT_WIDTH) // _SPLIT_WIDTH
        shown = summary.answer_first[: max(room, 1)]
        hidden = [split.name for split in summary.answer_first[len(shown) :]]
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left", safe_box=True)
        table.add_column(self._text("method"), overflow="fold", max_width=_METHOD_WIDTH)
        oracle = "†" if summary.rule_oracle else ""
        for split in shown:
            table.add_column(self._text(split.name + oracle), justify="right", overflow="fold", min_width=14)
        target = summary.targets[0]
        table.add_column(self._text(f"{target} against {summary.baseline}"), overflow="fold")
        for method in summary.methods:
            cells = [self._estimate(summary, summary.score(method, split.name).estimate) for split in shown]
            table.add_row(self._text(method), *cells, self._verdict(summary, method, target))
        parts = [self._title(summary), table, self._list(summary.findings), self._remarks(summary)]
        spaced = [line for part in parts if part is not None for line in (part, "")]
        return Group(*spaced, self._notes(summary, hidden))

    def _title(self, summary: Summary) -> Text:
        better = "" if summary.higher_is_better else ", lower is better"
        return self._text(f"{summary.task}: {summary.format.title}{better}", "bold")

    def _estimate(self, summary: Summary, estimate: Estimate) -> Text:
        write = summary.format
        return self._text(f"{write.value(estimate.value)}\n{write.interval(estimate.low, estimate.high)}".rstrip())

    def _verdict(self, summary: Summary, method: str, split: str) -> Text:
        contrast = summary.against_baseline(method, split)
        if contrast is None:
            return self._text("baseline", "dim")
        write, difference = summary.format, contrast.difference
        ends = write.interval(difference.low, difference.high)
        told = f"{contrast.verdict}\n{write.signed(difference.value)} {ends}".rstrip()
        return self._text(told, _STYLES[contrast.verdict])

    def _list(self, lines: Sequence[str]) -> Table:
        grid = Table.grid(padding=(0, 1))
        for line in lines:
            grid.add_row(self._text("•"), self._text(line))
        return grid

    def _remarks(self, summary: Summary) -> RenderableType | None:
        """What to know of the data, as far as there is room; None where there is nothing."""
        if not summary.remarks:
            return None
        more = len(summary.remarks) - MAX_REMARKS
        told = [*summary.remarks[:MAX_REMARKS], *([f"{more} more in the report"] if more > 0 else [])]
        return Group(self._text("Data and warnings", "bold"), self._list(told))

    def _notes(self, summary: Summary, hidden: list[str]) -> Text:
        seeds = f"{summary.asked_seeds} seed{'s' * (summary.asked_seeds != 1)}"
        notes = [f"Brackets are {100 * summary.level:g} % intervals over {seeds}; selected by {summary.rule}"]
        if summary.rule_oracle:
            notes.append("† an oracle that looks at test rows")
        if max(summary.trials.values(), default=1) > 1:
            notes.append("settings tried: " + ", ".join(f"{n} for {method}" for method, n in summary.trials.items()))
        if hidden:
            notes.append(f"also measured: {', '.join(hidden)}")
        return self._text("; ".join(notes) + ".", "dim")

    def _text(self, text: str, style: str = "") -> Text:
        """Text as it stands: a user's brackets are no markup, control characters are not sent to the terminal."""
        text = "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            text = text.translate(_PLAIN).encode(self._encoding, "replace").decode(self._encoding)
        return Text(text, style)
