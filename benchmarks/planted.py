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
import torch
from numpy.typing import NDArray
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset
from holdfast.core.task import Split, TaskData
from holdfast.models.cnn import CNN

Array = NDArray[Any]
LEVELS = np.array(["amber", "blue", "coral", "dune"])
SITES = ("Aachen", "Basel", "Cork")
"""Environments; the shortcut breaks in the last one."""


@dataclass(frozen=True)
class Case:
    """A model with the rows to audit it on.

    Attributes:
        model: Fitted, with ``predict_proba`` of a frame of the feature columns; or a network.
        rows: With the columns ``label`` and ``site``; or a task of pictures.
        planted: The column, or part of the picture, that is the shortcut; None in a clean case.
        kind: What was drawn, in words.
    """

    model: Any
    rows: Any
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


def pictures(rng: np.random.Generator, *, shortcut: str | None) -> Case:
    """Digits below five against the others, 16 × 16 pixels, with a shortcut of :data:`PAINTED` or none; a network."""
    images, label = _digits(rng)
    place = str(rng.choice(list(CORNERS)))
    strength = (rng.uniform(0.85, 0.98), rng.uniform(0.75, 0.92), rng.uniform(0.0, 0.5))
    train, audited = np.arange(len(label)) % 2 == 0, np.arange(len(label)) % 2 == 1
    site = np.where(train, rng.integers(2, size=len(label)), rng.integers(3, size=len(label)))
    follows = rng.random(len(label)) < np.asarray(strength)[site]
    code = torch.tensor(np.where(follows, label, 1 - label) if shortcut else rng.integers(2, size=len(label)))
    paint = PAINTED[shortcut or str(rng.choice(list(PAINTED)))]
    x = paint(images * torch.tensor(rng.uniform(0.7, 1.0, (len(label), 3, 1, 1)), dtype=torch.float32), code, place)
    y = torch.tensor(label)
    model = _network(x[train], y[train], int(rng.integers(2**31)))
    decoys = {"camera": torch.tensor(rng.integers(2, size=len(label))), "season": torch.tensor(site % 2)}
    attributes = {"texture": code, **decoys} if shortcut == "texture" else decoys
    data = Dataset(
        x, y, Column(torch.tensor(site), SITES), {name: Column(c, ("a", "b")) for name, c in attributes.items()}
    )
    test = Split("data", "test", data.take(torch.tensor(np.flatnonzero(audited))))
    task = TaskData("classification", (test,), CNN(), classes=("high", "low"), groups=tuple(attributes))
    planted = place if shortcut == "corner" else shortcut
    return Case(model, task, planted, f"pictures, {f'shortcut {planted}' if shortcut else 'clean'}")


CORNERS = {
    "top left": (slice(0, 4), slice(0, 4)),
    "top right": (slice(0, 4), slice(12, 16)),
    "bottom left": (slice(12, 16), slice(0, 4)),
    "bottom right": (slice(12, 16), slice(12, 16)),
}


def _color(images: Tensor, code: Tensor, place: str) -> Tensor:
    """Digits are reddish or bluish."""
    tint = torch.tensor([[1.0, 0.6, 0.5], [0.5, 0.6, 1.0]])
    return images * tint[code][:, :, None, None]


def _corner(images: Tensor, code: Tensor, place: str) -> Tensor:
    """A grey patch is in a corner, or none is."""
    changed = images.clone()
    rows, columns = CORNERS[place]
    changed[:, :, rows, columns] = changed[:, :, rows, columns].maximum(0.8 * code.float()[:, None, None, None])
    return changed


def _border(images: Tensor, code: Tensor, place: str) -> Tensor:
    """The frame is brighter, or darker."""
    changed = images.clone()
    for side in (changed[:, :, :2], changed[:, :, -2:], changed[:, :, :, :2], changed[:, :, :, -2:]):
        side.copy_(side.maximum(0.5 * code.float()[:, None, None, None]))
    return changed


def _brightness(images: Tensor, code: Tensor, place: str) -> Tensor:
    """The whole picture is exposed more, or less."""
    return images * torch.tensor([0.45, 1.0])[code][:, None, None, None]


def _texture(images: Tensor, code: Tensor, place: str) -> Tensor:
    """The ground has fine stripes, upright or level."""
    stripes = (torch.arange(16) % 4 < 2).float() * 0.35
    ground = torch.where(code[:, None, None] == 0, stripes[None, :, None], stripes[None, None, :])
    return images.maximum(ground[:, None])


PAINTED: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "color": _color,
    "corner": _corner,
    "border": _border,
    "brightness": _brightness,
    "texture": _texture,
}


def _digits(rng: np.random.Generator) -> tuple[Tensor, Array]:
    """(1797, 3, 16, 16) pictures in [0, 1] in random order, and whether the digit is five or more."""
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images = torch.tensor(digits.images[order] / 16.0, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    return nn.functional.interpolate(images, scale_factor=2), (digits.target[order] >= 5).astype(np.int64)


def _network(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = CNN(channels=(16, 32)).build((3, 16, 16), 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(200):
        rows = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
        optimizer.step()
    return network.eval()
