from __future__ import annotations

import json

from holdfast.core.ledger import Ledger


def test_work_adds_up_and_labels_of_a_role_count_once() -> None:
    total = Ledger(steps=3, gradients=10, forwards=20, labels={"train": 5, "holdout": 3}, seconds={"a": 1.0})
    other = Ledger(steps=1, gradients=2, forwards=4, labels={"train": 5, "pool": 2}, seconds={"a": 0.5, "b": 2.0})
    total.add(other)
    assert total == Ledger(4, 12, 24, {"train": 5, "holdout": 3, "pool": 2}, {"a": 1.5, "b": 2.0})
    assert other.labels == {"train": 5, "pool": 2}


def test_a_ledger_is_plain_json() -> None:
    ledger = Ledger(steps=1, labels={"train": 2}, seconds={"main": 0.25})
    assert Ledger(**json.loads(json.dumps(ledger.as_dict()))) == ledger
    assert ledger.as_dict()["labels"] is not ledger.labels
