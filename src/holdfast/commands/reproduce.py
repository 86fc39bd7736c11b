"""``holdfast reproduce``: the experiment of a published claim and its verdict."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from holdfast.commands.output import print_json, print_text
from holdfast.commands.request import check_numbers
from holdfast.core.errors import UserError
from holdfast.core.registry import create, plugins
from holdfast.core.reproduction import Reproduction
from holdfast.experiments.numerics import Numerics, limited
from holdfast.reproductions.verdicts import reproduce, store_verdicts


def main(options: argparse.Namespace) -> int:
    """Run one claim, or all of them, and rewrite the table; the exit code does not depend on the verdict."""
    check_numbers(options)
    if (options.claim is None) != options.all:
        raise UserError("name one claim, or --all; there is " + ", ".join(plugins("reproduction")))
    names = list(plugins("reproduction")) if options.all else [options.claim]
    with limited(Numerics(options.threads)):
        found = {name: reproduce(create(Reproduction, name)) for name in names}
    verdicts = list(found.values())
    if options.json:
        print_json({"claims": verdicts} if options.all else verdicts[0])
    else:
        for verdict in verdicts:
            _print(verdict)
    folder = options.docs or ("docs" if options.all else None)
    if folder is not None:
        table = store_verdicts(Path(folder), found)
        sys.stderr.write(f"holdfast: wrote {table}\n")
    return 0


def _print(verdict: dict[str, Any]) -> None:
    print_text(f"{verdict['claim']}: {verdict['verdict']} ({verdict['reason']})")
    print_text(f"  published: {verdict['published']}")
    for name, estimate in verdict["measured"].items():
        interval = "" if estimate["low"] is None else f" [{estimate['low']:.4g}, {estimate['high']:.4g}]"
        print_text(f"  {name}: {estimate['value']:.4g}{interval}, n = {estimate['n']}")
    print_text(f"  {verdict['seconds']:.1f} s")
