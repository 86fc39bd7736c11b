from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.statistics import resampling
from holdfast.statistics.resampling import multiplicities, unit_index


def draw(units, replicates, seed=0):
    return np.concatenate(list(multiplicities(unit_index(len(units), units), replicates, np.random.default_rng(seed))))


def test_rows_of_a_unit_come_together_and_every_replicate_draws_all_units():
    units = np.array([4, 9, 4, 4, 9, 2])
    times = draw(units, 50)
    for unit in (2, 4, 9):
        assert (np.ptp(times[:, units == unit], axis=1) == 0).all()
    assert (times[:, [5, 0, 1]].sum(1) == 3).all()


def test_counts_are_multinomial():
    times = draw(np.arange(20), 20000)
    np.testing.assert_allclose(times.mean(0), 1, atol=0.03)
    np.testing.assert_allclose(times.var(0), 19 / 20, atol=0.05)
    off_diagonal = np.cov(times.T)[~np.eye(20, dtype=bool)]
    assert off_diagonal.mean() == pytest.approx(-1 / 20, abs=0.01)


def test_chunks_are_only_a_matter_of_memory(monkeypatch):
    whole = draw(np.arange(10), 30)
    monkeypatch.setattr(resampling, "CHUNK", 70)
    chunks = list(multiplicities(np.arange(10), 30, np.random.default_rng(0)))
    assert [len(c) for c in chunks] == [7, 7, 7, 7, 2]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


def test_rows_of_unknown_unit_stand_alone():
    index = unit_index(5, [-1, 3, -1, 3, 0])
    assert len(set(index)) == 4
    assert index[1] == index[3]
    assert sorted(set(index)) == list(range(4))
    assert len(unit_index(0, [])) == 0


@pytest.mark.parametrize("units", [[1, 2], [1.0, 2.0, 3.0], [[1, 2, 3]]])
def test_bad_units_are_a_users_error(units):
    with pytest.raises(UserError, match="units must be one integer per row"):
        unit_index(3, units)
