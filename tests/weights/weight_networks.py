"""Small networks and rows that the tests of the weights kit share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from holdfast.core.data import Column, Dataset


def mlp(*widths: int, seed: int = 0) -> nn.Sequential:
    """Linear layers of these widths with ReLU between, in double precision."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for one, other in itertools.pairwise(widths):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


def convnet(seed: int = 0) -> nn.Sequential:
    """Convolutions with batch normalisation, a flattened picture of 4 positions, and two linear layers."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Conv2d(5, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 7),
        nn.LayerNorm(7),
        nn.Tanh(),
        nn.Linear(7, 3),
    ).double()
    with torch.no_grad():
        for norm in (net[0][1], net[6]):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_()
    net(torch.randn(16, 1, 6, 6, dtype=torch.float64))  # running statistics that are not 0 and 1
    return net.eval()


def rows(n: int = 40, inputs: int = 4, classes: int = 3, seed: int = 0, weighted: bool = False) -> Dataset:
    """Random rows from two environments."""
    rng = torch.Generator().manual_seed(seed)
    return Dataset(
        torch.randn(n, inputs, generator=rng, dtype=torch.float64),
        torch.randint(classes, (n,), generator=rng),
        Column(torch.arange(n) % 2, ("even", "odd")),
        weight=torch.rand(n, generator=rng, dtype=torch.float64) if weighted else None,
    )


def images(batches: int = 3) -> Iterator[Tensor]:
    rng = torch.Generator().manual_seed(1)
    return (torch.randn(16, 1, 6, 6, generator=rng, dtype=torch.float64) for _ in range(batches))
