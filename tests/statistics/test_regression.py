from __future__ import annotations

import numpy as np

from holdfast.statistics.regression import explained_variance


def test_a_resample_of_one_row_has_no_variance_to_explain_whatever_the_rounding():
    y = np.random.default_rng(0).normal(size=40)
    one_row_thrice = 3.0 * np.eye(40)
    assert np.isnan(explained_variance(y, np.zeros(40), one_row_thrice)).all()


def test_a_large_mean_does_not_cancel():
    y = np.random.default_rng(1).normal(size=50)
    small, large = explained_variance(y, y / 2, np.ones(50)), explained_variance(y + 1e6, y / 2 + 1e6, np.ones(50))
    np.testing.assert_allclose(large, small, rtol=1e-6)
