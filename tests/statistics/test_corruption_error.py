"""Mean corruption errors against values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.statistics.corruption_error import ALEXNET, ALEXNET_CLEAN, mce, relative_mce

ERRORS = {"fog": [0.2, 0.4], "snow": [0.1, 0.5], "contrast": [0.3, 0.3]}
REFERENCE = {"fog": [0.5, 0.7], "snow": [0.6, 0.6], "contrast": [0.4, 0.2], "more": [1.0, 1.0]}


def test_by_hand() -> None:
    assert mce(ERRORS) == pytest.approx(0.3)
    assert mce(ERRORS, REFERENCE) == pytest.approx((0.6 / 1.2 + 0.6 / 1.2 + 0.6 / 0.6) / 3)
    assert relative_mce(ERRORS, 0.1) == pytest.approx(0.2)
    by_hand = ((0.6 - 0.2) / (1.2 - 0.4) + (0.6 - 0.2) / (1.2 - 0.4) + (0.6 - 0.2) / (0.6 - 0.4)) / 3
    assert relative_mce(ERRORS, 0.1, REFERENCE, 0.2) == pytest.approx(by_hand)


def test_alexnet_against_itself_is_one() -> None:
    own = {name: [error] * 5 for name, error in ALEXNET.items()}
    assert len(ALEXNET) == 15
    assert mce(own, ALEXNET) == pytest.approx(1)
    assert relative_mce(own, ALEXNET_CLEAN, ALEXNET, ALEXNET_CLEAN) == pytest.approx(1)


def test_half_of_alexnets_errors_is_one_half() -> None:
    assert mce({name: error / 2 for name, error in ALEXNET.items()}, ALEXNET) == pytest.approx(0.5)


def test_a_reference_that_loses_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"the reference loses 0\.001 under 'fog'") as error:
        relative_mce({"fog": 0.5}, 0.1, {"fog": 0.201}, 0.2)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="under 'fog', too little to divide by"):
        mce({"fog": 0.5}, {"fog": 0.0})


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({}, "one corruption at least"),
        ({"fog": [0.2, 20.0]}, "under 'fog' must be shares"),
        ({"fog": [np.nan]}, "must be shares"),
        ({"fog": []}, "must be shares"),
        ({"fogg": [0.1]}, "unknown corruption of the reference 'fogg': did you mean 'fog'"),
    ],
    ids=str,
)
def test_errors_that_are_none(errors: dict[str, list[float]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mce(errors, ALEXNET)


def test_a_clean_error_in_percent_is_refused() -> None:
    with pytest.raises(UserError, match="errors under 'clean'"):
        relative_mce(ERRORS, 12.0)
