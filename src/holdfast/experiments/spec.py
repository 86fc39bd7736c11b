"""What a cell is: everything that decides its numbers, and the hash of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.augmentation import Augmentation
from holdfast.core.inference import GroupInference
from holdfast.core.method import Method
from holdfast.core.task import Model, Task
from holdfast.experiments.numerics import Numerics
from holdfast.methods.pooled import Pooled
from holdfast.training import Budget, SelectionRule


@dataclass(frozen=True)
class CellSpec:
    """One method, or chain of methods, with one seed on one task.

    Attributes:
        task: Its recipe. Of it only name and version are hashed: the rest shows in the content of the data.
        data: Fingerprint of the loaded data.
        fold: The held-out environments, where the task is one fold of several.
        chain: The methods in order; each but the first starts from the one before.
        model: The architecture.
        seed: Root of every random stream.
        budget, batch_size: How long each stage trains, on how many rows per update.
        numerics: Threads, device, precision.
        rule: Which checkpoint a chain goes on from; hashed only where there is a chain.
        augment: What is done to the images of training batches, in order; hashed only where there is something.
        inference: What makes the environments that methods see; None for the task's own. Hashed only where a method of
            the chain looks at environments.
    """

    task: Task
    data: str
    fold: str
    chain: tuple[Method, ...]
    model: Model
    seed: int
    budget: Budget
    batch_size: int
    numerics: Numerics
    rule: SelectionRule
    augment: tuple[Augmentation, ...] = ()
    inference: GroupInference | None = None

    @property
    def label(self) -> str:
        """The chain as typed: ``erm+dfr``."""
        return label_of(self.chain)

    @property
    def case(self) -> str:
        """Method, seed and fold, as messages name them."""
        return f"{self.label} with seed {self.seed}" + (f" and {self.fold} held out" if self.fold else "")

    @property
    def key(self) -> str:
        """The first 16 hexadecimal digits of the hash of :meth:`hashed`."""
        return hash_of(self.hashed())

    @property
    def prefix(self) -> CellSpec | None:
        """The cell whose model this one starts from."""
        return dataclasses.replace(self, chain=self.chain[:-1]) if len(self.chain) > 1 else None

    @property
    def reference(self) -> CellSpec | None:
        """The cell of the network from which groups are inferred for the last method; None where it needs none."""
        if self.inference is None or not self.chain[-1].needs().environments:
            return None
        budget = self.budget.part(self.inference.first)
        return dataclasses.replace(self, chain=(Pooled(),), budget=budget, inference=None)

    def hashed(self) -> dict[str, Any]:
        """Everything that decides the numbers, as plain JSON."""
        content: dict[str, Any] = {
            "task": {"name": self.task.name, "version": self.task.version, "data": self.data},
            "method": [method.describe() for method in self.chain],
            "model": self.model.describe(),
            "seed": self.seed,
            "budget": dataclasses.asdict(self.budget),
            "batch_size": self.batch_size,
            "numerics": dataclasses.asdict(self.numerics),
        }
        if self.augment:
            content["augment"] = [augmentation.describe() for augmentation in self.augment]
        if self.inference is not None and looks_at_environments(self.chain):
            content["groups"] = {"inference": self.inference.describe(), "reference": [Pooled().describe()]}
        return content if len(self.chain) == 1 else {**content, "rule": self.rule.describe()}


def label_of(chain: Sequence[Method]) -> str:
    """A chain as typed: ``erm+dfr``."""
    return "+".join(method.reference for method in chain)


def looks_at_environments(chain: Sequence[Method]) -> bool:
    """Whether it matters to a chain what the environments are."""
    return any(method.needs().environments for method in chain)


def hash_of(content: Any) -> str:
    """16 hexadecimal digits that stand for plain JSON.

    >>> hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
