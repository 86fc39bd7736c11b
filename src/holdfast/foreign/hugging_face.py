"""Classifiers of images in Hugging Face's folders."""

from __future__ import annotations

from pathlib import Path

from holdfast.foreign.inputs import tensor_of
from holdfast.foreign.predictor import Model
from holdfast.models.hf import prepare_for, pretrained


def open_classifier(folder: Path) -> Model:
    """The folder of an image classifier that ``save_pretrained`` wrote; pictures are resized and scaled as it says.

    Raises:
        MissingExtra: transformers is not installed.
        UserError: The folder holds no image classifier.
    """
    network = pretrained("AutoModelForImageClassification", str(folder)).eval()
    prepare = prepare_for(str(folder), network.config)
    names = network.config.id2label
    return Model(
        folder.name,
        lambda x: network(prepare(tensor_of(x))).logits,
        classes=tuple(str(names[k]) for k in sorted(names)),
        reading="logits",
    )
