"""Stored verdicts and the table made of them."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from holdfast.core.files import read_json, write_json, write_text
from holdfast.core.registry import plugins
from holdfast.core.reproduction import Reproduction

STORED = "reproductions.json"
TABLE = "reproductions.md"


def reproduce(claim: Reproduction) -> dict[str, Any]:
    """Run a claim's experiment; the object that ``holdfast reproduce CLAIM --json`` prints."""
    started = time.monotonic()
    finding = claim.reproduce()
    return {
        "claim": claim.name,
        "verdict": finding.verdict,
        "reason": finding.reason,
        "published": claim.published,
        "measured": {name: dataclasses.asdict(estimate) for name, estimate in finding.measured.items()},
        "seconds": round(time.monotonic() - started, 2),
        "threads": torch.get_num_threads(),
        "spec": {**claim.describe(), "versions": claim.versions()},
    }


def store_verdicts(folder: Path, new: Mapping[str, Mapping[str, Any]]) -> Path:
    """Add verdicts to those stored in a folder and write the table again; returns the table's path."""
    path = folder / STORED
    today = datetime.date.today().isoformat()
    stored = read_json(path) if path.exists() else {}
    stored |= {name: {**verdict, "date": today} for name, verdict in new.items()}
    write_json(path, stored)
    write_text(folder / TABLE, verdict_table(stored))
    return folder / TABLE


def verdict_table(stored: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of verdicts, as Markdown; a verdict of other plug-in versions than today's is marked stale."""
    lines = [
        "# Reproductions",
        "",
        "Published claims and what the smallest honest experiment found. Written by `make reproduce`; not edited by "
        "hand.",
        "",
        "| claim | verdict | published | measured here | n | s | date |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(name, cls(), stored.get(name)) for name, cls in plugins("reproduction").items()]  # type: ignore[arg-type]
    return "\n".join([*lines, "", *_sources()]) + "\n"


def _row(name: str, claim: Reproduction, verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return f"| `{name}` | not run | {claim.published} | | | | |"
    stale = "" if verdict["spec"]["versions"] == claim.versions() else " (stale)"
    measured = "<br>".join(f"{key} {_number(estimate)}" for key, estimate in verdict["measured"].items())
    threads = verdict.get("threads", 1)
    on = f" on {threads} threads" if threads > 1 else ""
    n = max((estimate["n"] for estimate in verdict["measured"].values()), default=0)
    return (
        f"| `{name}` | **{verdict['verdict']}**{stale} | {claim.published} | {measured} | {n} | "
        f"{verdict['seconds']:.0f}{on} | {verdict['date']} |"
    )


def _number(estimate: Mapping[str, Any]) -> str:
    if estimate["low"] is None:
        return f"{estimate['value']:.3g}"
    return f"{estimate['value']:.3g} [{estimate['low']:.3g}, {estimate['high']:.3g}]"


def _sources() -> list[str]:
    return [f"- `{name}`: {cls.claim} {cls.source}." for name, cls in plugins("reproduction").items()]  # type: ignore[attr-defined]
