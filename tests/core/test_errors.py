from __future__ import annotations

import pytest

from holdfast.core.errors import HoldfastError, MissingExtra, UserError, unknown_name


def test_exit_codes() -> None:
    assert (HoldfastError.exit_code, UserError.exit_code, MissingExtra.exit_code) == (1, 2, 2)


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("grup-dro", ["erm", "group-dro"], "unknown method 'grup-dro': did you mean 'group-dro'?"),
        ("irms", ["irm", "irms2", "erm"], "unknown method 'irms': did you mean 'irms2' or 'irm' or 'erm'?"),
        ("zzz", ["b", "a"], "unknown method 'zzz': there is a, b"),
        ("zzz", [], "unknown method 'zzz': there is none"),
        ("zzz", list("abcdefghijklmn"), "unknown method 'zzz': there is a, b, c, d, e, f, g, h, i, j, k, l, …"),
    ],
)
def test_unknown_names_come_with_what_there_is(name: str, known: list[str], message: str) -> None:
    error = unknown_name("method", name, known)
    assert isinstance(error, UserError)
    assert str(error) == message


def test_a_missing_extra_says_how_to_install_it() -> None:
    assert str(MissingExtra("torchjd", "aggregate")) == (
        "torchjd is not installed: run pip install 'holdfast[aggregate]'"
    )
