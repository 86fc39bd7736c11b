"""Contracts that every plug-in keeps, as functions that raise ``AssertionError``: for our tests and for yours.

>>> from holdfast.methods.erm import ERM
>>> check_method(ERM())
"""

from holdfast.testing.augmentations import AUGMENTATION_CONTRACTS, check_augmentation
from holdfast.testing.methods import METHOD_CONTRACTS, check_method
from holdfast.testing.models import MODEL_CONTRACTS, check_model
from holdfast.testing.plugins import PLUGIN_CONTRACTS, check_plugin
from holdfast.testing.reach import reachable_tensors
from holdfast.testing.rules import RULE_CONTRACTS, check_rule
from holdfast.testing.tasks import TASK_CONTRACTS, check_task
from holdfast.testing.toys import toy_task

__all__ = [
    "AUGMENTATION_CONTRACTS",
    "METHOD_CONTRACTS",
    "MODEL_CONTRACTS",
    "PLUGIN_CONTRACTS",
    "RULE_CONTRACTS",
    "TASK_CONTRACTS",
    "check_augmentation",
    "check_method",
    "check_model",
    "check_plugin",
    "check_rule",
    "check_task",
    "reachable_tensors",
    "toy_task",
]
