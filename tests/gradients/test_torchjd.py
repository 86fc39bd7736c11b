"""torchjd's weightings in our engine against torchjd on the whole Jacobian, and our PCGrad against theirs."""

from __future__ import annotations

import sys

import pytest
import torch
from gradient_checks import squares
from torch import nn

from holdfast.core.errors import UserError
from holdfast.gradients import GramianEngine, PCGrad, torchjd_weighting

aggregation = pytest.importorskip("torchjd.aggregation", reason="torchjd is not installed: holdfast[aggregate]")


@pytest.mark.parametrize("name", ["AlignedMTL", "IMTLG", "MGDA", "UPGrad"])
def test_updates_are_those_of_torchjd(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, groups = torch.randn(12, 3).double(), torch.arange(12) % 4
    means = squares(model(x)).view(3, 4).mean(0)
    rows = [torch.autograd.grad(mean, list(model.parameters()), retain_graph=True) for mean in means]
    jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    wanted = getattr(aggregation, name)()(jacobian)
    GramianEngine(model).backward(squares(model(x)), groups, weighting=torchjd_weighting(name))
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert torch.allclose(found, wanted, rtol=1e-6)


def test_our_pcgrad_is_theirs_where_the_order_does_not_matter() -> None:
    gramian = torch.tensor([[1.0, -1.0], [-1.0, 2.0]], dtype=torch.float64)
    theirs, _ = torchjd_weighting("PCGrad")(gramian, {})
    ours, _ = PCGrad()(gramian, {})
    assert torch.allclose(theirs, 2 * ours)  # a sum where ours is a mean


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("UPGard", {}, "did you mean 'UPGrad'"),
        ("Mean", {}, "unknown weighting"),  # reads the Jacobian, not the Gramian
        ("Krum", {}, "n_byzantine"),
    ],
)
def test_what_cannot_be_made_is_one_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        torchjd_weighting(name, **options)
    assert "\n" not in str(error.value)


def test_without_torchjd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(UserError, match=r"pip install 'holdfast\[aggregate\]'"):
        torchjd_weighting("UPGrad")
