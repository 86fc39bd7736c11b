"""The registry: plug-ins by family and name.

``@register`` on a frozen dataclass makes it known under its kebab-case name. The packages of this library that hold
plug-ins are imported on the first look-up, and so are the modules that other distributions name in the entry-point
group ``holdfast.plugins``. A module that fails to import is the error of its author and is not hidden.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, cast, overload

from holdfast.core.errors import unknown_name
from holdfast.core.options import Reference, describe, format_reference, instantiate, parse_reference

ENTRY_POINTS = "holdfast.plugins"
PACKAGES: dict[str, str] = {
    "task": "holdfast.tasks",
    "model": "holdfast.models",
    "augmentation": "holdfast.augmentations",
    "method": "holdfast.methods",
    "inference": "holdfast.inference",
    "evaluation": "holdfast.evaluations",
    "reproduction": "holdfast.reproductions",
    "rule": "holdfast.training.rules",
}

_PLUGINS: dict[str, dict[str, type[Plugin]]] = {family: {} for family in PACKAGES}


class Plugin:
    """Base of everything the registry holds. Subclasses are frozen dataclasses whose fields are their options.

    Attributes:
        family: The kind of plug-in, a key of ``PACKAGES``.
        name: Set by :func:`register`.
        version: Raise it when results change: it is part of every hash.
    """

    family: ClassVar[str]
    name: ClassVar[str]
    version: ClassVar[int] = 1

    @property
    def reference(self) -> str:
        """The shortest text that names this plug-in with its options, as on the command line."""
        return format_reference(self.name, self)

    def describe(self) -> dict[str, Any]:
        """Name, version and every option as plain JSON: what a hash sees."""
        return {"name": self.name, "version": self.version, "options": describe(self)}


P = TypeVar("P", bound=type[Plugin])
I = TypeVar("I", bound=Plugin)  # noqa: E741


@overload
def register(cls: P) -> P: ...
@overload
def register(*, name: str) -> Callable[[P], P]: ...
def register(cls: P | None = None, *, name: str | None = None) -> P | Callable[[P], P]:
    """Make a plug-in known, under ``name`` or its class name in kebab-case.

    Raises:
        ValueError: Another class of the family already has the name.
    """
    if cls is None:
        return functools.partial(_add, name=name)
    return _add(cls, name=None)


def plugins(family: str) -> Mapping[str, type[Plugin]]:
    """Every plug-in of a family by name, sorted."""
    _discover()
    return dict(sorted(_PLUGINS[family].items()))


def lookup(family: str, name: str) -> type[Plugin]:
    """The plug-in class of this name.

    Raises:
        UserError: There is none; the message names near ones.
    """
    known = plugins(family)
    if name not in known:
        raise unknown_name(family, name, known)
    return known[name]


def create(base: type[I], reference: str | Reference, **defaults: Any) -> I:
    """Build the plug-in that a reference such as ``and-mask:threshold=0.8`` names.

    Args:
        base: The family's base class, such as ``Method``.
        reference: Text or parsed.
        defaults: Option values that hold unless the reference gives others.

    Raises:
        UserError: Unknown name, unknown option, or a bad value.
    """
    parsed = parse_reference(reference) if isinstance(reference, str) else reference
    cls = lookup(base.family, parsed.name)
    return cast(I, instantiate(cls, {**defaults, **dict(parsed.options)}, what=f"{base.family} {parsed.name!r}"))


def kebab(name: str) -> str:
    """``AndMask`` → ``and-mask``, ``ERM`` → ``erm``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def _add(cls: P, *, name: str | None) -> P:
    cls.name = name or kebab(cls.__name__)
    known = _PLUGINS[cls.family]
    other = known.get(cls.name)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"{cls.family} {cls.name!r} is already registered by {other.__module__}")
    known[cls.name] = cls
    return cls


@functools.cache
def _discover() -> None:
    for package_name in PACKAGES.values():
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(getattr(package, "__path__", []), package_name + "."):
            importlib.import_module(module.name)
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        importlib.import_module(entry.value)
