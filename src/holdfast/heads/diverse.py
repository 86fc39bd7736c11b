"""Several heads on one trunk."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from holdfast.core.data import Inputs
from holdfast.core.errors import UserError
from holdfast.core.taps import last_linear


class DiverseHeads(nn.Module):
    """A network with several heads in place of one: all read what its last linear layer takes in.

    The heads are one wide linear layer. The network given is left as it is: the trunk starts as a copy of its own, the
    heads afresh, or the first of them as its own last layer where ``keep_first``.

    Args:
        network: From inputs (B, …) to logits (B, C), which its last linear layer puts out.
        heads: H.
        keep_first: See above.

    >>> import torch
    >>> DiverseHeads(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 2)(torch.zeros(5, 4)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(self, network: nn.Module, heads: int, *, keep_first: bool = False) -> None:
        super().__init__()
        own = last_linear(network)
        self.heads = heads
        self.network = widened(network, heads * own.out_features)
        if keep_first:
            _copy_rows(own, last_linear(self.network))

    def forward(self, x: Inputs) -> Tensor:
        """(B, …) inputs to (B, H, C) logits.

        Raises:
            UserError: The network does something with the output of its last linear layer.
        """
        outputs: Tensor = self.network(x)
        if outputs.ndim != 2 or outputs.shape[1] != last_linear(self.network).out_features:
            raise UserError("the network's last linear layer does not give its outputs: it cannot have several heads")
        return outputs.unflatten(1, (self.heads, -1))

    def single(self, head: int) -> nn.Module:
        """A copy of the network with this head only: from (B, …) to (B, C)."""
        wide = last_linear(self.network)
        C = wide.out_features // self.heads
        network = widened(self.network, C)
        rows = slice(head * C, (head + 1) * C)
        last_linear(network).load_state_dict({name: values[rows] for name, values in wide.state_dict().items()})
        return network


def widened(network: nn.Module, width: int) -> nn.Module:
    """A copy of a network whose last linear layer is a fresh one of another width."""
    changed = copy.deepcopy(network)
    old = last_linear(changed)
    fresh = nn.Linear(old.in_features, width, bias=old.bias is not None).to(old.weight)
    return cast(nn.Module, fresh) if changed is old else _replaced(changed, old, fresh)


@torch.no_grad()
def _copy_rows(layer: nn.Linear, wider: nn.Linear) -> None:
    """Overwrite the first rows of a wider layer."""
    for name, values in wider.named_parameters():
        own = layer.get_parameter(name)
        values[: len(own)] = own


def _replaced(network: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    name = next(name for name, module in network.named_modules() if module is old)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)
    return network
