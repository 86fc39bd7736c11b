"""Rules: from what a layer read and the gradient of what it put out, to its parameters' gradient per environment."""

from __future__ import annotations

from holdfast.gradients.rules.alone import RUN_AGAIN, ModuleAlone, ModulePerEnvironment
from holdfast.gradients.rules.base import LayerGradient, Rule, Workspace
from holdfast.gradients.rules.registry import rule_for

__all__ = ["RUN_AGAIN", "LayerGradient", "ModuleAlone", "ModulePerEnvironment", "Rule", "Workspace", "rule_for"]
