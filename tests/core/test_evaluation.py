from __future__ import annotations

import pytest
import torch

from holdfast.core.evaluation import Prediction


def test_outputs_are_two_dimensional_for_every_kind() -> None:
    logits = torch.randn(3, 4)
    assert Prediction(logits=logits).outputs is logits
    assert Prediction(mean=torch.tensor([1.0, 2.0])).outputs.tolist() == [[1.0], [2.0]]
    with pytest.raises(AssertionError, match="logits or a mean"):
        _ = Prediction().outputs
