"""How alike several classifiers are in what they say of the same rows.

Shapes: H heads, B rows, C classes. Probabilities are those of softmax: non-negative, each row's sum is 1.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def mutual_information(first: Tensor, second: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mutual information, in nats, of the classes that two heads name for a row drawn from a batch.

    The joint distribution is the mean over rows of the products p(c)·q(k): 0 where the heads are independent, the
    entropy of the classes where they name the same one with certainty. Logarithms of zero are kept finite, so that
    heads that are certain have a gradient.

    Lee, Yao, Finn, *Diversify and disambiguate: learning from underspecified data*, ICLR 2023, arXiv:2202.03418.

    Args:
        first: (B, C) probabilities.
        second: (B, K) probabilities.
        weight: (B,) non-negative row weights; None for all equal.

    >>> certain = torch.eye(2)
    >>> round(mutual_information(certain, certain).item(), 4)
    0.6931
    >>> mutual_information(certain, torch.full((2, 2), 0.5)).item()
    0.0
    """
    share = _shares(first, weight)
    joint = torch.einsum("b,bc,bk->ck", share, first, second)
    apart = _log(joint.sum(dim=1))[:, None] + _log(joint.sum(dim=0))[None, :]
    return (joint * (_log(joint) - apart)).sum()


def mean_mutual_information(probabilities: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean over pairs of heads of :func:`mutual_information`.

    Args:
        probabilities: (H, B, C), of at least two heads.
        weight: (B,) non-negative row weights; None for all equal.
    """
    pairs = itertools.combinations(probabilities, 2)
    return torch.stack([mutual_information(first, second, weight) for first, second in pairs]).mean()


def divergence_from_prior(probabilities: Tensor, prior: Tensor, weight: Tensor | None = None) -> Tensor:
    """KL divergence, in nats, of a head's mean prediction from a distribution of the labels.

    It is 0 where the head names every class as often as the prior does, and keeps a head from naming one for all rows.
    A class that the prior excludes costs much, but not infinitely much.

    Args:
        probabilities: (B, C).
        prior: (C,), its sum is 1.
        weight: (B,) non-negative row weights; None for all equal.

    >>> round(divergence_from_prior(torch.tensor([[1.0, 0.0]]), torch.tensor([0.5, 0.5])).item(), 4)
    0.6931
    """
    mean = torch.einsum("b,bc->c", _shares(probabilities, weight), probabilities)
    return (mean * (_log(mean) - _log(prior))).sum()


def disagreement_loss(known: Tensor, fresh: Tensor) -> Tensor:
    """D-BAT: how far a new model is from contradicting a known one, on each row.

    With p the known model's largest probability and q the new model's of that class, −log(p(1 − q) + q(1 − p) + 1e-7):
    near 0 where exactly one of them names it.

    Pagliardini, Jaggi, Fleuret, Karimireddy, *Agree to disagree: diversity through disagreement for better
    transferability*, ICLR 2023, arXiv:2202.04414.

    Args:
        known: (B, C) probabilities of a model that is not trained any more.
        fresh: (B, C) probabilities of the new one.

    Returns:
        (B,).

    >>> known = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> disagreement_loss(known, torch.tensor([[0.0, 1.0], [0.5, 0.5]])).round(decimals=3).abs()
    tensor([0.0000, 0.6930])
    """
    p, named = known.detach().max(dim=1)
    q = fresh.gather(1, named[:, None]).squeeze(1)
    return -torch.log(p * (1 - q) + q * (1 - p) + 1e-7)


def dispute(probabilities: Tensor) -> Tensor:
    """How much heads contradict each other on each row: the mean over pairs of the L1 distance of their probabilities.

    Args:
        probabilities: (H, B, C), of at least two heads.

    Returns:
        (B,) in [0, 2].

    >>> dispute(torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]))
    tensor([2., 0.])
    """
    pairs = itertools.combinations(probabilities, 2)
    return torch.stack([(first - second).abs().sum(dim=1) for first, second in pairs]).mean(dim=0)


def _shares(rows: Tensor, weight: Tensor | None) -> Tensor:
    """(B,) shares of the rows, of sum 1."""
    if weight is None:
        return rows.new_full((len(rows),), 1 / len(rows))
    return (weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)).to(rows.dtype)


def _log(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny).log()
