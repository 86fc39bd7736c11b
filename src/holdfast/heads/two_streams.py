"""Two encoders under two heads: one pair for what should decide, one for what is easiest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.core.data import Inputs
from holdfast.core.errors import UserError
from holdfast.core.taps import last_linear
from holdfast.heads.diverse import with_last_layer


class TwoStreams(nn.Module):
    """Two networks without their last linear layers, under two heads that read what both put out.

    Each head trains its own encoder only: what it reads of the other is without gradient. The model's outputs are
    those of the main head. The networks given are left as they are; heads have fresh weights.

    Lee, Kim, Lee, Lee, Choo, *Learning debiased representation via disentangled feature augmentation*, NeurIPS 2021,
    arXiv:2107.01372.

    Args:
        main: From inputs (B, …) to logits (B, C), which its last linear layer puts out; that reads (B, F) features.
        biased: Another, whose last linear layer reads (B, G) features.

    >>> TwoStreams(nn.Linear(4, 3), nn.Linear(4, 3))(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(self, main: nn.Module, biased: nn.Module) -> None:
        super().__init__()
        own, other = last_linear(main), last_linear(biased)
        self._widths = (own.in_features, other.in_features)
        self.main_encoder = with_last_layer(main, nn.Identity())
        self.biased_encoder = with_last_layer(biased, nn.Identity())
        width = sum(self._widths)
        self.biased_head = nn.Linear(width, other.out_features).to(other.weight)
        self.main_head = nn.Linear(width, own.out_features).to(
            own.weight
        )  # the last one registered is the model's head

    def forward(self, x: Inputs) -> Tensor:
        """(B, …) inputs to (B, C) logits of the main head."""
        outputs: Tensor = self.main_head(torch.cat(self.features(x), dim=1))
        return outputs

    def features(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """(B, F) features of the main encoder and (B, G) of the biased one.

        Raises:
            UserError: A network does not put out what its last linear layer does.
        """
        both = self.main_encoder(x), self.biased_encoder(x)
        for features, width in zip(both, self._widths, strict=True):
            if features.ndim != 2 or features.shape[1] != width:
                raise UserError("the network's last linear layer does not give its outputs: it cannot have two streams")
        return both

    def main_logits(self, main: Tensor, biased: Tensor) -> Tensor:
        """(B, C) logits of the main head from features of both encoders, of which the biased ones get no gradient."""
        logits: Tensor = self.main_head(torch.cat([main, biased.detach()], dim=1))
        return logits

    def biased_logits(self, main: Tensor, biased: Tensor) -> Tensor:
        """(B, C) logits of the biased head from features of both encoders, of which the main ones get no gradient."""
        logits: Tensor = self.biased_head(torch.cat([main.detach(), biased], dim=1))
        return logits
