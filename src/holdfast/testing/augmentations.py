"""The contract of augmentations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from holdfast.core.augmentation import Augmentation

AugmentationContract = Callable[[Augmentation], None]
_SHAPES = ((6, 1, 9, 12), (6, 3, 8, 8), (1, 3, 1, 1))


def gives_images(augmentation: Augmentation) -> None:
    """Images keep their shape and precision and stay in [0, 1]; those that were given are left as they are."""
    for shape in _SHAPES:
        for dtype in (torch.float32, torch.float64):
            x = _images(shape).to(dtype)
            changed = augmentation(x, _rng())
            assert changed.shape == x.shape, f"{augmentation.name} gives {tuple(changed.shape)} for {shape}"
            assert changed.dtype == dtype, f"{augmentation.name} gives {changed.dtype} for {dtype}"
            assert bool(((changed >= 0) & (changed <= 1)).all()), f"{augmentation.name} leaves [0, 1]"
            assert torch.equal(x, _images(shape).to(dtype)), f"{augmentation.name} changes the images it is given"


def follows_the_generator(augmentation: Augmentation) -> None:
    """Equal generators give equal images, and other ones others; the global generator is not drawn from."""
    x, state = _images((64, 3, 8, 8)), torch.get_rng_state()
    first, again, other = (augmentation(x, _rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again), f"{augmentation.name} gives other images for the same generator"
    assert not torch.equal(first, other), f"{augmentation.name} gives the same images for two generators"
    assert torch.equal(torch.get_rng_state(), state), f"{augmentation.name} draws from torch's global generator"


def keeps_rows_apart(augmentation: Augmentation) -> None:
    """An image's copy does not depend on the other images."""
    x = _images((64, 3, 8, 8))
    changed = augmentation(torch.cat([x[:32], 1 - x[32:]]), _rng())[:32]
    assert torch.equal(changed, augmentation(x, _rng())[:32]), f"{augmentation.name}: rows depend on each other"


AUGMENTATION_CONTRACTS: tuple[AugmentationContract, ...] = (gives_images, follows_the_generator, keeps_rows_apart)


def check_augmentation(augmentation: Augmentation) -> None:
    """Check what an augmentation promises.

    Raises:
        AssertionError: It breaks a contract; the message says which.
    """
    for contract in AUGMENTATION_CONTRACTS:
        contract(augmentation)


def _images(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=_rng(7))


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
