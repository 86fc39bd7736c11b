"""The claim ilc/cloning: equal grids, and a verdict that decides in both directions."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.task import TaskData
from holdfast.reproductions.ilc_cloning import GRIDS, MEASURED, IlcCloning, Setting
from holdfast.selection import EnvironmentCyclingSampler
from holdfast.training import AndAdam

SMALL = IlcCloning(seeds=2, levels=3, rows=20, test_levels=2, steps=4)


def verdict(monkeypatch: pytest.MonkeyPatch, *gains: float) -> str:
    """The verdict if Adam's loss were one in each seed, and AND-Adam's that less these gains."""

    def scores(self: IlcCloning, setting: Setting, world: TaskData, seed: int) -> np.ndarray:
        masked = isinstance(setting.optimizer, AndAdam)
        return np.array([1.0 - gains[seed] * masked, 0.9, 0.5, 0.6])

    monkeypatch.setattr(IlcCloning, "_world", lambda self, seed: None)
    monkeypatch.setattr(IlcCloning, "_chosen", lambda self, grid: grid[0])
    monkeypatch.setattr(IlcCloning, "_scores", scores)
    finding = IlcCloning(seeds=len(gains)).reproduce()
    assert finding.measured["test loss of Adam − of AND-Adam"].value == pytest.approx(np.mean(gains))
    assert f"lower in {sum(gain > 0 for gain in gains)} of {len(gains)} seeds" in finding.reason
    return finding.verdict


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ((0.1, 0.11, 0.09, 0.1, 0.1), "holds"),
        ((0.1, 0.11, 0.09, 0.1, -0.001), "holds"),
        ((0.1, 0.11, 0.09, 0.1, -0.1), "inconclusive"),
        ((0.0, 0.0, 0.0, 0.0, 0.0), "inconclusive"),
        ((0.3, 0.001, -0.001, 0.001, 0.001), "inconclusive"),
        ((-0.1, -0.11, -0.09, -0.1, -0.1), "fails"),
        ((-0.3, 0.001, -0.001, -0.001, -0.001), "inconclusive"),
    ],
    ids=str,
)
def test_the_paired_interval_decides(monkeypatch: pytest.MonkeyPatch, gains: tuple[float, ...], said: str) -> None:
    assert verdict(monkeypatch, *gains) == said


def test_every_method_has_as_many_settings() -> None:
    assert {name: len(set(map(repr, grid))) for name, grid in GRIDS.items()} == dict.fromkeys(GRIDS, 8)
    assert all(s.sampler is EnvironmentCyclingSampler for s in GRIDS["AND-Adam"])
    assert not any(s.sampler is EnvironmentCyclingSampler for s in (*GRIDS["Adam"], *GRIDS["AND-mask"]))


def test_the_setting_with_the_least_selection_loss_is_chosen() -> None:
    world = SMALL._world(1000)
    losses = [SMALL._trained(setting, world, 1000).loss("selection") for setting in GRIDS["Adam"]]
    assert SMALL._chosen(GRIDS["Adam"]) == GRIDS["Adam"][int(np.argmin(losses))]


def test_a_miniature_runs_alike_every_time() -> None:
    one, again = SMALL.reproduce(), SMALL.reproduce()
    assert one == again
    assert {f"{name}: {what}" for name in GRIDS for what in MEASURED} < set(one.measured)
