"""The contract of architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from holdfast.core.errors import UserError
from holdfast.core.task import Model

Shape = tuple[int, ...]
ModelContract = Callable[[Model, Shape], None]
_OUTPUTS = 3


def gives_outputs(model: Model, shape: Shape) -> None:
    """Inputs (B, *shape) give finite outputs (B, K), in single and in double precision."""
    for dtype in (torch.float32, torch.float64):
        outputs = _build(model, shape).to(dtype)(_inputs(shape).to(dtype))
        assert outputs.shape == (5, _OUTPUTS), f"{model.name} gives {tuple(outputs.shape)}, not {(5, _OUTPUTS)}"
        assert outputs.dtype == dtype, f"{model.name} gives {outputs.dtype} for {dtype}"
        assert torch.isfinite(outputs).all(), f"{model.name} gives numbers that are not finite"


def keeps_rows_apart(model: Model, shape: Shape) -> None:
    """In evaluation mode a row's output depends on no other row."""
    network, inputs = _build(model, shape).double().eval(), _inputs(shape).double()
    alone = torch.cat([network(row[None]) for row in inputs])
    assert torch.allclose(network(inputs), alone), f"{model.name}: a row's output depends on the rest of its batch"


def builds_alike(model: Model, shape: Shape) -> None:
    """Weights come from torch's generator, their names and shapes from nothing random."""
    first, again, other = _build(model, shape), _build(model, shape), _build(model, shape, seed=1)
    for name, weights in first.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name]), (
            f"{model.name}: {name} is not drawn from torch's generator"
        )
    other.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(_inputs(shape)), other.eval()(_inputs(shape))), (
        f"{model.name}: state is not in its weights"
    )


def learns(model: Model, shape: Shape) -> None:
    """A gradient reaches every parameter."""
    network = _build(model, shape)
    network(_inputs(shape)).square().sum().backward()
    missing = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, f"{model.name}: no gradient reaches {', '.join(missing)}"


MODEL_CONTRACTS: tuple[ModelContract, ...] = (gives_outputs, keeps_rows_apart, builds_alike, learns)


def check_model(model: Model, input_shapes: Sequence[Shape] = ((6,), (3, 8, 8))) -> None:
    """Check what an architecture promises.

    Args:
        model: With its options.
        input_shapes: Shapes of a row to try; those that it refuses with a ``UserError`` are left out.

    Raises:
        AssertionError: It breaks a contract, or takes none of the shapes.
    """
    for shape in accepted(model, input_shapes):
        for contract in MODEL_CONTRACTS:
            contract(model, shape)


def accepted(model: Model, input_shapes: Sequence[Shape] = ((6,), (3, 8, 8))) -> list[Shape]:
    """The shapes of a row for which a model can be built.

    Raises:
        AssertionError: There is none.
    """
    shapes = []
    for shape in input_shapes:
        try:
            _build(model, shape)
        except UserError:
            continue
        shapes.append(shape)
    assert shapes, f"{model.name} takes inputs of none of the shapes {input_shapes}"
    return shapes


def _build(model: Model, shape: Shape, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.build(shape, _OUTPUTS)


def _inputs(shape: Shape) -> torch.Tensor:
    return torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))
