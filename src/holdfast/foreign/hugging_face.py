"""Classifiers of images and of text in Hugging Face's folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from holdfast.core.errors import UserError
from holdfast.core.pretrained import pretrained, settings_of
from holdfast.foreign.inputs import tensor_of
from holdfast.foreign.predictor import Model
from holdfast.models.hf import prepare_for

if TYPE_CHECKING:
    import pandas as pd

MOST_TOKENS = 512
_TEXT, _IMAGES = "ForSequenceClassification", "ForImageClassification"


def open_classifier(path: str) -> Model:
    """A classifier of images or text in a folder that ``save_pretrained`` wrote, or ``OWNER/NAME`` on the hub.

    Pictures are resized and scaled as its image processor says; text is split as its tokenizer does.

    Raises:
        MissingExtra: transformers is not installed.
        UserError: There is no such classifier.
    """
    names = settings_of(path, "config.json").get("architectures") or [_IMAGES]
    if _TEXT in names[0]:
        return _of_text(path)
    if _IMAGES in names[0]:
        return _of_images(path)
    raise UserError(f"{path} holds {names[0]}, which is no classifier of images or text")


def _of_images(path: str) -> Model:
    network = pretrained("AutoModelForImageClassification", path, "an image network").eval()
    prepare = prepare_for(path, network.config)
    return Model(
        Path(path).name,
        lambda x: network(prepare(tensor_of(x))).logits,
        classes=_classes(network),
        reading="logits",
    )


def _of_text(path: str) -> Model:
    from holdfast.tables.tokens import padded, tokenizer_at, tokens_of

    network = pretrained("AutoModelForSequenceClassification", path, "a text classifier").eval()
    tokenizer = tokenizer_at(path)

    def run(frame: pd.DataFrame) -> Tensor:
        tokens = tokens_of(frame.iloc[:, 0], tokenizer, MOST_TOKENS)
        logits: Tensor = network(**padded(tokens, max(map(len, tokens)))).logits
        return logits

    return Model(Path(path).name, run, reads_text=True, classes=_classes(network), reading="logits")


def _classes(network: Any) -> tuple[str, ...]:
    names = network.config.id2label
    return tuple(str(names[k]) for k in sorted(names))
