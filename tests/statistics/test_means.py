from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.statistics.means import ratio, row_weights, weighted_mean


def test_many_weightings_are_the_single_ones_stacked():
    rng = np.random.default_rng(0)
    rows, weights = rng.normal(size=7), rng.random((3, 7))
    wanted = [np.average(rows, weights=w) for w in weights]
    np.testing.assert_allclose(weighted_mean(rows, weights), wanted, rtol=1e-14)


def test_no_weight_is_nan_and_infinity_counts_only_where_it_weighs():
    rows = np.array([1.0, np.inf])
    got = weighted_mean(rows, np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 1e-9]]))
    np.testing.assert_array_equal(got, [np.nan, 1.0, np.inf])


def test_ratio_of_zero_denominators_warns_of_nothing():
    np.testing.assert_array_equal(ratio([1.0, 0.0, 3.0], [0.0, 0.0, 2.0]), [np.nan, np.nan, 1.5])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf], [[1.0, 1.0]]])
def test_bad_weights_are_a_users_error(weights):
    with pytest.raises(UserError, match="weights must be"):
        row_weights(2, weights)
