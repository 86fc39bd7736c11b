"""Fitted scikit-learn estimators and pipelines, and files of skops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from holdfast.core.errors import UserError
from holdfast.foreign.predictor import Model, Reading

TRUSTED = ("sklearn.", "numpy.", "scipy.", "builtins.", "collections.")


def open_skops(path: Path) -> Model:
    """A file that skops wrote, if it holds types of scikit-learn, NumPy and SciPy only.

    Raises:
        UserError: It holds other types, or is damaged.
    """
    import skops.io

    try:
        types = skops.io.get_untrusted_types(file=path)
        others = [name for name in types if not name.startswith(TRUSTED)]
        if others:
            raise UserError(
                f"{path} holds types that are not scikit-learn's ({', '.join(others[:5])}): name the model as "
                "module:callable if you trust their code"
            )
        estimator = skops.io.load(path, trusted=types)
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file makes of it
        raise UserError(
            f"cannot read {path} ({type(error).__name__}): save the model again with skops.io.dump"
        ) from None
    if not is_estimator(estimator):
        raise UserError(f"{path} holds {type(estimator).__name__}, which cannot predict: save a fitted estimator")
    return model_of_estimator(estimator, path.name)


def is_estimator(found: Any) -> bool:
    """Whether something predicts as scikit-learn's estimators do."""
    return hasattr(found, "predict") and hasattr(found, "get_params")


def model_of_estimator(estimator: Any, name: str) -> Model:
    """A fitted estimator, by its probabilities where it has them, else by its decision function or its labels."""
    names = getattr(estimator, "feature_names_in_", None)
    classes = getattr(estimator, "classes_", None)
    run, reading = _outputs(estimator, classes)
    return Model(
        name,
        run,
        reads_frame=names is not None,
        columns=None if names is None else tuple(map(str, names)),
        width=getattr(estimator, "n_features_in_", None),
        classes=None if classes is None else tuple(map(str, np.asarray(classes).tolist())),
        reading=reading,
        notes=() if classes is None or reading != "labels" else (f"{name} gives labels only, and no probabilities",),
    )


def _outputs(estimator: Any, classes: Any) -> tuple[Any, Reading]:
    def arrays(x: Any) -> Any:
        return x.flatten(1).numpy() if hasattr(x, "flatten") and hasattr(x, "detach") else x

    if classes is None:
        return (lambda x: estimator.predict(arrays(x))), "numbers"
    if hasattr(estimator, "predict_proba"):
        return (lambda x: estimator.predict_proba(arrays(x))), "probabilities"
    if hasattr(estimator, "decision_function"):
        reading: Reading = "logit" if len(classes) == 2 else "logits"
        return (lambda x: estimator.decision_function(arrays(x))), reading
    place = {label: k for k, label in enumerate(np.asarray(classes).tolist())}
    return (lambda x: np.array([place[label] for label in np.asarray(estimator.predict(arrays(x))).tolist()])), "labels"
