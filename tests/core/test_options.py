from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import UserError
from holdfast.core.options import (
    Choice,
    LogUniform,
    Range,
    Reference,
    Uniform,
    changed_options,
    describe,
    format_reference,
    instantiate,
    option_table,
    options_of,
    parse_alternatives,
    parse_reference,
    text_of,
)
from holdfast.training.optimizers import SGD, Adam, AdamW, AndAdam, Optimizer


@dataclass(frozen=True, kw_only=True)
class Example:
    threshold: Annotated[float, Range(0.0, 1.0), Uniform(0.0, 1.0)] = 1.0
    penalty: Annotated[float, Range(0.0), LogUniform(0.1, 10.0)] = 1.0
    steps: int = 3
    rescale: Literal["tensor", "none"] = "tensor"
    hidden: Annotated[tuple[int, ...], Range(low=1)] = (128, 128)
    layers: tuple[str, ...] = ()
    name: str = "x"
    cap: float | None = None
    flag: bool = False
    optimizer: Optimizer = field(default_factory=lambda: Adam(lr=1e-3, weight_decay=1e-3))


@dataclass(frozen=True, kw_only=True)
class Demanding:
    path: str
    size: int = 1

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("size 13 is bad luck: choose another")


def read(text: str) -> Example:
    reference = parse_reference(text)
    return instantiate(Example, dict(reference.options), what="method 'example'")


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=0.0, allow_infinity=False)
fractions = st.floats(min_value=0.0, max_value=1.0)
words = st.text(st.characters(exclude_characters=":,+[]", exclude_categories=("Cs", "Cc", "Z")), max_size=8)
optimizers = st.one_of(
    st.builds(SGD, lr=positive, momentum=fractions, weight_decay=positive),
    st.builds(Adam, lr=positive, weight_decay=positive),
    st.builds(AdamW, lr=positive, weight_decay=positive),
)
examples = st.builds(
    Example,
    threshold=fractions,
    penalty=positive,
    steps=st.integers(-(10**9), 10**9),
    rescale=st.sampled_from(["tensor", "none"]),
    hidden=st.lists(st.integers(1, 10**6), max_size=3).map(tuple),
    layers=st.lists(words, max_size=2).map(tuple),
    name=words,
    cap=st.none() | finite,
    flag=st.booleans(),
    optimizer=optimizers,
)


@given(examples)
def test_a_reference_reads_back_as_what_it_names(example: Example) -> None:
    text = format_reference("example", example)
    assert read(text) == example
    assert format_reference("example", read(text)) == text


@given(examples, st.sampled_from(["erm", "erm+dfr"]))
def test_references_survive_among_alternatives_and_in_chains(example: Example, other: str) -> None:
    text = format_reference("example", example)
    first, second = parse_alternatives(f"{other}+{text},{text}")
    assert first[-1] == second[0] == parse_reference(text)
    assert [part.name for part in first[:-1]] == other.split("+")


@given(examples)
def test_changed_options_make_the_instance_again_and_descriptions_are_json(example: Example) -> None:
    assert instantiate(Example, changed_options(example), what="it") == example
    description = describe(example)
    assert json.loads(json.dumps(description)) == description
    assert description["optimizer"]["class"] == type(example.optimizer).__name__


@given(examples, examples)
def test_descriptions_differ_where_instances_differ(a: Example, b: Example) -> None:
    assert (describe(a) == describe(b)) == (a == b)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("example", {}),
        ("example:threshold=0.8", {"threshold": 0.8}),
        ("example: threshold = 0.8 ", {"threshold": 0.8}),
        ("example:steps=5:flag=true", {"steps": 5, "flag": True}),
        ("example:hidden=[]", {"hidden": []}),
        ("example:hidden=[7]", {"hidden": [7]}),
        ("example:layers=[a,b]", {"layers": ["a", "b"]}),
        ("example:cap=null", {}),
        ("example:cap=3", {"cap": 3.0}),
        ("example:cap=1e-3", {"cap": 0.001}),
        ("example:name=null", {"name": "null"}),
        ("example:name=a=b", {"name": "a=b"}),
        ("example:name=", {"name": ""}),
        ("example:optimizer.lr=0.01", {"optimizer.lr": 0.01}),
        ("example:optimizer.weight-decay=0", {"optimizer.weight_decay": 0.0}),
        ("example:optimizer=SGD", {"optimizer": "SGD"}),
        ("example:optimizer=sgd:optimizer.lr=0.1", {"optimizer": "SGD", "optimizer.lr": 0.1}),
        ("example:optimizer.lr=0.1:optimizer=SGD", {"optimizer": "SGD", "optimizer.lr": 0.1}),
        ("example:optimizer=adam", {"optimizer.weight_decay": 0.0}),
    ],
)
def test_texts_become_typed_values(text: str, changed: dict[str, Any]) -> None:
    assert changed_options(read(text)) == changed


def test_a_named_class_brings_its_own_defaults() -> None:
    assert read("example:optimizer=SGD:optimizer.momentum=0.9").optimizer == SGD(momentum=0.9)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_not_finite_read_back(value: float) -> None:
    again = read(format_reference("example", Example(cap=value))).cap
    assert again == value or (again is not None and math.isnan(again) and math.isnan(value))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("example:treshold=1", ["unknown option", "'treshold'", "did you mean 'threshold'"]),
        ("example:threshold=2", ["threshold=2.0", "out of range", "[0, 1]"]),
        ("example:threshold=.nan", ["threshold=nan", "out of range"]),
        ("example:hidden=[4,0]", ["hidden=(4, 0)", "out of range", "[1, inf]"]),
        ("example:penalty=1e+3x", ["penalty=1e+3x is not a number"]),
        ("example:steps=1.5", ["steps=1.5 is not a whole number"]),
        ("example:steps=true", ["steps=true is not a whole number"]),
        ("example:flag=7", ["flag=7 is not true or false"]),
        ("example:rescale=all", ["rescale=all is not one of tensor, none"]),
        ("example:hidden=3", ["hidden=3 is not a list of"]),
        ("example:cap=x", ["cap=x is not a number or null"]),
        ("example:optimizer=RMSprop", ["optimizer=RMSprop is not Adam or AdamW or SGD or AndAdam"]),
        ("example:optimizer.lr=-1", ["optimizer.lr=-1.0 is out of range"]),
        ("example:optimizer.lr=x", ["optimizer.lr=x is not a number"]),
        ("example:optimizer.momentum=0.9", ["unknown option", "'optimizer.momentum'"]),
        ("example:optimizer.weigth_decay=1", ["did you mean 'optimizer.weight_decay'"]),
        ("example:steps.x=1", ["unknown option", "'steps.x'"]),
        ("example:steps=1:steps=2", ["'steps' is given twice"]),
        ("example:weight-decay=1:weight_decay=1", ["given twice"]),
        ("example:steps", ["cannot read 'steps'", "NAME:KEY=VALUE"]),
        ("example:=3", ["cannot read '=3'"]),
        (":steps=3", ["no name"]),
        ("", ["no name"]),
    ],
)
def test_mistakes_are_one_line_with_the_mend(text: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read(text)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_what_has_no_default_must_be_given() -> None:
    with pytest.raises(UserError, match="task 'it' needs the option 'path': write path=VALUE"):
        instantiate(Demanding, {"size": "2"}, what="task 'it'")
    made = instantiate(Demanding, {"path": "a"}, what="task 'it'")
    assert format_reference("it", made) == "it:path=a"


def test_a_value_that_the_class_refuses_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="task 'it': size 13 is bad luck"):
        instantiate(Demanding, {"path": "a", "size": "13"}, what="task 'it'")


def test_typed_values_are_taken_as_they_are() -> None:
    given: Mapping[str, Any] = {"hidden": (3, 4), "optimizer": AdamW(lr=0.5), "cap": None, "threshold": 0.25}
    made = instantiate(Example, given, what="it")
    assert (made.hidden, made.optimizer, made.cap, made.threshold) == ((3, 4), AdamW(lr=0.5), None, 0.25)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("erm", [["erm"]]),
        ("erm, irm ,", [["erm"], ["irm"]]),
        ("erm+dfr,v-rex", [["erm", "dfr"], ["v-rex"]]),
        ("irm:penalty=1e+3+dfr", [["irm", "dfr"]]),
        ("irm:penalty=1.e+3+dfr:x=2E+4", [["irm", "dfr"]]),
        ("mlp:hidden=[8,8],erm", [["mlp"], ["erm"]]),
    ],
)
def test_commas_separate_and_plus_signs_chain(text: str, names: list[list[str]]) -> None:
    assert [[part.name for part in chain] for chain in parse_alternatives(text)] == names


def test_an_exponent_keeps_its_sign() -> None:
    (chain,) = parse_alternatives("irm:penalty=1e+3+dfr:x=2E+4")
    assert chain == (Reference("irm", (("penalty", "1e+3"),)), Reference("dfr", (("x", "2E+4"),)))


@pytest.mark.parametrize("text", ["", " , "])
def test_no_alternative_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="nothing was named"):
        parse_alternatives(text)


@pytest.mark.parametrize("text", ["erm+", "+erm", "erm++dfr"])
def test_a_chain_with_a_gap_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="no name"):
        parse_alternatives(text)


def test_options_carry_type_range_and_space() -> None:
    option = options_of(Example)["threshold"]
    assert (option.type, option.default, option.range, option.space) == (float, 1.0, Range(0, 1), Uniform(0, 1))
    assert options_of(Example)["optimizer"].classes == (Adam, AdamW, SGD, AndAdam)
    assert options_of(Example)["steps"].classes == ()


@given(st.integers(0, 2**32))
def test_spaces_draw_inside_their_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert 2.0 <= Uniform(2.0, 3.0).sample(rng) <= 3.0
    assert 1e-4 * (1 - 1e-9) <= LogUniform(1e-4, 1e-1).sample(rng) <= 1e-1 * (1 + 1e-9)
    assert Choice(("a", 1)).sample(rng) in ("a", 1)


def test_a_log_uniform_space_is_uniform_in_the_logarithm() -> None:
    rng = np.random.default_rng(0)
    logs = np.log10([LogUniform(1e-4, 1.0).sample(rng) for _ in range(4000)])
    quarters = np.histogram(logs, bins=[-4, -3, -2, -1, 0])[0]
    assert (np.abs(quarters - 1000) < 130).all()


def test_the_table_of_options_written_out_names_the_defaults() -> None:
    usual = {entry["name"]: text_of(entry["default"]) for entry in option_table(Example) if not entry["only"]}
    assert instantiate(Example, usual, what="it") == Example()
    assert usual["optimizer.weight_decay"] == "0.001"


def test_the_table_of_options_names_what_must_be_given_and_what_only_another_class_has() -> None:
    assert [(entry["name"], entry["required"]) for entry in option_table(Demanding)] == [
        ("path", True),
        ("size", False),
    ]
    assert {entry["name"]: entry["only"] for entry in option_table(Example) if entry["only"]} == {
        "optimizer.momentum": "optimizer=SGD",
        **dict.fromkeys(
            (f"optimizer.{name}" for name in ("beta1", "beta2", "beta3", "threshold")), "optimizer=AndAdam"
        ),
    }
