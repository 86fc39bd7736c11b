"""The command line: parse, call the verb, and turn what went wrong into one line and an exit code.

Nothing heavy is imported here: the verbs live in :mod:`holdfast.commands` and are imported when called.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from holdfast import __version__
from holdfast.core.errors import HoldfastError, UserError, unknown_name

EXAMPLES = """\
examples:
  holdfast run colored-digits --method erm,group-dro,and-mask:threshold=0.8,erm+dfr --seeds 5
  holdfast run patients.parquet --label died --environment hospital --method erm,group-dro
  holdfast audit model.skops --data patients.parquet --label died --environment hospital
  holdfast list methods
  holdfast show and-mask
"""
_FORBIDDEN = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOENT,
    errno.ENAMETOOLONG,
}
_ELSEWHERE = {
    "run": "name another folder with --output",
    "sweep": "name another folder with --output",
    "audit": "name another folder with --output",
    "reproduce": "name another folder with --docs",
}
VERBS = {
    "run": "train methods on a task, evaluate them under shift, write a report",
    "audit": "what a model that you already have relies on and where it fails",
    "sweep": "search over the methods' options, then a run of the best",
    "list": "what there is: tasks, methods, evaluations, rules, models, reproductions, cells",
    "show": "one plug-in with its options, or one finished cell",
    "report": "write the report of a finished run again",
    "reproduce": "run the experiment of a published claim and say whether it holds",
    "doctor": "check that everything the program needs is there and works",
    "completion": "print a script with which a shell completes verbs, options and names",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    0 well, 1 failed, 2 a user's mistake, 3 a gate missed, 130 interrupted.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    _replace_closed_streams()
    try:
        code = _call(argv)
        sys.stdout.flush()
        return code
    except HoldfastError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on from here", 130)
    except BrokenPipeError:
        _drop_output()
        return 0
    except Exception as error:
        explained = _explained(error, next(iter(argv), ""))
        if explained is None:
            raise
        return _fail(*explained)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every verb."""
    parser = _Parser(
        prog="holdfast",
        description="Find what a model relies on. Make it rely on what holds.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for verb, text in VERBS.items():
        one = verbs.add_parser(verb, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        _ARGUMENTS[verb](one)
        one.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        one.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def _replace_closed_streams() -> None:
    """What goes to a stream that was closed goes nowhere; no file that is opened later may take its number."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # open as long as the process runs
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _drop_output() -> None:
    """Send what is still buffered for standard output nowhere: Python would try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _call(argv: list[str]) -> int:
    verb = next((word for word in argv if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        raise unknown_name("verb", verb, VERBS)
    options = build_parser().parse_args(argv)
    if options.verb is None:
        build_parser().print_help()
        return 0
    options.command = "holdfast " + " ".join(_quoted(word) for word in argv if word not in ("--json", "--quiet"))
    with warnings.catch_warnings(), _no_chatter():
        _show_warnings_in_one_line()
        module = importlib.import_module(f"holdfast.commands.{options.verb}")
        code: int = module.main(options)
    return code


_TASK_HELP = (
    "a task such as colored-digits, a CSV or Parquet file or a folder of them, a folder of images, the name of a data "
    "set in --data-dir, or hub:OWNER/NAME"
)


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", type=_named, metavar="TASK|FILE|FOLDER", help=_TASK_HELP)
    _role_arguments(parser)


def _role_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=_named, metavar="FOLDER", help="where named data sets lie; default: what HOLDFAST_DATA names"
    )
    table = parser.add_argument_group("roles of a file's columns, or of those that describe images")
    table.add_argument(
        "--label", type=_named, metavar="COLUMN", help="what to predict; of images the folder they lie in by default"
    )
    table.add_argument("--environment", type=_named, metavar="COLUMN", help="where each row came from")
    table.add_argument(
        "--group", type=_named, metavar="COLUMN", action="append", help="groups to report on; may be repeated"
    )
    table.add_argument("--unit", type=_named, metavar="COLUMN", help="rows that belong together and are never split")
    table.add_argument("--weight", type=_named, metavar="COLUMN", help="row weights")
    table.add_argument("--drop", type=_named, metavar="COLUMN", action="append", help="not a feature; may be repeated")
    table.add_argument(
        "--tokenizer", type=_named, metavar="FOLDER", help="of a pretrained network that reads the one column of text"
    )
    table.add_argument("--max-tokens", metavar="N", type=int, help="of a text, where there is a tokenizer (128)")
    images = parser.add_argument_group("a folder of images; folder-1, folder-2, … are columns, too")
    images.add_argument("--metadata", type=_named, metavar="FILE", help="their columns; default FOLDER/metadata.csv")
    images.add_argument("--size", metavar="PIXELS", type=int, help="resize to so many; their own or 64 by default")
    images.add_argument(
        "--skip-unreadable", action="store_true", default=None, help="leave out images that are damaged or missing"
    )
    held = parser.add_argument_group("what is held out; by default every environment in turn")
    held.add_argument(
        "--split", type=_named, metavar="COLUMN", help="a column naming each row's role: train, selection, test, …"
    )
    held.add_argument(
        "--holdout-environment", type=_named, metavar="NAME", action="append", help="held out; may be repeated"
    )
    held.add_argument("--kind", choices=["classification", "regression"], help="inferred from the label by default")
    held.add_argument("--min-environment-rows", metavar="N", type=int, help="smaller ones are pooled as rare (10)")


def _training_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method",
        default="erm,group-dro",
        metavar="NAME[:KEY=VALUE]…",
        help="',' separates methods, '+' chains them; default %(default)s",
    )
    parser.add_argument("--evaluate", metavar="NAME,…", help="evaluations; the usual ones by default")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs of each method; default %(default)s")
    parser.add_argument(
        "--select", metavar="RULE", help="which checkpoint counts; default validation, or last without selection rows"
    )
    parser.add_argument(
        "--infer-groups",
        metavar="NAME[:KEY=VALUE]…",
        help="methods see groups inferred from a first training in place of environments: errors, eiil, …",
    )
    parser.add_argument(
        "--augment", metavar="NAME+…", help="random changes of training images, such as horizontal-flip+random-crop"
    )
    budget = parser.add_argument_group("budget and numerics")
    budget.add_argument("--steps", type=int, metavar="N", help="updates; the task's by default")
    budget.add_argument("--batch-size", type=int, metavar="B", help="rows per update; the task's by default")
    budget.add_argument("--model", metavar="NAME", help="a network such as mlp:hidden=[64,64]; the task's by default")
    budget.add_argument("--threads", type=int, default=1, metavar="N", help="default %(default)s")
    budget.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto; default %(default)s")
    budget.add_argument("--precision", default="32-true", choices=["32-true", "64-true", "bf16-mixed"])
    parser.add_argument(
        "--executor",
        default="inline",
        metavar="NAME",
        help="where cells run: inline, or processes[:workers=N] on this machine; default %(default)s",
    )
    parser.add_argument(
        "--output", type=_named, default="runs", metavar="FOLDER", help="where cells and reports go; default runs"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the cells and stop")


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _data_arguments(parser)
    _training_arguments(parser)


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=_named, metavar="MODEL", help="module:callable, a file or folder, or the hash of a finished cell"
    )
    parser.add_argument("--data", dest="task", type=_named, metavar="TASK|FILE|FOLDER", help=_TASK_HELP)
    _role_arguments(parser)
    parser.add_argument("--evaluate", metavar="NAME,…", help="what to ask; everything by default")
    gate = parser.add_argument_group("as a gate: exit code 3 where a number misses its bound")
    for flag, what in (("--fail-under", "at least"), ("--fail-over", "at most")):
        gate.add_argument(
            flag,
            type=_named,
            metavar="METRIC=VALUE",
            action="append",
            default=[],
            help=f"{what} this, such as worst-group=0.8 or alarms=0; may be repeated",
        )
    parser.add_argument("--trust-pickle", action="store_true", help="open pickles, which can run any code")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random choices; default %(default)s")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--output", type=_named, default="runs", metavar="FOLDER", help="where the report goes; default runs"
    )


def _sweep_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser)
    parser.add_argument(
        "--trials",
        type=int,
        default=16,
        metavar="N",
        help="settings per method, those given first; default %(default)s",
    )
    parser.add_argument(
        "--sampler", default="random", metavar="NAME", help="random, sobol or optuna says which settings come next"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="of training, after which a method gets no further settings"
    )


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", nargs="?", metavar="FAMILY", help="such as methods; everything by default")
    parser.add_argument("--output", type=_named, default="runs", metavar="FOLDER", help="where cells are; default runs")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", type=_named, metavar="NAME|CELL", help="a plug-in's name, or the beginning of a cell's hash"
    )
    parser.add_argument("--output", type=_named, default="runs", metavar="FOLDER", help="where cells are; default runs")


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", type=_named, metavar="FOLDER", help="a run's folder, such as runs/colored-digits-1a2b3c4d"
    )


def _reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("claim", nargs="?", metavar="CLAIM", help="such as ilc/linreg")
    parser.add_argument("--all", action="store_true", help="every claim; rewrites the table of verdicts")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--docs", type=_named, metavar="FOLDER", help="put the verdict into this folder's table; docs with --all"
    )


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=_named, default="runs", metavar="FOLDER", help="where runs go; default runs")


def _completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="which shell; source what is printed")


_ARGUMENTS = {
    "run": _run_arguments,
    "audit": _audit_arguments,
    "sweep": _sweep_arguments,
    "list": _list_arguments,
    "show": _show_arguments,
    "report": _report_arguments,
    "reproduce": _reproduce_arguments,
    "doctor": _doctor_arguments,
    "completion": _completion_arguments,
}


class _Parser(argparse.ArgumentParser):
    """argparse, with one line for a mistake and the nearest option for an unknown one."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        name = unknown.split()[0].split("=")[0]
        if unknown != message and name.startswith("-") and name not in self._option_string_actions:
            raise unknown_name("option", name, self._option_string_actions)
        raise UserError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse unknown options here, where the verb's own options are known and near ones can be named."""
        words = [word.partition("=")[0] for word in args[0] or [] if word.startswith("--")]
        for word in words:
            action = self._option_string_actions.get(word)
            if action and words.count(word) > 1 and not isinstance(action, argparse._AppendAction):
                raise UserError(f"{word} is given twice: keep one")
        namespace, rest = super().parse_known_args(*args, **kwargs)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return namespace, rest


def _named(word: str) -> str:
    """An argument that names something: an empty one, as from an unset variable of a script, would mean another."""
    if not word.strip():
        raise argparse.ArgumentTypeError("it is empty: write a name, or leave it out")
    return word


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


@contextlib.contextmanager
def _no_chatter() -> Iterator[None]:
    """What libraries log about their progress is for developers, not for users."""
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _show_warnings_in_one_line() -> None:
    """Our own warnings as one line on stderr, each once; those of libraries are for developers, not for users.

    Python's own ``once`` forgets what it has shown whenever a library changes the filters.
    """
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            sys.stderr.write(f"holdfast: warning: {' '.join(str(message).split())}\n")

    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module=r"holdfast(\.|$)")
    warnings.filterwarnings("ignore", message="constrained_layout")  # of matplotlib, about a crowded figure
    warnings.showwarning = show


def _explained(error: Exception, verb: str) -> tuple[str, int] | None:
    """Message and exit code for a full disk, a forbidden folder and too little memory; None for a bug.

    Torch and safetensors have no classes of their own for a full memory and a full disk: their texts tell.
    """
    number, text = getattr(error, "errno", None), str(error)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text:
        return "the disk is full: free some space; the same command goes on, nothing finished is lost", 1
    if isinstance(error, OSError) and number in _FORBIDDEN:
        return _forbidden(error, verb), 2
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return "out of memory: use a smaller --batch-size, a smaller --model or fewer rows", 1
    return None


def _forbidden(error: OSError, verb: str) -> str:
    path, reason = error.filename, error.strerror
    for place, needed in ((Path(path or ".").parent, os.X_OK), (Path(path or "."), os.R_OK)):
        if isinstance(error, PermissionError) and os.path.lexists(place) and not os.access(place, needed):
            return f"cannot read {place} ({reason}): ask for permission to read it"
    return f"cannot write {path or 'a file'} ({reason}): {_ELSEWHERE.get(verb, 'make it writable')}"


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"holdfast: {' '.join(message.split())}\n")
    return code
