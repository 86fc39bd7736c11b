"""The methods of this library as scikit-learn estimators: for pipelines, grid searches and cross-validation.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> y = rng.integers(0, 2, 400)
>>> environment = rng.choice(["north", "south"], 400)
>>> X = np.column_stack([y + rng.normal(size=400), rng.normal(size=400)])
>>> model = RobustClassifier("group-dro", steps=50).fit(X, y, environment=environment)
>>> model.predict(X[:3]).shape
(3,)
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from holdfast.core.data import Column, Dataset
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Prediction
from holdfast.core.inference import GroupInference
from holdfast.core.method import Method
from holdfast.core.options import parse_alternatives
from holdfast.core.registry import create
from holdfast.core.seeds import torch_rng
from holdfast.core.task import Kind, Model, Role, Split, Task, TaskData
from holdfast.experiments.cells import finish_cell, load_module, predictor_of
from holdfast.experiments.checks import check_chain, check_inference, check_model, check_rule
from holdfast.experiments.numerics import Numerics, device_of
from holdfast.experiments.spec import CellSpec
from holdfast.experiments.store import CellStore
from holdfast.models.mlp import MLP
from holdfast.tables import encode_column, fit_encoder
from holdfast.tasks.stratify import stratified_parts
from holdfast.tasks.targets import target_scale, usual_model
from holdfast.training import Budget, SelectionRule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags

SHARES: dict[Role, float] = {"selection": 0.15, "holdout": 0.10}
"""Of the rows given to ``fit``, how many are kept from training where a rule or a method asks for them."""


class _Robust(BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share."""

    _kind: ClassVar[Kind]

    def __init__(  # noqa: PLR0913  # each by its name
        self,
        method: str = "group-dro",
        *,
        model: str | None = None,
        steps: int = 1000,
        batch_size: int = 256,
        select: str = "last",
        infer_groups: str | None = None,
        random_state: int | np.random.RandomState | None = 0,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        self.method = method
        self.model = model
        self.steps = steps
        self.batch_size = batch_size
        self.select = select
        self.infer_groups = infer_groups
        self.random_state = random_state
        self.threads = threads
        self.device = device

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _fit(
        self,
        frame: pd.DataFrame,
        label: Tensor,
        classes: tuple[str, ...],
        environment: ArrayLike | None,
        group: ArrayLike | None,
        sample_weight: ArrayLike | None,
    ) -> Self:
        chain, rule = _chain(self.method), create(SelectionRule, self.select)
        rows = _Rows(
            frame,
            label,
            _column(environment, "environment", len(frame)),
            {} if group is None else {"group": _column(group, "group", len(frame))},
            _weights(sample_weight, frame),
        )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        needed = {rule.role, *(role for method in chain for role in method.needs().roles)}
        data = _task_data(rows, self._kind, classes, [role for role in SHARES if role in needed], seed)
        check_chain(chain, data)
        check_rule(rule, data)
        model = data.model if self.model is None else data.model.replaced_by(create(Model, self.model))
        check_model(model, data)
        inference = None if self.infer_groups is None else create(GroupInference, self.infer_groups)
        if inference is not None:
            check_inference(inference, data)
        numerics = Numerics(self.threads, device_of(self.device))
        spec = CellSpec(
            task=_Given(),
            data=data.fingerprint(),
            fold="",
            chain=chain,
            model=model,
            seed=seed,
            budget=Budget(self.steps),
            batch_size=self.batch_size,
            numerics=numerics,
            rule=rule,
            inference=inference,
        )
        with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
            cell = finish_cell(spec, data, CellStore(Path(folder)))
            fitted = load_module(spec, cell, data) if cell.is_module else cell.estimator()
        self.encoder_ = data.encoder
        self.predictor_ = predictor_of(fitted, data)
        return self

    def _predict(self, X: ArrayLike) -> Prediction:
        check_is_fitted(self)
        return self.predictor_.predict(_frame(self, X, reset=False))


class RobustClassifier(ClassifierMixin, _Robust):  # type: ignore[misc]
    """A classifier trained by any method of this library.

    Columns of numbers are standardised; of a DataFrame also columns of categories, truth values and dates are read.
    Missing values are allowed. ``fit`` gives the same model for the same rows and integer ``random_state``, on one
    machine.

    Args:
        method: As on the command line, such as ``group-dro:step_size=0.1`` or ``erm+dfr``. In ``groups=…`` the
            columns are ``label``, ``environment`` and ``group``.
        model: A network such as ``mlp:hidden=[64,64]``; two hidden layers of 128 by default.
        steps: Updates.
        batch_size: Rows per update.
        select: The selection rule. Rules other than ``last`` keep 15 % of the rows from training, and methods that
            need a holdout, such as ``dfr``, 10 %.
        infer_groups: What infers groups from a first training, such as ``errors`` or ``features``: the method sees them
            in place of environments.
        random_state: Seeds the network, the batches and what rows are kept from training.
        threads: Of torch.
        device: ``cpu``, ``cuda``, ``mps`` or ``auto``.

    Attributes:
        classes_: (C,) the labels.
        n_features_in_: Columns of X.
        feature_names_in_: Their names, where X was a DataFrame.
        encoder_: What turns X into the network's inputs.
        predictor_: The fitted model; a network is its ``module``.
    """

    _kind: ClassVar[Kind] = "classification"

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        environment: ArrayLike | None = None,
        group: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train.

        Args:
            X: (N, F) array or DataFrame.
            y: (N,) labels of at least two classes.
            environment: (N,) where each row came from; one environment by default.
            group: (N,) a further column that methods and rules may name, such as a sensitive attribute.
            sample_weight: (N,) non-negative weights.

        Raises:
            ValueError: The arrays do not fit together.
            UserError: The method cannot be had as asked.
        """
        y = validate_data(self, y=y)
        frame = _frame(self, X, reset=True)
        check_consistent_length(frame, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]!r}: a classifier needs at least two")
        names = tuple(map(str, self.classes_))
        return self._fit(frame, torch.from_numpy(codes), names, environment, group, sample_weight)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """(N, C) probabilities of the classes of (N, F) rows."""
        return self._predict(X).outputs.softmax(dim=1).numpy()

    def predict(self, X: ArrayLike) -> np.ndarray:
        """(N,) the most probable label of (N, F) rows."""
        codes = self._predict(X).outputs.argmax(dim=1).numpy()
        labels: np.ndarray = self.classes_[codes]
        return labels


class RobustRegressor(RegressorMixin, _Robust):  # type: ignore[misc]
    """A regression model trained by any method of this library; otherwise as :class:`RobustClassifier`."""

    _kind: ClassVar[Kind] = "regression"

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        environment: ArrayLike | None = None,
        group: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on (N,) numbers ``y``; otherwise as :meth:`RobustClassifier.fit`."""
        y = validate_data(self, y=y, y_numeric=True)
        frame = _frame(self, X, reset=True)
        check_consistent_length(frame, y)
        return self._fit(frame, torch.tensor(y, dtype=torch.float32), (), environment, group, sample_weight)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """(N,) numbers in the units of ``y`` for (N, F) rows."""
        mean = self._predict(X).mean
        assert mean is not None
        return mean.numpy()


@dataclass(frozen=True)
class _Given(Task):
    """The rows that were given to ``fit``."""

    name: ClassVar[str] = "given-rows"


@dataclass(frozen=True, eq=False)
class _Rows:
    frame: pd.DataFrame
    label: Tensor
    environment: Column
    attributes: dict[str, Column]
    weight: Tensor | None


def _task_data(rows: _Rows, kind: Kind, classes: tuple[str, ...], kept: list[Role], seed: int) -> TaskData:
    """The rows as a task without test rows; for each of the roles ``kept`` some are kept from training."""
    roles: list[Role] = ["train", *kept]
    shares = [1 - sum(SHARES[role] for role in kept), *(SHARES[role] for role in kept)]
    codes = rows.environment.codes
    strata = codes * len(classes) + rows.label if classes else codes
    part = stratified_parts(strata, shares, torch_rng(seed, "scikit-learn", "splits"))
    train = (part == 0).nonzero()[:, 0]
    encoder = fit_encoder(rows.frame.iloc[train.numpy()], list(rows.frame.columns))
    data = Dataset(
        x=encoder.inputs(rows.frame),
        y=rows.label,
        environment=rows.environment,
        attributes=rows.attributes,
        weight=rows.weight,
    )
    parts = {role: (part == place).nonzero()[:, 0] for place, role in enumerate(roles)}
    return TaskData(
        kind=kind,
        splits=tuple(Split(role, role, data.take(members)) for role, members in parts.items() if len(members)),
        model=usual_model(kind, rows.label[train], MLP()),
        target_scale=target_scale(kind, rows.label[train]),
        classes=classes,
        groups=tuple(rows.attributes),
        encoder=encoder,
    )


def _chain(text: str) -> tuple[Method, ...]:
    chains = parse_alternatives(text)
    if len(chains) > 1:
        raise UserError(f"method={text!r} names {len(chains)} methods: give one, or a chain such as erm+dfr")
    return tuple(create(Method, reference) for reference in chains[0])


def _frame(estimator: _Robust, X: Any, *, reset: bool) -> pd.DataFrame:
    """X as a DataFrame: numbers are checked as scikit-learn does, columns of other kinds are left to the encoder."""
    if hasattr(X, "dtypes") and not all(isinstance(kind, np.dtype) and kind.kind in "iuf" for kind in X.dtypes):
        frame = validate_data(estimator, X, reset=reset, skip_check_array=True)
    else:
        least = 2 if reset else 1
        array = validate_data(estimator, X, reset=reset, ensure_all_finite="allow-nan", ensure_min_samples=least)
        frame = pd.DataFrame(array)
    names = getattr(estimator, "feature_names_in_", [f"x{place}" for place in range(estimator.n_features_in_)])
    named: pd.DataFrame = frame.set_axis(names, axis=1)
    return named


def _column(values: ArrayLike | None, name: str, rows: int) -> Column:
    if values is None:
        return Column.constant(rows)
    series = pd.Series(np.asarray(values))
    if len(series) != rows:
        raise ValueError(f"{name} has {len(series)} values and X has {rows} rows")
    if series.isna().any():
        raise ValueError(f"{name} has missing values: leave those rows out or give them a name")
    encoded = encode_column(series)
    return Column(torch.tensor(encoded.codes), encoded.names)


def _weights(values: ArrayLike | None, frame: pd.DataFrame) -> Tensor | None:
    if values is None:
        return None
    return torch.tensor(_check_sample_weight(values, frame, dtype=np.float32, ensure_non_negative=True))
