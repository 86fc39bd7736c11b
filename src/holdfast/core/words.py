"""Numbers with their nouns, as messages say them."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "row"), count(12_000, "row"), count(2, "class")
    ('1 row', '12,000 rows', '2 classes')
    """
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
