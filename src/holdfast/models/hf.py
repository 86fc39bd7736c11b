"""Image backbones in Hugging Face's folders, with a fresh head."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import MissingExtra, UserError
from holdfast.core.files import read_json
from holdfast.core.registry import register
from holdfast.core.task import Model

_HALF = (0.5, 0.5, 0.5)


@register(name="hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFaceImages(Model):
    """A pretrained image backbone, its pooled output, and one fresh linear layer.

    Pictures are resized and scaled as the folder's image processor does, as tensors; grey ones are repeated over three
    channels. No code from the folder is run. The layers are ``features`` and ``head``, as of the small networks.

    Attributes:
        path: A folder that ``save_pretrained`` wrote, or ``OWNER/NAME`` on the hub.
    """

    path: str

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise UserError(f"model 'hf' takes pictures of 1 or 3 channels, not rows of shape {input_shape}: use mlp")
        backbone = pretrained("AutoModel", self.path)
        features = nn.Sequential(
            OrderedDict(prepare=prepare_for(self.path, backbone.config), backbone=Pooled(backbone))
        )
        with torch.no_grad():
            width = features(torch.zeros(1, *input_shape)).shape[1]
        return nn.Sequential(OrderedDict(features=features, head=nn.Linear(width, outputs)))


class Prepare(nn.Module):
    """Resizes and scales pictures (B, C, H, W) in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, *size)."""
        x = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        if all(self.size) and tuple(x.shape[2:]) != self.size:
            x = nn.functional.interpolate(x, size=self.size, mode="bilinear", antialias=True)
        return (x - self.mean) / self.std


class Pooled(nn.Module):
    """A backbone's pooled output, (B, F); the mean over positions where it has none."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) to (B, F)."""
        given = self.backbone(images)
        pooled = getattr(given, "pooler_output", None)
        vector: Tensor = given.last_hidden_state.mean(dim=1) if pooled is None else pooled
        return vector.flatten(1)


def pretrained(kind: str, path: str) -> Any:
    """A network of transformers from a folder or the hub, without running code of it.

    Args:
        kind: ``AutoModel`` or ``AutoModelForImageClassification``.
        path: The folder, or ``OWNER/NAME``.

    Raises:
        MissingExtra: transformers is not installed.
        UserError: There is no such network.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "hf") from None
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it writes a line for each of its retries
    local = Path(path).is_dir()
    try:
        return getattr(transformers, kind).from_pretrained(path, local_files_only=local, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds
        reason = str(error).strip().partition("\n")[0][:120]
        mend = "" if local else ": where there is no network, name a local folder that save_pretrained wrote"
        raise UserError(f"cannot read an image network from {path} ({reason}){mend}") from None


def prepare_for(path: str, config: Any) -> Prepare:
    """What the image processor of a folder, or on the hub, does to pictures; half and half where there is none."""
    from transformers.utils import cached_file

    local = Path(path).is_dir()
    name = "preprocessor_config.json"
    file = cached_file(path, name, local_files_only=local, _raise_exceptions_for_missing_entries=False)
    settings: dict[str, Any] = read_json(Path(file)) if file else {}
    wanted = settings.get("size") or {}
    sides = wanted if isinstance(wanted, dict) else {"height": wanted, "width": wanted}
    side = sides.get("shortest_edge") or getattr(config, "image_size", None) or 0
    height, width = (int(sides.get(name) or side) for name in ("height", "width"))
    return Prepare((height, width), settings.get("image_mean", _HALF), settings.get("image_std", _HALF))
