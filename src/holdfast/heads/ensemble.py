"""A head for each kind of input on one trunk, mixed as a predictor of the kind sees fit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.core.data import Inputs
from holdfast.core.errors import UserError
from holdfast.core.taps import last_linear
from holdfast.heads.diverse import widened


class LastLayerEnsemble(nn.Module):
    """Logits Σ_k softmax(d)_k · head_k: the heads of K kinds of input, mixed by a predictor d of the kind.

    Heads and predictor read what the network's last linear layer takes in; together they are one wide linear layer
    with fresh weights. The network given is left as it is.

    Li, Evtimov, Gordo, Hazirbas, Hassner, Canton Ferrer, Xu, Ibrahim, *A Whac-A-Mole dilemma: shortcuts come in
    multiples where mitigating one amplifies others*, CVPR 2023, arXiv:2212.04825.

    Args:
        network: From inputs (B, …) to logits (B, C), which its last linear layer puts out.
        kinds: K.

    >>> LastLayerEnsemble(nn.Linear(4, 3), 2)(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(self, network: nn.Module, kinds: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.network = widened(network, kinds * (last_linear(network).out_features + 1))

    def forward(self, x: Inputs) -> Tensor:
        """(B, …) inputs to (B, C) logits."""
        heads, kind = self.parts(x)
        return torch.einsum("bk,bkc->bc", kind.softmax(1), heads)

    def parts(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """(B, K, C) logits of the heads and (B, K) logits of the kinds.

        Raises:
            UserError: The network does something with the output of its last linear layer.
        """
        outputs: Tensor = self.network(x)
        if outputs.ndim != 2 or outputs.shape[1] != last_linear(self.network).out_features:
            raise UserError("the network's last linear layer does not give its outputs: it cannot have several heads")
        heads, kind = outputs[:, : -self.kinds], outputs[:, -self.kinds :]
        return heads.reshape(len(heads), self.kinds, -1), kind
