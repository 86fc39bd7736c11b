"""Numbers with their nouns, as messages say them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "row"), count(12_000, "row"), count(2, "class")
    ('1 row', '12,000 rows', '2 classes')
    """
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names, of which repeated ones get a number.

    >>> distinct(["a", "b", "a"])
    ('a', 'b', 'a (2)')
    """
    seen: Counter[str] = Counter()
    told_apart = []
    for name in names:
        seen[name] += 1
        told_apart.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(told_apart)
