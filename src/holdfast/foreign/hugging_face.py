"""Classifiers of images in Hugging Face's folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from holdfast.core.errors import MissingExtra, UserError
from holdfast.core.files import read_json
from holdfast.foreign.inputs import tensor_of
from holdfast.foreign.predictor import Model

_MEAN, _STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def open_classifier(folder: Path) -> Model:
    """The folder of an image classifier that ``save_pretrained`` wrote; pictures are resized and scaled as it says.

    Raises:
        MissingExtra: transformers is not installed.
        UserError: The folder holds no image classifier.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "hf") from None
    transformers.logging.set_verbosity_error()
    try:
        network = transformers.AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds
        reason = str(error).strip().partition("\n")[0][:150]
        raise UserError(f"cannot read an image classifier from {folder} ({reason})") from None
    prepare = _Prepare(folder, int(getattr(network.config, "image_size", 0) or 0))
    names = network.config.id2label
    return Model(
        folder.name,
        lambda x: network(prepare(tensor_of(x))).logits,
        classes=tuple(str(names[k]) for k in sorted(names)),
        reading="logits",
        module=None,
    )


class _Prepare:
    """Resizes and scales pictures (B, C, H, W) in [0, 1] as a folder's image processor does."""

    def __init__(self, folder: Path, size: int) -> None:
        path = folder / "preprocessor_config.json"
        settings: dict[str, Any] = read_json(path) if path.is_file() else {}
        wanted = settings.get("size") or {}
        sides = wanted if isinstance(wanted, dict) else {"height": wanted, "width": wanted}
        side = sides.get("shortest_edge") or size
        self.size: list[int] = [int(sides.get(name) or side) for name in ("height", "width")]
        self.mean, self.std = settings.get("image_mean", _MEAN), settings.get("image_std", _STD)

    def __call__(self, images: Tensor) -> Tensor:
        x = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        if all(self.size) and list(x.shape[2:]) != self.size:
            x = nn.functional.interpolate(x, size=self.size, mode="bilinear", antialias=True)
        mean, std = (x.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (x - mean) / std
