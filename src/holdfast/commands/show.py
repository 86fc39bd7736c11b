"""``holdfast show``: one plug-in with its options, or one finished cell."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

from holdfast.commands.output import print_json, print_text
from holdfast.core.errors import unknown_name
from holdfast.core.options import options_of
from holdfast.core.registry import PACKAGES, Plugin, plugins


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
    options = [
        {
            "name": option.name,
            "type": option.type_name,
            "default": option.default if isinstance(option.default, (int, float, str, bool)) else str(option.default),
            "range": str(option.range) if option.range else None,
            "search": str(option.space) if option.space else None,
        }
        for option in options_of(cls).values()
    ]
    about = inspect.getdoc(cls) or ""
    return {"family": cls.family, "name": cls.name, "version": cls.version, "about": about, "options": options}


def _as_text(entry: dict[str, Any]) -> str:
    lines = [f"{entry['family']} {entry['name']} (version {entry['version']})", "", entry["about"]]
    if entry["options"]:
        lines += ["", "options:"]
    for option in entry["options"]:
        limits = f", in {option['range']}" if option["range"] else ""
        search = f", searched over {option['search']}" if option["search"] else ""
        lines.append(f"  {option['name']}={option['default']}  ({option['type']}{limits}{search})")
    return "\n".join(lines)


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
    print_text(f"{ledger['steps']} steps, {ledger['gradients']} gradients, {sum(ledger['seconds'].values()):.1f} s")
    print_text(f"labels seen: {', '.join(f'{role} {n}' for role, n in ledger['labels'].items()) or 'none'}")
    print_text(f"folder: {cell.folder}")
    return 0
