"""``holdfast show``: one plug-in with its options, or one finished cell."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

from holdfast.commands.output import print_json, print_text
from holdfast.core.errors import unknown_name
from holdfast.core.options import option_table, text_of
from holdfast.core.registry import PACKAGES, Plugin, plugins
from holdfast.core.words import count


def main(options: argparse.Namespace) -> int:
    """Print a plug-in of any family, or the cell whose hash begins so."""
    found = [cls for family in PACKAGES for name, cls in plugins(family).items() if name == options.name]
    if found:
        entries = [_plugin(cls) for cls in found]
        if options.json:
            print_json(entries[0] if len(entries) == 1 else {"plugins": entries})
        else:
            print_text("\n\n".join(_as_text(entry) for entry in entries))
        return 0
    return _cell(options)


def first_sentence(cls: type) -> str:
    """What a plug-in is, in the first line of its documentation."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def _plugin(cls: type[Plugin]) -> dict[str, Any]:
    about = inspect.getdoc(cls) or ""
    return {
        "family": cls.family,
        "name": cls.name,
        "version": cls.version,
        "about": about,
        "options": option_table(cls),
    }


def _as_text(entry: dict[str, Any]) -> str:
    lines = [f"{entry['family']} {entry['name']} (version {entry['version']})", "", entry["about"]]
    if entry["options"]:
        lines += ["", "options:"]
    return "\n".join(lines + [_option_line(option) for option in entry["options"]])


def _option_line(option: dict[str, Any]) -> str:
    value = "VALUE" if option["required"] else text_of(option["default"])
    facts = [
        option["type"],
        "required" if option["required"] else "",
        f"in {option['range']}" if option["range"] else "",
        f"searched over {option['search']}" if option["search"] else "",
        f"only with {option['only']}" if option["only"] else "",
    ]
    return f"  {option['name']}={value}  ({', '.join(filter(None, facts))})"


def _cell(options: argparse.Namespace) -> int:
    from holdfast.experiments.store import CellStore

    store = CellStore(Path(options.output) / "cells")
    if not any(cell.key.startswith(options.name) for cell in store):
        names = [name for family in PACKAGES for name in plugins(family)]
        raise unknown_name("plug-in or cell", options.name, names)
    cell = store.get(options.name)
    content = {"cell": cell.key, **{part: cell.read(part) for part in ("spec", "provenance", "ledger")}}
    if options.json:
        print_json({**content, "kept_steps": sorted({r.step for r in cell.records})})
        return 0
    provenance, ledger = content["provenance"], content["ledger"]
    print_text(f"{cell.key}  {provenance['method']} on {provenance['task']} {provenance['fold']}".rstrip())
    print_text(f"seed {content['spec']['seed']}, finished {provenance['finished']}")
    work = f"{count(ledger['steps'], 'step')}, {count(ledger['gradients'], 'gradient')}"
    print_text(f"{work}, {sum(ledger['seconds'].values()):.1f} s")
    print_text(f"labels seen: {', '.join(f'{role} {n}' for role, n in ledger['labels'].items()) or 'none'}")
    print_text(f"folder: {cell.folder}")
    return 0
