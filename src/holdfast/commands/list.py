"""``holdfast list``: what there is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from holdfast.commands.output import print_json, print_text
from holdfast.core.errors import unknown_name
from holdfast.core.registry import PACKAGES, plugins

PLURALS = {family + "s": family for family in PACKAGES}


def main(options: argparse.Namespace) -> int:
    """Print names with the first sentence of each, or the finished cells."""
    wanted = options.family
    if wanted == "cells":
        return _cells(options)
    if wanted is not None and wanted not in {*PLURALS, *PACKAGES}:
        raise unknown_name("family", wanted, [*PLURALS, "cells"])
    families = [PLURALS.get(wanted, wanted)] if wanted else list(PACKAGES)
    listing = {family + "s": [_entry(cls) for cls in plugins(family).values()] for family in families}
    if options.json:
        print_json(listing)
        return 0
    for plural, entries in listing.items():
        print_text(f"{plural}:")
        width = max((len(entry["name"]) for entry in entries), default=0)
        for entry in entries:
            print_text(f"  {entry['name']:<{width}}  {entry['summary']}")
    if wanted is None:
        print_text("cells: see holdfast list cells, which names what is finished in --output")
    return 0


def _entry(cls: Any) -> dict[str, str]:
    from holdfast.commands.show import first_sentence

    return {"name": cls.name, "summary": first_sentence(cls)}


def _cells(options: argparse.Namespace) -> int:
    from holdfast.experiments.store import CellStore

    frame = CellStore(Path(options.output) / "cells").index()
    if options.json:
        print_json({"cells": frame.to_dict("records")})
    else:
        print_text(frame.to_string(index=False) if len(frame) else f"no finished cells in {options.output}")
    return 0
