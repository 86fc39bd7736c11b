"""Backbones in Hugging Face's folders, of images or of text, with a fresh head."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.data import Inputs
from holdfast.core.errors import UserError
from holdfast.core.pretrained import pretrained, settings_of
from holdfast.core.registry import register
from holdfast.core.task import Model

_HALF = (0.5, 0.5, 0.5)


@register(name="hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFace(Model):
    """A pretrained backbone, one vector for each row, and one fresh linear layer.

    Pictures are resized and scaled as the folder's image processor does, as tensors; grey ones are repeated over three
    channels; their vector is the pooled output. Text comes as tokens, from a task with a ``tokenizer``; its vector is
    the mean of the last hidden states over the tokens. No code from the folder is run. The layers are ``features`` and
    ``head``, as of the small networks.

    Attributes:
        path: A folder that ``save_pretrained`` wrote, or ``OWNER/NAME`` on the hub.
    """

    path: str

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(input_shape) == 1:
            return self._of_text(outputs)
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise UserError(f"model 'hf' takes pictures of 1 or 3 channels, or text, not rows of shape {input_shape}")
        backbone = pretrained("AutoModel", self.path, "an image network")
        features = nn.Sequential(
            OrderedDict(prepare=prepare_for(self.path, backbone.config), backbone=Pooled(backbone))
        )
        with torch.no_grad():
            width = features(torch.zeros(1, *input_shape)).shape[1]
        return nn.Sequential(OrderedDict(features=features, head=nn.Linear(width, outputs)))

    def _of_text(self, outputs: int) -> nn.Module:
        backbone = pretrained("AutoModel", self.path, "a text network")
        head = nn.Linear(backbone.config.hidden_size, outputs)
        return nn.Sequential(OrderedDict(features=MeanOfTokens(backbone), head=head))


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
    """An image backbone's pooled output, (B, F); the mean over positions where it has none."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) to (B, F)."""
        given = self.backbone(images)
        pooled = getattr(given, "pooler_output", None)
        vector: Tensor = given.last_hidden_state.mean(dim=1) if pooled is None else pooled
        return vector.flatten(1)


class MeanOfTokens(nn.Module):
    """The mean of a text backbone's last hidden states over the tokens of each row, (B, F)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, tokens: Inputs) -> Tensor:
        """``input_ids`` and ``attention_mask``, each (B, L), to (B, F); columns that only pad are not computed."""
        if not isinstance(tokens, dict):
            raise UserError(
                "model 'hf' takes text as tokens or pictures, not columns of numbers: add --tokenizer FOLDER"
            )
        mask = tokens["attention_mask"]
        used = slice(int(mask.sum(dim=1).amax()))
        mask = mask[:, used]
        states: Tensor = self.backbone(input_ids=tokens["input_ids"][:, used], attention_mask=mask).last_hidden_state
        weight = mask[:, :, None].to(states.dtype)
        return (states * weight).sum(dim=1) / weight.sum(dim=1)


def prepare_for(path: str, config: Any) -> Prepare:
    """What the image processor of a folder, or on the hub, does to pictures; half and half where there is none."""
    settings = settings_of(path, "preprocessor_config.json")
    wanted = settings.get("size") or {}
    sides = wanted if isinstance(wanted, dict) else {"height": wanted, "width": wanted}
    side = sides.get("shortest_edge") or getattr(config, "image_size", None) or 0
    height, width = (int(sides.get(name) or side) for name in ("height", "width"))
    return Prepare((height, width), settings.get("image_mean", _HALF), settings.get("image_std", _HALF))
