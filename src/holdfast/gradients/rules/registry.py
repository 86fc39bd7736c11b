"""Which rule serves which layer."""

from __future__ import annotations

from torch import nn

from holdfast.gradients.rules.base import Rule
from holdfast.gradients.rules.convolution import ConvolutionRule
from holdfast.gradients.rules.embedding import EmbeddingRule
from holdfast.gradients.rules.linear import LinearRule
from holdfast.gradients.rules.normalization import (
    ChannelNormRule,
    TrailingNormRule,
    normalize_by_running_statistics,
    normalize_groups,
    normalize_layer,
    normalize_root_mean_square,
)

RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: LinearRule(),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), ConvolutionRule()),
    nn.Embedding: EmbeddingRule(),
    nn.LayerNorm: TrailingNormRule(normalize_layer),
    nn.RMSNorm: TrailingNormRule(normalize_root_mean_square),
    nn.GroupNorm: ChannelNormRule(normalize_groups),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), ChannelNormRule(normalize_by_running_statistics)),
}


def rule_for(layer: nn.Module) -> Rule | None:
    """The rule of the layer's class, or of a base class whose ``forward`` it has not replaced."""
    if "forward" in layer.__dict__:
        return None
    for base in type(layer).__mro__:
        if base in RULES:
            rule = RULES[base]
            return rule if type(layer).forward is base.forward and rule.supports(layer) else None
    return None
