"""Options of plug-ins: the grammar ``NAME[:KEY=VALUE[:KEY=VALUE]]``, typed values, valid ranges and search spaces.

A plug-in is a frozen dataclass. Its fields are its options, their annotations are its types, an ``Annotated`` field
may carry a :class:`Range` (what is valid) and a search distribution (what a sweep draws). The command line, sweeps,
hashes and documentation all derive from these fields.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from holdfast.core.errors import UserError, unknown_name

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


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
    """A search distribution: draws one value of an option."""

    def sample(self, rng: np.random.Generator) -> Any: ...


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high]."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform:
    """Uniform in the logarithm on [low, high]; 0 < low."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator) -> float:
        return float(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))


@dataclass(frozen=True)
class Choice:
    """One of the given values, equally likely."""

    values: tuple[Any, ...]

    def sample(self, rng: np.random.Generator) -> Any:
        return self.values[int(rng.integers(len(self.values)))]


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


@dataclass(frozen=True)
class Reference:
    """A plug-in as written on the command line: its name and its options, values still text."""

    name: str
    options: tuple[tuple[str, str], ...] = ()


@functools.cache
def options_of(cls: type) -> dict[str, Option]:
    """The options of a plug-in class by name, in the order of its fields."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: _option(field, hints[field.name]) for field in dataclasses.fields(cls) if field.init}


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

    >>> [[part.name for part in chain] for chain in parse_alternatives("erm,erm+dfr")]
    [['erm'], ['erm', 'dfr']]
    """
    chains = tuple(
        tuple(parse_reference(part) for part in _split_chain(alternative))
        for alternative in text.split(",")
        if alternative.strip()
    )
    if not chains:
        raise UserError("nothing was named: write NAME, or NAME,NAME for several")
    return chains


def instantiate(cls: type[T], given: Mapping[str, Any], *, what: str) -> T:
    """Build a plug-in from option values, texts or typed.

    Args:
        cls: A frozen dataclass.
        given: Option name, possibly dotted (``optimizer.lr``), to its value; text is converted to the option's type.
        what: How messages call it, such as ``method 'and-mask'``.

    Raises:
        UserError: Unknown option, a value of the wrong type, or one out of its valid range.
    """
    known = options_of(cls)
    for key in given:
        if key.partition(".")[0] not in known:
            raise unknown_name(f"option of {what}", key, known)
    try:
        instance = _typed(cls, given, what)
    except ValueError as error:
        raise UserError(f"{what}: {error}") from None
    _check_ranges(instance, what)
    return instance


def describe(instance: Any) -> dict[str, Any]:
    """Every option with its value as plain JSON; nested dataclasses carry their class name under ``class``."""
    return {name: _plain(getattr(instance, name)) for name in options_of(type(instance))}


def changed_options(instance: Any) -> dict[str, Any]:
    """The options that differ from their defaults, flattened to dotted names, as plain JSON.

    Raises nothing; a nested dataclass of another class than the default's appears as ``{"class": …}`` in full.
    """
    changed: dict[str, Any] = {}
    for name, option in options_of(type(instance)).items():
        value = getattr(instance, name)
        if value == option.default:
            continue
        if dataclasses.is_dataclass(value) and type(value) is type(option.default):
            default = describe(option.default)
            changed |= {f"{name}.{key}": item for key, item in describe(value).items() if item != default[key]}
        else:
            changed[name] = _plain(value)
    return changed


def format_reference(name: str, instance: Any) -> str:
    """The shortest text that names this plug-in: its name and the options that differ from the defaults."""
    return ":".join([name, *(f"{key}={_text(value)}" for key, value in changed_options(instance).items())])


def _split_chain(text: str) -> list[str]:
    """Split at ``+``, but not inside a number such as ``1e+3``."""
    parts: list[str] = []
    for piece in text.split("+"):
        if parts and parts[-1][-1:] in "eE" and parts[-1][-2:-1].isdigit() and piece[:1].isdigit():
            parts[-1] += "+" + piece
        else:
            parts.append(piece)
    return parts


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


def _typed(cls: type[T], given: Mapping[str, Any], what: str) -> T:
    """Let jsonargparse turn texts into typed values; on refusal say which option and what it takes."""
    import jsonargparse

    options = options_of(cls)
    for part in (cls, *(type(option.default) for option in options.values())):
        if dataclasses.is_dataclass(part):  # jsonargparse would look for a base's names in the subclass's module
            part.__init__.__annotations__ |= {option.name: option.type for option in options_of(part).values()}
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(cls, None)
    arguments = []
    for key, value in given.items():
        arguments.append(f"--{key}={_text(value)}")
        try:
            parser.parse_args([arguments[-1]])
        except (jsonargparse.ArgumentError, SystemExit, TypeError, ValueError):
            name, _, inner = key.partition(".")
            if inner and not hasattr(options[name].default, inner):
                raise unknown_name(f"option of {what}", key, _dotted(options[name])) from None
            wanted = _dotted_type(options[name], inner)
            raise UserError(f"{what}: {key}={_text(value)} is not {wanted}") from None
    parsed = parser.parse_args(arguments)
    return cls(**vars(parser.instantiate(parsed)))


def _dotted(option: Option) -> list[str]:
    if not dataclasses.is_dataclass(option.default):
        return [option.name]
    return [f"{option.name}.{key}" for key in options_of(type(option.default))]


def _dotted_type(option: Option, inner: str) -> str:
    if inner and dataclasses.is_dataclass(option.default):
        return options_of(type(option.default))[inner].type_name
    return option.type_name


def _check_ranges(instance: Any, what: str) -> None:
    for name, option in options_of(type(instance)).items():
        value = getattr(instance, name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            _check_ranges(value, what)
        elif option.range and any(
            isinstance(item, (int, float)) and item not in option.range for item in _items(value)
        ):
            raise UserError(f"{what}: {name}={value} is out of range: it must lie in {option.range}")


def _items(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__, **describe(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        import json

        return json.dumps(value)
    return str(value)


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    if hint in names:
        return names[hint]
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(part) for part in typing.get_args(hint))
    if origin in (tuple, list):
        return f"a list of [{_type_name(typing.get_args(hint)[0])}, …]"
    return str(getattr(hint, "__name__", hint))
