"""The answer of a run in plain sentences: what is lost, who gains, who is worst, and what cannot be said."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from holdfast.core.words import count
from holdfast.statistics.comparisons import MIN_SEEDS

if TYPE_CHECKING:
    from holdfast.experiments.seed_scores import Estimate
    from holdfast.experiments.summary import Contrast, PartScore, Summary


def sentences(summary: Summary) -> tuple[str, ...]:
    """What the numbers say, the most important first; nothing that they do not carry."""
    parts = (_oracle, _loss, _comparisons, _best, _everyone_loses, _worst, _incomplete, _few_seeds, _trials, _folds)
    return tuple(sentence for part in parts for sentence in part(summary))


def _oracle(summary: Summary) -> Iterator[str]:
    if summary.rule_oracle:
        yield (
            f"Checkpoints were selected by {summary.rule}, an oracle that looks at test rows: "
            "every number here is an upper bound, not a result."
        )


def _loss(summary: Summary) -> Iterator[str]:
    """What the baseline loses when the distribution changes."""
    split, method, write = summary.targets[0], summary.baseline, summary.format
    drop = summary.drop(method, split)
    if drop is None or math.isnan(drop.estimate.value):
        return
    loss = drop.estimate
    inside, outside = (summary.score(method, s).estimate.value for s in (drop.source, split))
    values = f"{write.with_unit(inside)} on {drop.source}, {write.with_unit(outside)} on {split}"
    amount = f"{write.amount(abs(loss.value))} {write.interval(loss.low, loss.high)}".rstrip()
    if reason := _why_no_direction(loss):
        yield f"{method} has {values}; a change of {_change(summary, loss)} is {reason}."
    elif loss.low is not None and loss.low > 0:
        yield f"{_loses(summary, method)} {amount} when the distribution changes: {values}."
    elif loss.high is not None and loss.high < 0:
        amount = f"{write.amount(-loss.value)} {write.flipped(loss)}"
        yield f"{method} is better by {amount} where the distribution differs: {values}."
    else:
        yield f"No loss is shown for {method} when the distribution changes: {_change(summary, loss)}; {values}."


def _why_no_direction(estimate: Estimate) -> str:
    """What keeps a difference from being called a loss or a gain; empty where it may be, if its interval says so."""
    if estimate.n_seeds < MIN_SEEDS:
        seeds = f"{estimate.n_seeds} seed{'s' * (estimate.n_seeds != 1)}"
        return f"called neither loss nor gain with {seeds}: {MIN_SEEDS} are needed"
    if estimate.low is None and estimate.high is None:
        return f"called neither loss nor gain without an interval: {estimate.interval}"
    return ""


def _change(summary: Summary, loss: Estimate) -> str:
    """Minus a loss, with its unit and interval."""
    write = summary.format
    return f"{write.signed(-loss.value)}{' points' * write.percent} {write.flipped(loss)}".rstrip()


def _loses(summary: Summary, method: str) -> str:
    return f"{method} loses" if summary.format.percent else f"{summary.format.name} of {method} grows by"


def _comparisons(summary: Summary) -> Iterator[str]:
    """Each method against the baseline: first who is better, then who is worse, then for whom nothing is shown."""
    split = summary.targets[0]
    contrasts = [c for c in summary.contrasts if c.kind == "baseline" and c.split == split]
    sign = 1 if summary.higher_is_better else -1
    for verdict, verb in (("better", "beats"), ("worse", "is worse than")):
        decided = [c for c in contrasts if c.verdict == verdict]
        for c in sorted(decided, key=lambda c: -abs(c.difference.value)):
            yield f"{c.method} {verb} {c.reference} on {split} by {_margin(summary, c)}."
    open_ones = [c for c in contrasts if c.verdict == "undecided" and not math.isnan(c.difference.value)]
    open_ones.sort(key=lambda c: -sign * c.difference.value)
    nothing = [_signed(summary, c) for c in open_ones if c.difference.as_interval().contains(0.0)]
    if nothing:
        yield f"On {split} no gain over {summary.baseline} is shown for {', '.join(nothing)}."
    for c in open_ones:
        if not c.difference.as_interval().contains(0.0):
            yield f"Against {c.reference} on {split} nothing is decided of {_signed(summary, c)}: {c.reason}."


def _margin(summary: Summary, contrast: Contrast) -> str:
    """How far apart two methods are, without a sign."""
    write, difference = summary.format, contrast.difference
    interval = write.interval(difference.low, difference.high) if difference.value > 0 else write.flipped(difference)
    return f"{write.amount(abs(difference.value))} {interval}"


def _signed(summary: Summary, contrast: Contrast) -> str:
    """A method with its difference from the reference."""
    write, difference = summary.format, contrast.difference
    amount = f"{write.signed(difference.value)}{' points' if write.percent else ''}"
    return f"{contrast.method} ({amount} {write.interval(difference.low, difference.high)})".replace(" )", ")")


def _best(summary: Summary) -> Iterator[str]:
    split, write = summary.targets[0], summary.format
    lead = next((c for c in summary.contrasts if c.kind == "best" and c.split == split), None)
    if lead is None:
        return
    estimate = summary.score(lead.method, split).estimate
    value = f"{write.with_unit(estimate.value)} {write.interval(estimate.low, estimate.high)}".rstrip()
    if lead.verdict == "better":
        yield f"{lead.method} is best on {split}, {value}, {_margin(summary, lead)} ahead of {lead.reference}."
    else:
        told = f"its lead of {_margin(summary, lead)} over {lead.reference} is undecided ({lead.reason})"
        yield f"{lead.method} has the best value on {split}, {value}; {told}."


def _everyone_loses(summary: Summary) -> Iterator[str]:
    split = summary.targets[0]
    drops = [d for d in summary.drops if d.split == split and not math.isnan(d.estimate.value)]
    lost = [d for d in drops if not _why_no_direction(d.estimate) and d.estimate.low is not None and d.estimate.low > 0]
    if len(drops) < 2 or len(lost) < len(drops):
        return
    least, write = min(drops, key=lambda d: d.estimate.value), summary.format
    amount = f"{write.amount(least.estimate.value)} {write.interval(least.estimate.low, least.estimate.high)}"
    yield f"No method keeps what it has on {least.source}: even {_loses(summary, least.method)} {amount}."


def _worst(summary: Summary) -> Iterator[str]:
    """Who is worst off under the baseline, and under the best method."""
    split = summary.targets[0]
    methods = dict.fromkeys([summary.baseline, *summary.ranking(split)[:1]])
    for what in ("environment", "group"):
        told = []
        for method in methods:
            score = summary.score(method, split)
            worst = score.worst_environment if what == "environment" else score.worst_group
            if worst is not None:
                told.append(f"{worst.name!r} under {method}, {_valued(summary, worst)}")
        if told:
            yield f"The worst {what} on {split} is {'; '.join(told)}."


def _valued(summary: Summary, part: PartScore) -> str:
    write, estimate = summary.format, part.estimate
    interval = write.interval(estimate.low, estimate.high) or "without an interval"
    return f"{write.with_unit(estimate.value)} {interval} on {count(estimate.n_rows, 'row')}"


def _incomplete(summary: Summary) -> Iterator[str]:
    """Methods that lack seeds, or whose numbers are not numbers."""
    for method in summary.methods:
        finished = len(summary.seeds[method])
        if finished == 0:
            yield f"{method} has no seed that finished."
        elif finished < summary.asked_seeds:
            yield f"{method} finished {finished} of {summary.asked_seeds} seeds: its numbers are over these."
        if finished and any(math.isnan(summary.score(method, split).estimate.value) for split in summary.targets):
            yield f"{method} gave predictions that are not numbers: it has no value."


def _few_seeds(summary: Summary) -> Iterator[str]:
    if summary.asked_seeds < MIN_SEEDS and len(summary.methods) > 1:
        seeds = f"{summary.asked_seeds} seed{'s' * (summary.asked_seeds != 1)}"
        yield f"With {seeds} no method is called better or worse than another: {MIN_SEEDS} are needed."


def _trials(summary: Summary) -> Iterator[str]:
    if len(set(summary.trials.values())) > 1:
        listed = ", ".join(f"{method} {n}" for method, n in summary.trials.items())
        yield f"Methods were not tuned equally, so their comparison favours the tuned; settings tried: {listed}."


def _folds(summary: Summary) -> Iterator[str]:
    if summary.folded:
        yield (
            f"Environments were held out in turn, in {len(summary.folds)} folds; numbers are means over folds, and "
            "intervals are for new rows and seeds of these environments, not for new environments."
        )
