"""The trainer and the parts of a step."""

from holdfast.training.budget import Budget
from holdfast.training.context import StepContext
from holdfast.training.disentangled import DisentangledStep
from holdfast.training.ensemble import EnsembleStep
from holdfast.training.failure import FailureStep
from holdfast.training.many import Member, fit_many, why_apart
from holdfast.training.mixup import MixupStep
from holdfast.training.optimizers import SGD, Adam, AdamW, AndAdam, Optimizer
from holdfast.training.records import Record
from holdfast.training.rules import Last, Oracle, SelectionRule, Validation, WorstEnvironment, WorstGroup
from holdfast.training.schedules import Schedule
from holdfast.training.sieve import SieveStep
from holdfast.training.stages import FolderStore, LogSchedule, MemoryStore
from holdfast.training.step import GradientStep, Step
from holdfast.training.trainer import Fit, Trainer
from holdfast.training.unlabelled import UnlabelledPenalty, unlabelled_rows

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "AndAdam",
    "Budget",
    "DisentangledStep",
    "EnsembleStep",
    "FailureStep",
    "Fit",
    "FolderStore",
    "GradientStep",
    "Last",
    "LogSchedule",
    "Member",
    "MemoryStore",
    "MixupStep",
    "Optimizer",
    "Oracle",
    "Record",
    "Schedule",
    "SelectionRule",
    "SieveStep",
    "Step",
    "StepContext",
    "Trainer",
    "UnlabelledPenalty",
    "Validation",
    "WorstEnvironment",
    "WorstGroup",
    "fit_many",
    "unlabelled_rows",
    "why_apart",
]
