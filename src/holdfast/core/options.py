"""Options of plug-ins: the grammar ``NAME[:KEY=VALUE[:KEY=VALUE]]``, typed values, valid ranges and search spaces.

A plug-in is a frozen dataclass. Its fields are its options, their annotations are its types, an ``Annotated`` field
may carry a :class:`Range` (what is valid) and a search distribution (what a sweep draws). The command line, sweeps,
hashes and documentation all derive from these fields.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from holdfast.core.errors import UserError, unknown_name

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

_CHAIN = r"(?<![\d.][eE])\+|\+(?!\d)"  # not inside a number such as 1e+3
_ALTERNATIVES = r",(?![^\[]*\])"  # not inside a list such as [1,2]


@dataclass(frozen=True)
class Range:
    """The valid values of a numeric option, or of each number in a tuple; ends included."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"


class Distribution(Protocol):
    """A search distribution of the values of an option."""

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw a value."""

    def at(self, u: float) -> Any:
        """The value below which a share u in [0, 1] of the distribution lies."""


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high]."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(self.low, self.high))

    def at(self, u: float) -> float:
        return self.low + u * (self.high - self.low)


@dataclass(frozen=True)
class LogUniform:
    """Uniform in the logarithm on [low, high]; 0 < low."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator) -> float:
        return float(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def at(self, u: float) -> float:
        value = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of the given values, equally likely."""

    values: tuple[Any, ...]

    def sample(self, rng: np.random.Generator) -> Any:
        return self.values[int(rng.integers(len(self.values)))]

    def at(self, u: float) -> Any:
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]


@dataclass(frozen=True)
class Option:
    """One option of a plug-in: its type without metadata, default, valid range and search distribution."""

    name: str
    type: Any
    default: Any
    range: Range | None
    space: Distribution | None

    @property
    def type_name(self) -> str:
        """The type in words, as messages show it."""
        return _type_name(self.type)

    @property
    def classes(self) -> tuple[type, ...]:
        """The dataclasses whose instances the value may be, options with options of their own; empty for the usual."""
        parts = typing.get_args(self.type) if _is_union(self.type) else (self.type,)
        return tuple(part for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part))


@dataclass(frozen=True)
class Reference:
    """A plug-in as written on the command line: its name and its options, values still text."""

    name: str
    options: tuple[tuple[str, str], ...] = ()


def options_of(cls: type) -> dict[str, Option]:
    """The options of a plug-in class by name, in the order of its fields."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: _option(field, hints[field.name]) for field in dataclasses.fields(cls) if field.init}


def option_table(cls: type) -> list[dict[str, Any]]:
    """What a user may write after the name of a plug-in, as plain JSON: one entry for each option.

    Options of an option stand below it under dotted names: those of its default, and those that only another of its
    classes has, which ``only`` then names.
    """
    return _entries(cls, _defaults(cls), "")


def parse_reference(text: str) -> Reference:
    """Parse ``NAME[:KEY=VALUE]…``; dashes in keys become underscores.

    >>> parse_reference("and-mask:threshold=0.8")
    Reference(name='and-mask', options=(('threshold', '0.8'),))
    """
    name, *parts = text.strip().split(":")
    if not name:
        raise UserError(f"no name in {text!r}: write NAME or NAME:KEY=VALUE")
    pairs = []
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise UserError(f"cannot read {part!r} in {text!r}: options are written NAME:KEY=VALUE:KEY=VALUE")
        pairs.append((key.strip().replace("-", "_"), value.strip()))
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"option {key!r} is given twice in {text!r}: keep one")
    return Reference(name, tuple(pairs))


def parse_alternatives(text: str) -> tuple[tuple[Reference, ...], ...]:
    """Parse a comma-separated list of chains; each chain is a tuple of references joined by ``+``.

    A sign of an exponent does not chain, and commas inside brackets do not separate.

    >>> [[part.name for part in chain] for chain in parse_alternatives("erm,erm+dfr:penalty=1e+3")]
    [['erm'], ['erm', 'dfr']]
    """
    chains = tuple(
        tuple(parse_reference(part) for part in re.split(_CHAIN, alternative))
        for alternative in re.split(_ALTERNATIVES, text)
        if alternative.strip()
    )
    if not chains:
        raise UserError("nothing was named: write NAME, or NAME,NAME for several")
    return chains


def instantiate(cls: type[T], given: Mapping[str, Any], *, what: str) -> T:
    """Build a plug-in from option values, texts or typed.

    Args:
        cls: A frozen dataclass.
        given: Option name to its value; text is converted to the option's type. An option that is a dataclass takes
            the name of its class, which brings the defaults of that class, and dotted names: ``optimizer=SGD`` with
            ``optimizer.lr=0.1``.
        what: How messages call it, such as ``method 'and-mask'``.

    Raises:
        UserError: Unknown option, a value of the wrong type, or one out of its valid range.
    """
    try:
        instance: T = _with_options(cls, given, what)
    except ValueError as error:
        raise UserError(f"{what}: {error}") from None
    _check_ranges(instance, what)
    return instance


def describe(instance: Any) -> dict[str, Any]:
    """Every option with its value as plain JSON; nested dataclasses carry their class name under ``class``."""
    return {name: _plain(getattr(instance, name)) for name in options_of(type(instance))}


def changed_options(instance: Any) -> dict[str, Any]:
    """The options that differ from their defaults, as plain JSON: what :func:`instantiate` makes it again from.

    Options of a nested dataclass have dotted names; its class is named where it is not the default's.
    """
    return _changes(instance, _defaults(type(instance)))


def format_reference(name: str, instance: Any) -> str:
    """The shortest text that names this plug-in: its name and the options that differ from the defaults."""
    return ":".join([name, *(f"{key}={text_of(value)}" for key, value in changed_options(instance).items())])


def _entries(cls: type, values: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    entries = []
    for name, option in options_of(cls).items():
        value = values[name]
        entries.append(_entry(option, prefix + name, value))
        if not dataclasses.is_dataclass(value):
            continue
        inside = _entries(type(value), vars(value), f"{prefix}{name}.")
        known = {entry["name"] for entry in inside}
        for other in option.classes:
            only = f"{prefix}{name}={other.__name__}"
            more = _entries(other, _defaults(other), f"{prefix}{name}.")
            inside += [{**entry, "only": only} for entry in more if entry["name"] not in known]
        entries += inside
    return entries


def _entry(option: Option, name: str, value: Any) -> dict[str, Any]:
    required = value is dataclasses.MISSING
    nested = dataclasses.is_dataclass(value)
    return {
        "name": name,
        "type": option.type_name,
        "required": required,
        "default": None if required else type(value).__name__ if nested else _plain(value),
        "range": str(option.range) if option.range else None,
        "search": str(option.space) if option.space else None,
        "only": None,
    }


def _option(field: dataclasses.Field[Any], hint: Any) -> Option:
    metadata: tuple[Any, ...] = ()
    if typing.get_origin(hint) is typing.Annotated:
        hint, *rest = typing.get_args(hint)
        metadata = tuple(rest)
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    valid = next((item for item in metadata if isinstance(item, Range)), None)
    space = next((item for item in metadata if hasattr(item, "sample")), None)
    return Option(field.name, hint, default, valid, space)


def _with_options(start: Any, given: Mapping[str, Any], what: str, prefix: str = "") -> Any:
    """``start``, a dataclass or an instance of one, with the given options; the others keep its values."""
    cls = start if isinstance(start, type) else type(start)
    options = options_of(cls)
    current = _defaults(cls) if start is cls else {name: getattr(start, name) for name in options}
    values = {}
    for name, parts in _by_name(given).items():
        inner = {key: value for key, value in parts.items() if key}
        if name not in options or (inner and not options[name].classes):
            unknown = prefix + ".".join([name, *list(inner)[:1]])
            raise unknown_name(f"option of {what}", unknown, [prefix + known for known in options])
        values[name] = _typed(options[name], parts[""], what, prefix) if "" in parts else current[name]
        if inner or isinstance(values[name], type):
            values[name] = _with_options(values[name], inner, what, f"{prefix}{name}.")
    missing = [name for name, value in {**current, **values}.items() if value is dataclasses.MISSING]
    if missing:
        raise UserError(f"{what} needs the option {prefix + missing[0]!r}: write {prefix}{missing[0]}=VALUE")
    return cls(**{**current, **values})


def _by_name(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Dotted options by their first name: ``{"a": 1, "a.b": 2}`` → ``{"a": {"": 1, "b": 2}}``."""
    grouped: dict[str, dict[str, Any]] = {}
    for key, value in given.items():
        name, _, rest = key.partition(".")
        grouped.setdefault(name, {})[rest] = value
    return grouped


def _typed(option: Option, value: Any, what: str, prefix: str) -> Any:
    """The value as the option's type: jsonargparse converts text; the name of a dataclass gives that class."""
    import jsonargparse

    if isinstance(value, option.classes):
        return value
    for cls in option.classes:
        if str(value).lower() == cls.__name__.lower():
            return cls
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=option.type)
    try:
        return parser.parse_args([f"--value={text_of(value)}"]).value
    except (jsonargparse.ArgumentError, SystemExit, TypeError, ValueError):
        raise UserError(f"{what}: {prefix}{option.name}={text_of(value)} is not {option.type_name}") from None


def _defaults(cls: type) -> dict[str, Any]:
    return {name: option.default for name, option in options_of(cls).items()}


def _changes(instance: Any, start: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a dataclass that are not as in ``start``."""
    changed: dict[str, Any] = {}
    for name, before in start.items():
        value = getattr(instance, name)
        if value == before:
            continue
        if not dataclasses.is_dataclass(value):
            changed[name] = _plain(value)
        elif type(value) is type(before):
            changed |= _dotted(name, _changes(value, vars(before)))
        else:
            changed |= {name: type(value).__name__, **_dotted(name, _changes(value, _defaults(type(value))))}
    return changed


def _dotted(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}.{key}": value for key, value in changes.items()}


def _check_ranges(instance: Any, what: str, prefix: str = "") -> None:
    for name, option in options_of(type(instance)).items():
        value = getattr(instance, name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            _check_ranges(value, what, f"{prefix}{name}.")
        elif option.range and any(
            isinstance(item, (int, float)) and item not in option.range for item in _items(value)
        ):
            raise UserError(f"{what}: {prefix}{name}={value} is out of range: it must lie in {option.range}")


def _items(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__, **describe(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def text_of(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("inf", ".inf").replace("nan", ".nan")  # as YAML writes them
    return str(value)


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    if hint in names:
        return names[hint]
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if _is_union(hint):
        return " or ".join(_type_name(part) for part in typing.get_args(hint))
    if origin in (tuple, list):
        return f"a list of [{_type_name(typing.get_args(hint)[0])}, …]"
    return str(getattr(hint, "__name__", hint))


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
