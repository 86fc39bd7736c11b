"""Several heads on one trunk."""

from __future__ import annotations

import copy

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
        return outputs.view(len(outputs), self.heads, -1)

    def single(self, head: int) -> nn.Module:
        """A copy of the network with this head only: from (B, …) to (B, C)."""
        wide = last_linear(self.network)
        C = wide.out_features // self.heads
        layer = nn.Linear(wide.in_features, C, wide.bias is not None, device="meta")  # draws no weights
        rows = slice(head * C, (head + 1) * C)
        own = {name: values[rows].clone() for name, values in wide.state_dict().items()}
        layer.load_state_dict(own, assign=True)
        return with_last_layer(self.network, layer.requires_grad_())


def widened(network: nn.Module, width: int) -> nn.Module:
    """A copy of a network whose last linear layer is a fresh one of another width."""
    own = last_linear(network)
    return with_last_layer(network, nn.Linear(own.in_features, width, own.bias is not None).to(own.weight))


def with_last_layer(network: nn.Module, layer: nn.Module) -> nn.Module:
    """A copy of a network with this layer in place of its last linear one."""
    changed = copy.deepcopy(network)
    own = last_linear(changed)
    if own is changed:
        return layer
    name = next(name for name, module in changed.named_modules() if module is own)
    parent, _, child = name.rpartition(".")
    setattr(changed.get_submodule(parent), child, layer)
    return changed


@torch.no_grad()
def _copy_rows(layer: nn.Linear, wider: nn.Linear) -> None:
    """Overwrite the first rows of a wider layer."""
    for name, values in wider.named_parameters():
        own = layer.get_parameter(name)
        values[: len(own)] = own
