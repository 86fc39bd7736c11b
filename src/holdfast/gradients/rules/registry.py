"""Which rule serves which layer."""

from __future__ import annotations

from torch import nn

from holdfast.gradients.rules.base import Rule
from holdfast.gradients.rules.linear import LinearRule

RULES: dict[type[nn.Module], Rule] = {nn.Linear: LinearRule()}


def rule_for(layer: nn.Module) -> Rule | None:
    """The rule of the layer's class, or of a base class whose ``forward`` it has not replaced."""
    for base in type(layer).__mro__:
        if base in RULES:
            return RULES[base] if type(layer).forward is base.forward else None
    return None
