"""Three shortcuts at once: which methods against one make another worse, and which do not.

Run with ``python benchmarks/whac_a_mole.py``; it prints the page and writes ``docs/benchmarks/whac_a_mole.md``. About
ten minutes on one core.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import pages
import torch

from holdfast.core.method import Method
from holdfast.core.options import parse_alternatives
from holdfast.core.registry import create
from holdfast.reproductions.shortcut_gaps import ALL, IN_DISTRIBUTION, shortcut_gaps, trained
from holdfast.statistics import mean_t
from holdfast.tasks.multi_bias import CUES, MultiBias

SEEDS, STEPS, CLASSES, STRENGTH = 5, 1000, 3, 0.95
COLUMNS = (IN_DISTRIBUTION, *CUES, ALL)
Figures = Mapping[str, Sequence[float]]

PLAIN = "erm"
ROWS = (
    PLAIN,
    'factor-randomization:factors=["color"]',
    'factor-randomization:factors=["texture"]',
    'factor-randomization:factors=["position"]',
    'factor-randomization:factors=["color","texture","position"]',
    "group-dro:groups=label*color",
    "balanced:groups=label*position",
    "group-dro:groups=label*position",
    "erm+dfr:groups=label*position",
    "balanced:groups=label*color*texture*position",
    "feature-sieve",
    'last-layer-ensemble:interventions=["color","texture","position"]',
    'last-layer-ensemble:interventions=["color","texture","position","color*texture*position"]',
)


def figures(reference: str) -> Figures:
    """For each column the values of every seed."""
    (chain,) = parse_alternatives(reference)
    methods = [create(Method, part) for part in chain]
    found = []
    for seed in range(SEEDS):
        task = MultiBias(classes=CLASSES, data_seed=seed).load()
        found.append(shortcut_gaps(trained(methods, task, seed, STEPS), task, CUES, STRENGTH))
    return {column: [gaps[column] for gaps in found] for column in COLUMNS}


def changes(method: Figures, plain: Figures) -> tuple[list[str], list[str]]:
    """The shortcuts whose gap is smaller than plain training's, and those where it is larger, beyond the interval."""
    better, worse = [], []
    for cue in CUES:
        interval = mean_t([own - erm for own, erm in zip(method[cue], plain[cue], strict=True)])
        better += [cue] if interval.low is not None and interval.low > 0 else []
        worse += [cue] if interval.high is not None and interval.high < 0 else []
    return better, worse


def page() -> Iterator[str]:
    """The page, line by line."""
    yield from (
        "# Whac-A-Mole: methods against one shortcut where there are three",
        "",
        f"Written by `python benchmarks/whac_a_mole.py` on {date.today().isoformat()}. Task "
        f"`multi-bias:classes={CLASSES}`: scikit-learn's digits in three classes, of which color, texture and position "
        f"each have the class's own value with probability {STRENGTH}. Figures in %: accuracy in distribution, and the "
        "gaps to it where one shortcut alone is broken, or all three (negative is a loss). "
        f"Mean over {SEEDS} seeds with the interval by Student's t; {STEPS:,} updates, each method's default options, "
        "no search.",
        "",
        "The last column is the Whac-A-Mole index: **yes** where a method has a smaller loss than `erm` on one single "
        "shortcut and a larger one on another, both by more than the interval of the difference over seeds. Methods "
        "with `factor-randomization` and `last-layer-ensemble` are told which factors may not matter and have the task "
        "draw them anew; `groups=` needs the column of that shortcut on the rows it trains on, `dfr` on holdout rows.",
        "",
        f"| method | {' | '.join(COLUMNS)} | smaller loss | larger loss | Whac-A-Mole |",
        f"|---|{'---|' * (len(COLUMNS) + 3)}",
    )
    plain: Figures | None = None
    for reference in ROWS:
        found = figures(reference)
        plain = found if plain is None else plain
        better, worse = changes(found, plain)
        cells = [pages.percent(found[column]) for column in COLUMNS]
        index = "" if reference == PLAIN else "**yes**" if better and worse else "no"
        yield f"| `{reference}` | {' | '.join([*cells, ', '.join(better), ', '.join(worse), index])} |"


def main() -> None:
    """Write the page."""
    torch.set_num_threads(1)
    pages.write("whac_a_mole.md", page())


if __name__ == "__main__":
    main()
