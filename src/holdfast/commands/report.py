"""``holdfast report``: the report of a finished run, made again from its files."""

from __future__ import annotations

import argparse
from pathlib import Path

from holdfast.commands.run import show_result


def main(options: argparse.Namespace) -> int:
    """Write the report beside the run's record and print its summary."""
    return show_result(Path(options.run), as_json=options.json)
