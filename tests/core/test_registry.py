from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from holdfast.core import registry
from holdfast.core.errors import UserError
from holdfast.core.evaluation import Evaluation
from holdfast.core.options import Range, Reference
from holdfast.core.registry import create, kebab, lookup, plugins, register


@pytest.fixture(autouse=True)
def _registry_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins("evaluation")
    known = {family: dict(classes) for family, classes in registry._PLUGINS.items()}
    monkeypatch.setattr(registry, "_PLUGINS", known)


def new_evaluation() -> type[Evaluation]:
    @register
    @dataclass(frozen=True, kw_only=True)
    class TailRisk(Evaluation):
        share: Annotated[float, Range(0.0, 1.0)] = 0.1
        rounds: int = 2

    return TailRisk


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("AndMask", "and-mask"), ("ERM", "erm"), ("VRex", "v-rex"), ("MLP2Layer", "mlp2-layer"), ("dfr", "dfr")],
)
def test_names_are_kebab_case(name: str, wanted: str) -> None:
    assert kebab(name) == wanted


def test_a_plugin_is_known_by_name_and_made_from_text() -> None:
    cls = new_evaluation()
    assert lookup("evaluation", "tail-risk") is cls
    made = create(Evaluation, "tail-risk:share=0.5")
    assert made == cls(share=0.5)  # type: ignore[call-arg]
    assert made.reference == "tail-risk:share=0.5"
    assert made.describe() == {"name": "tail-risk", "version": 1, "options": {"share": 0.5, "rounds": 2}}
    assert create(Evaluation, made.reference) == made


def test_defaults_yield_to_the_reference() -> None:
    new_evaluation()
    made: Any = create(Evaluation, Reference("tail-risk", (("share", "0.5"),)), share=0.9, rounds=7)
    assert (made.share, made.rounds) == (0.5, 7)


def test_a_name_of_its_own() -> None:
    @register(name="value-at-risk")
    @dataclass(frozen=True)
    class VaR(Evaluation):
        pass

    assert lookup("evaluation", "value-at-risk") is VaR
    assert VaR().reference == "value-at-risk"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("tail-rsik", "unknown evaluation 'tail-rsik': did you mean 'tail-risk'?"),
        ("tail-risk:shore=1", "unknown option of evaluation 'tail-risk' 'shore': did you mean 'share'?"),
        ("tail-risk:share=2", "evaluation 'tail-risk': share=2.0 is out of range: it must lie in [0, 1]"),
    ],
)
def test_mistakes_name_what_is_near(reference: str, message: str) -> None:
    new_evaluation()
    with pytest.raises(UserError) as caught:
        create(Evaluation, reference)
    assert str(caught.value) == message


def test_a_name_is_given_once() -> None:
    new_evaluation()
    new_evaluation()  # the same class again, as a reloaded module gives it

    @dataclass(frozen=True)
    class Other(Evaluation):
        pass

    with pytest.raises(ValueError, match="evaluation 'tail-risk' is already registered by"):
        register(name="tail-risk")(Other)


def test_other_distributions_are_found_by_their_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_plugins.py").write_text(
        "from dataclasses import dataclass\n"
        "from holdfast.core.evaluation import Evaluation\n"
        "from holdfast.core.registry import register\n"
        "@register\n"
        "@dataclass(frozen=True)\n"
        "class Theirs(Evaluation):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = importlib.metadata.EntryPoint("theirs", "their_plugins", registry.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    registry._discover.cache_clear()
    try:
        assert "theirs" in plugins("evaluation")
    finally:
        sys.modules.pop("their_plugins", None)
        registry._discover.cache_clear()


def test_every_family_lists_its_plugins_in_order() -> None:
    for family in registry.PACKAGES:
        names = list(plugins(family))
        assert names == sorted(names)
    assert {"performance", "worst-group", "shift-drop"} <= set(plugins("evaluation"))
