"""The contract of every plug-in: documentation and options."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

from holdfast.core.options import options_of
from holdfast.core.registry import Plugin, create
from holdfast.core.seeds import numpy_rng

PluginContract = Callable[[type[Plugin]], None]


def is_frozen(cls: type[Plugin]) -> None:
    """A plug-in is a frozen dataclass, so that its options are all it is."""
    parameters = cls.__dict__.get("__dataclass_params__")
    assert parameters is not None, f"{cls.__name__} is no dataclass: write @dataclass(frozen=True, kw_only=True)"
    assert parameters.frozen, f"{cls.__name__} can change: write @dataclass(frozen=True, kw_only=True)"


def is_documented(cls: type[Plugin]) -> None:
    """A plug-in has a docstring of its own, which begins with a sentence."""
    text = cls.__dict__.get("__doc__") or ""
    assert not text.startswith(f"{cls.__name__}("), f"{cls.__name__} has no docstring"
    first = text.strip().split("\n\n")[0]
    assert re.search(r"[.:]$", first), f"the docstring of {cls.__name__} does not begin with a sentence: {first!r}"


def describes_its_options(cls: type[Plugin]) -> None:
    """The docstring has an entry for each option."""
    text = cls.__doc__ or ""
    missing = [name for name in options_of(cls) if not re.search(rf"^\s+([\w, ]+, )?{name}(, [\w, ]+)?:", text, re.M)]
    assert not missing, f"the docstring of {cls.__name__} has no entry for the options {', '.join(missing)}"


def reads_back(cls: type[Plugin]) -> None:
    """The reference that a plug-in writes makes it again: by default, and with each option drawn from its space."""
    default = _default(cls)
    if default is None:
        return
    for instance in [default, *_variants(default)]:
        again = create(cls, instance.reference)
        assert again == instance, f"{instance.reference!r} is read back as {again}"


def is_plain(cls: type[Plugin]) -> None:
    """Every option is plain JSON, so that it can be hashed and kept."""
    default = _default(cls)
    if default is not None:
        described = default.describe()
        text = json.dumps(described, default=repr)
        assert json.loads(text) == described, f"{cls.__name__} has options that JSON cannot hold: {text}"


PLUGIN_CONTRACTS: tuple[PluginContract, ...] = (is_frozen, is_documented, describes_its_options, reads_back, is_plain)


def check_plugin(cls: type[Plugin]) -> None:
    """Check what any plug-in promises.

    Args:
        cls: Registered.

    Raises:
        AssertionError: It breaks a contract; the message says which and how to mend it.
    """
    for contract in PLUGIN_CONTRACTS:
        contract(cls)


def _default(cls: type[Plugin]) -> Plugin | None:
    """The plug-in with all its defaults; None where an option has none."""
    required = [option for option in options_of(cls).values() if option.default is dataclasses.MISSING]
    return None if required else cls()


def _variants(instance: Any) -> list[Any]:
    """The instance with one option changed, for each option that has a search space, nested ones too."""
    variants = []
    for name, option in options_of(type(instance)).items():
        value = getattr(instance, name)
        if option.space is not None:
            variants.append(dataclasses.replace(instance, **{name: option.space.sample(numpy_rng(0, name))}))
        elif dataclasses.is_dataclass(value):
            variants += [dataclasses.replace(instance, **{name: variant}) for variant in _variants(value)]
    return variants
