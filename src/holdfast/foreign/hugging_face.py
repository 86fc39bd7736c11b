"""Classifiers of images in Hugging Face's folders."""

from __future__ import annotations

from pathlib import Path

from holdfast.foreign.inputs import tensor_of
from holdfast.foreign.predictor import Model
from holdfast.models.hf import prepare_for, pretrained


def open_classifier(path: str) -> Model:
    """An image classifier in a folder that ``save_pretrained`` wrote, or ``OWNER/NAME`` on the hub.

    Pictures are resized and scaled as its image processor says.

    Raises:
        MissingExtra: transformers is not installed.
        UserError: There is no image classifier.
    """
    network = pretrained("AutoModelForImageClassification", path).eval()
    prepare = prepare_for(path, network.config)
    names = network.config.id2label
    return Model(
        Path(path).name,
        lambda x: network(prepare(tensor_of(x))).logits,
        classes=tuple(str(names[k]) for k in sorted(names)),
        reading="logits",
    )
