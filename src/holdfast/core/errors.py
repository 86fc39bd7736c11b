"""What can go wrong, in the user's words.

Every error a user can cause is one line that says what is wrong and how to mend it. The command line prints that
line and exits with the class's code; library callers catch :class:`HoldfastError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HoldfastError(Exception):
    """Base of every error raised on purpose; ``exit_code`` is what the command line returns."""

    exit_code = 1


class UserError(HoldfastError):
    """The request cannot be served as asked: a bad file, an unknown name, an option out of range. Exit code 2."""

    exit_code = 2


class Diverged(HoldfastError):
    """A loss or a gradient is not finite; of several trainings only the one has failed."""


class MissingExtra(UserError):
    """An optional dependency is absent; the message holds the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: run pip install 'holdfast[{extra}]'")


def unknown_name(what: str, name: str, known: Iterable[str]) -> UserError:
    """A :class:`UserError` for a name that does not exist, with the nearest names that do.

    >>> print(unknown_name("method", "and-msk", ["erm", "and-mask"]))
    unknown method 'and-msk': did you mean 'and-mask'?
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(repr(candidate) for candidate in near)}?"
    else:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        hint = f"there is {shown}" if names else "there is none"
    return UserError(f"unknown {what} {name!r}: {hint}")
