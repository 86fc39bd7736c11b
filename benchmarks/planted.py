"""Synthetic tables and images with a known shortcut, or without one: what the audit's benchmark draws from.

Everything is random: how many columns, which of them cause the label and how, which kind of shortcut is planted, how
strong it is in each environment, what else differs between environments, and which model is trained. A model is
trained on rows of two environments; audited are fresh rows of these and of one more, where the shortcut breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

Array = NDArray[Any]
LEVELS = np.array(["amber", "blue", "coral", "dune"])
SITES = ("Aachen", "Basel", "Cork")
"""Environments; the shortcut breaks in the last one."""


@dataclass(frozen=True)
class Case:
    """A model with the rows to audit it on.

    Attributes:
        model: Fitted, with ``predict_proba`` of a frame of the feature columns.
        rows: With the columns ``label`` and ``site``.
        planted: The column of the shortcut; None in a clean case.
        kind: What was drawn, in words.
    """

    model: Any
    rows: pd.DataFrame
    planted: str | None
    kind: str


def table(rng: np.random.Generator, *, planted: bool) -> Case:
    """A table of 6,000 rows to audit, two thirds of them from environments of the training."""
    world = _World.drawn(rng, planted)
    train = pd.concat([world.rows(site, 3000, rng) for site in SITES[:2]], ignore_index=True)
    audited = pd.concat([world.rows(site, 2000, rng) for site in SITES], ignore_index=True)
    name, model = _model(rng)
    model.fit(train.drop(columns=["label", "site"]), train["label"])
    return Case(model, audited, "z" if planted else None, f"{world.kind}, {name}")


@dataclass(frozen=True)
class _World:
    """How rows come about.

    Attributes:
        weights: (K, C) of the causes in the logits of C classes.
        bends: (K,) whether a cause acts through its square root with sign.
        strength: By site, the probability that the shortcut follows the label.
        noise: By site, the probability that the label is drawn at random.
        shift: (3, K) means of the causes by site.
        skew: By site, the logits' offsets (3, C).
        shortcut: Draws the planted column from what it follows; None in a clean world.
    """

    kind: str
    weights: Array
    bends: Array
    strength: tuple[float, float, float]
    noise: tuple[float, float, float]
    shift: Array
    skew: Array
    shortcut: Callable[[Array, np.random.Generator], Any] | None

    @staticmethod
    def drawn(rng: np.random.Generator, planted: bool) -> _World:
        causes, classes = int(rng.integers(3, 7)), int(rng.choice([2, 2, 2, 3]))
        name = str(rng.choice(list(SHORTCUTS)))
        moves = rng.random(3) < 0.5
        return _World(
            kind=f"{classes} classes, {causes} causes, " + (f"shortcut {name}" if planted else "clean"),
            weights=rng.normal(0, 1.2, (causes, classes)),
            bends=rng.random(causes) < 0.4,
            strength=(rng.uniform(0.8, 0.98), rng.uniform(0.7, 0.95), rng.uniform(0.0, 1.0 / classes)),
            noise=tuple(rng.uniform(0.0, 0.25, 3)) if moves[0] else (0.05,) * 3,  # type: ignore[arg-type]
            shift=rng.normal(0, 0.5, (3, causes)) * moves[1],
            skew=rng.normal(0, 0.7, (3, classes)) * moves[2],
            shortcut=SHORTCUTS[name] if planted else None,
        )

    def rows(self, site: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Rows of one environment."""
        k, classes = SITES.index(site), self.weights.shape[1]
        x = self.shift[k] + rng.normal(size=(n, len(self.weights)))
        acting = np.where(self.bends, np.sign(x) * np.sqrt(np.abs(x)), x)
        label = (acting @ self.weights + self.skew[k] + rng.gumbel(size=(n, classes))).argmax(axis=1)
        label = np.where(rng.random(n) < self.noise[k], rng.integers(classes, size=n), label)
        columns = {f"x{j}": x[:, j] for j in range(x.shape[1])}
        columns |= {
            "noise": rng.normal(size=n),
            "level": rng.choice(LEVELS, n, p=np.roll([0.55, 0.25, 0.15, 0.05], k)),
            "drift": rng.normal(k, 1.0, n),
            "echo": x[:, 0] + rng.normal(0, 0.7, n),
        }
        if self.shortcut is not None:
            follows = rng.random(n) < self.strength[k]
            others = (label + rng.integers(1, classes, n)) % classes
            columns["z"] = self.shortcut(np.where(follows, label, others), rng)
        frame = pd.DataFrame({**columns, "site": site, "label": np.array(["no", "yes", "other"])[label]})
        return frame[[*rng.permutation([c for c in frame.columns if c != "label"]).tolist(), "label"]]


def _level(code: Array, rng: np.random.Generator) -> Any:
    return LEVELS[code]


def _number(code: Array, rng: np.random.Generator) -> Any:
    return code + rng.normal(0, 0.3, len(code))


def _flag(code: Array, rng: np.random.Generator) -> Any:
    return (code == 0).astype(int)


def _missing(code: Array, rng: np.random.Generator) -> Any:
    return np.where(code == 0, np.nan, rng.normal(size=len(code)))


SHORTCUTS: dict[str, Callable[[Array, np.random.Generator], Any]] = {
    "level": _level,
    "number": _number,
    "flag": _flag,
    "missing value": _missing,
}


def _model(rng: np.random.Generator) -> tuple[str, Any]:
    """One of four kinds of classifier, unfitted."""
    from sklearn.impute import SimpleImputer

    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    encode = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_exclude="number")),
    )
    seed = int(rng.integers(2**31))
    models = {
        "logistic regression": LogisticRegression(max_iter=1000),
        "gradient boosting": HistGradientBoostingClassifier(max_iter=80, random_state=seed),
        "random forest": RandomForestClassifier(60, min_samples_leaf=5, random_state=seed),
        "neural network": MLPClassifier((32,), max_iter=60, early_stopping=True, random_state=seed),
    }
    name = str(rng.choice(list(models)))
    return name, make_pipeline(encode, models[name])
