"""A model on rows that can be drawn again: what it says of them under each value of a factor."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.core.data import Dataset
from holdfast.core.evaluation import Predictor
from holdfast.core.interventions import factors_of
from holdfast.core.task import TaskData, concatenated_columns
from holdfast.perturbations.counterfactuals import counterfactual_inputs, counterfactual_outputs
from holdfast.statistics import interventions as measure
from holdfast.statistics.interventions import Following
from holdfast.statistics.resampling import unit_index

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

LABEL = "label"


def drawn_factors(task: TaskData) -> tuple[str, ...]:
    """The factors that the task draws its rows from, the label first."""
    return (LABEL, *factors_of(task)) if task.render is not None else ()


@dataclass(frozen=True, eq=False)
class Study:
    """A model on N rows that can be drawn again.

    Attributes:
        predictor: The model.
        task: Draws the rows.
        rows: As they are.
        factors: By name (N,) codes, those of the rows.
        others: The same, those of random rows.
    """

    predictor: Predictor
    task: TaskData
    rows: Dataset
    factors: Mapping[str, Tensor]
    others: Mapping[str, Tensor]

    @staticmethod
    def of(predictor: Predictor, task: TaskData, rows: Dataset, rng: np.random.Generator) -> Study:
        """Rows with an unknown value of a factor are left out."""
        names = [name for name in drawn_factors(task) if name != LABEL]
        known = torch.stack([rows.labels >= 0, *(rows.attributes[name].codes >= 0 for name in names)]).all(dim=0)
        if not bool(known.all()):
            rows = rows.take(known.nonzero()[:, 0])
        factors = {LABEL: rows.labels, **{name: column.codes for name, column in rows.attributes.items()}}
        order = rows.index.argsort()  # what the rows' order is must not matter
        random = torch.empty_like(order)
        random[order] = order[torch.from_numpy(rng.permutation(len(rows)))]
        return Study(predictor, task, rows, factors, {name: codes[random] for name, codes in factors.items()})

    @functools.cached_property
    def x(self) -> Tensor:
        """The rows drawn with their own factors."""
        assert self.task.render is not None
        return self.task.render(self.factors, self.rows.index)

    @functools.cached_property
    def own(self) -> Array:
        """(N, C) what the model says of the rows as they are."""
        return np.asarray(self.said(self.x).numpy())

    @property
    def y(self) -> Codes:
        return np.asarray(self.rows.labels.numpy())

    @functools.cached_property
    def weight(self) -> Array:
        return np.ones(len(self.rows)) if self.rows.weight is None else np.asarray(self.rows.weight.double().numpy())

    @functools.cached_property
    def unit(self) -> NDArray[np.intp]:
        return unit_index(len(self.rows), None if self.rows.unit is None else self.rows.unit.numpy())

    def said(self, x: Tensor) -> Tensor:
        """(N, C) log-probabilities of other inputs in the place of the rows'."""
        prediction = self.predictor.predict(dataclasses.replace(self.rows, x=x))
        return prediction.outputs.cpu().double().log_softmax(dim=1)

    def drawn(self, factor: str, value: int, rows: Sequence[int] | None = None) -> Tensor:
        """The rows, or some of them by position, with a value of a factor."""
        assert self.task.render is not None
        some = slice(None) if rows is None else torch.tensor(rows)
        factors = {name: codes[some] for name, codes in self.factors.items()}
        return counterfactual_inputs(self.task.render, factors, self.rows.index[some], factor, value)

    def names(self, factor: str) -> tuple[str, ...]:
        """Of the factor's values."""
        return self.task.classes if factor == LABEL else self.rows.attributes[factor].names

    def shares(self, factor: str) -> tuple[Array, Array]:
        """How frequent each value is in training: in each class (C, V), and in all (V,)."""
        parts = [split.data for split in self.task.with_role("train") if split.data.y is not None]
        train = concatenated_columns(parts)
        codes = (train.labels if factor == LABEL else train.attributes[factor].codes).numpy()
        weight = np.ones(len(train)) if train.weight is None else train.weight.double().numpy()
        known = codes >= 0
        classes, values = len(self.task.classes), len(self.names(factor))
        return measure.value_shares(codes[known], train.labels.numpy()[known], weight[known], classes, values)

    def effect(self, factor: str) -> Effect | None:
        """What setting the factor does; None where it changes no row."""
        values = range(len(self.names(factor)))
        if all(torch.equal(self.drawn(factor, value), self.x) for value in values):
            return None
        assert self.task.render is not None
        said, alone = (
            np.asarray(
                counterfactual_outputs(self.said, self.task.render, kept, self.rows.index, factor, values).numpy()
            )
            for kept in (self.factors, self.others)
        )
        classes = self.task.associations.get(factor, ())
        goes_with = np.array(classes)[self.factors[factor].numpy()] if classes else None
        return Effect(self, factor, said, alone, goes_with)


@dataclass(frozen=True, eq=False)
class Effect:
    """What a model says under each value of a factor.

    Attributes:
        study: Of the rows as they are.
        factor: Its name.
        said: (V, N, C) log-probabilities.
        alone: The same, with the other factors of random rows.
        goes_with: (N,) the class that each row's value goes with; None where that is not known, or for the label.
    """

    study: Study
    factor: str
    said: Array
    alone: Array
    goes_with: Codes | None

    @property
    def values(self) -> Codes:
        return np.asarray(self.study.factors[self.factor].numpy())

    @functools.cached_property
    def moved(self) -> Array:
        return measure.mean_effect(np.exp(self.study.own), np.exp(self.said), self.values)

    @property
    def largest(self) -> Array:
        return measure.largest_effect(np.exp(self.study.own), np.exp(self.said))

    @property
    def flips(self) -> Array:
        return measure.flip_rates(self.study.own, self.said, self.values)

    @property
    def right(self) -> Array:
        """(N,) counterfactual accuracy: under another label the new one is right."""
        wanted = np.arange(len(self.said))[:, None] if self.factor == LABEL else self.study.y
        return measure.counterfactual_accuracy(self.said, wanted, self.values)

    @functools.cached_property
    def following(self) -> Following | None:
        if self.goes_with is None:
            return None
        return Following.of(self.study.own.argmax(axis=1), self.study.y, self.goes_with)
