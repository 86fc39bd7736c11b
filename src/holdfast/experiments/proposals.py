"""Which setting a search tries next: at random, evenly, or by what the settings before were worth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from holdfast.core.errors import MissingExtra, unknown_name
from holdfast.core.options import Choice, Distribution, LogUniform, Uniform, options_of
from holdfast.core.seeds import numpy_rng, seed_for
from holdfast.experiments.grid import Chain
from holdfast.experiments.spec import label_of


@dataclass(frozen=True)
class Trial:
    """One setting of a method.

    Attributes:
        chain: The setting.
        merit: How good the selection rule finds it; None where training failed.
        seconds: What its training took, over all folds.
    """

    chain: Chain
    merit: float | None
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """The setting as typed."""
        return label_of(self.chain)


class Proposals(Protocol):
    """Proposes settings of a method. The first trial is the setting as given; the same question has one answer.

    Attributes:
        needs_scores: Whether a proposal depends on what the settings before were worth.
    """

    needs_scores: ClassVar[bool]

    def propose(self, chain: Chain, told: Sequence[Trial]) -> Chain:
        """The setting that follows some.

        Args:
            chain: The method as given.
            told: The trials before, of which there is one for each proposal so far; without merit where
                ``needs_scores`` is false.
        """


@dataclass(frozen=True)
class Searched:
    """An option with a search distribution.

    Attributes:
        place: Of its method in the chain.
        path: Names of options that lead to it, such as ``optimizer``, ``lr``.
        space: Its distribution.
    """

    place: int
    path: tuple[str, ...]
    space: Distribution


Values = Mapping[Searched, Any]


@dataclass(frozen=True)
class Random:
    """Every option drawn afresh, each from a random stream of its own: an option more changes no other."""

    needs_scores: ClassVar[bool] = False
    seed: int = 0

    def propose(self, chain: Chain, told: Sequence[Trial]) -> Chain:
        if not told:
            return chain
        return changed(chain, {option: self._drawn(chain, option, len(told)) for option in searched(chain)})

    def _drawn(self, chain: Chain, option: Searched, trial: int) -> Any:
        stream: tuple[str | int, ...] = ("search", chain[option.place].name, option.place, trial, *option.path)
        return option.space.sample(numpy_rng(self.seed, *stream))


@dataclass(frozen=True)
class Sobol:
    """Points that fill the space evenly, however many are asked for: a scrambled Sobol sequence.

    I. M. Sobol', *On the distribution of points in a cube and the approximate evaluation of integrals*, 1967; A. B.
    Owen, *Scrambling Sobol' and Niederreiter–Xing points*, Journal of Complexity 1998.
    """

    needs_scores: ClassVar[bool] = False
    seed: int = 0

    def propose(self, chain: Chain, told: Sequence[Trial]) -> Chain:
        options = searched(chain)
        if not told or not options:
            return chain
        from scipy.stats.qmc import Sobol as Sequence_

        names = [method.name for method in chain]
        points = Sequence_(len(options), rng=numpy_rng(self.seed, "search", "sobol", *names))
        point = points.random_base2((len(told) - 1).bit_length())[len(told) - 1]
        return changed(chain, {option: option.space.at(float(u)) for option, u in zip(options, point, strict=True)})


@dataclass(frozen=True)
class Optuna:
    """Settings like those that were good so far: Optuna's tree-structured Parzen estimator.

    J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl, *Algorithms for hyper-parameter optimization*, NeurIPS 2011; T. Akiba,
    S. Sano, T. Yanase, T. Ohta, M. Koyama, *Optuna: a next-generation hyperparameter optimization framework*, KDD 2019,
    arXiv:1907.10902. The study is made anew from the trials for each proposal, so that a search that was stopped goes
    on as if it had not been.

    Raises:
        MissingExtra: Optuna is not installed.
    """

    needs_scores: ClassVar[bool] = True
    seed: int = 0

    def __post_init__(self) -> None:
        _optuna()

    def propose(self, chain: Chain, told: Sequence[Trial]) -> Chain:
        options = {_name(option): option for option in searched(chain)}
        if not told or not options:
            return chain
        optuna = _optuna()
        spaces = {name: _distribution(option.space) for name, option in options.items()}
        sampler = optuna.samplers.TPESampler(seed=seed_for(self.seed, "search", "optuna", len(told)) % 2**32)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in told:
            found = {name: _inside(option.space, value_of(trial.chain, option)) for name, option in options.items()}
            study.add_trial(
                optuna.trial.create_trial(
                    params=found,
                    distributions=spaces,
                    value=trial.merit,
                    state=optuna.trial.TrialState.FAIL if trial.merit is None else optuna.trial.TrialState.COMPLETE,
                )
            )
        asked = study.ask(spaces).params
        return changed(chain, {option: _meant(option.space, asked[name]) for name, option in options.items()})


PROPOSALS: Mapping[str, type[Random] | type[Sobol] | type[Optuna]] = {
    "random": Random,
    "sobol": Sobol,
    "optuna": Optuna,
}
"""By the names that the command line has for them."""


def proposals_of(name: str) -> Proposals:
    """The proposals of this name.

    Raises:
        UserError: There are none.
        MissingExtra: They need a library that is not installed.
    """
    if name not in PROPOSALS:
        raise unknown_name("sampler", name, PROPOSALS)
    return PROPOSALS[name]()


def searched(chain: Chain) -> tuple[Searched, ...]:
    """The options of a chain that have a search distribution, in order."""
    return tuple(found for place, method in enumerate(chain) for found in _searched(method, place, ()))


def value_of(chain: Chain, option: Searched) -> Any:
    """What an option is set to."""
    value: Any = chain[option.place]
    for name in option.path:
        value = getattr(value, name)
    return value


def changed(chain: Chain, values: Values) -> Chain:
    """A chain with options set anew."""
    methods = list(chain)
    for option, value in values.items():
        methods[option.place] = _with(methods[option.place], option.path, value)
    return tuple(methods)


def _searched(instance: Any, place: int, path: tuple[str, ...]) -> Iterator[Searched]:
    for name, option in options_of(type(instance)).items():
        value = getattr(instance, name)
        if option.space is not None:
            yield Searched(place, (*path, name), option.space)
        elif dataclasses.is_dataclass(value):
            yield from _searched(value, place, (*path, name))


def _with(instance: Any, path: Sequence[str], value: Any) -> Any:
    first, *rest = path
    return dataclasses.replace(instance, **{first: _with(getattr(instance, first), rest, value) if rest else value})


def _name(option: Searched) -> str:
    return f"{option.place} {'.'.join(option.path)}"


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtra("optuna", "search") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(space: Distribution) -> Any:
    optuna = _optuna()
    if isinstance(space, Choice):
        return optuna.distributions.CategoricalDistribution(tuple(range(len(space.values))))
    if isinstance(space, (Uniform, LogUniform)):
        return optuna.distributions.FloatDistribution(space.low, space.high, log=isinstance(space, LogUniform))
    return optuna.distributions.FloatDistribution(0.0, 1.0)  # a distribution of somebody else's, by its shares


def _inside(space: Distribution, value: Any) -> Any:
    """A value as Optuna keeps it, moved into the space where the given setting lies outside."""
    if isinstance(space, Choice):
        return space.values.index(value) if value in space.values else 0
    if isinstance(space, (Uniform, LogUniform)):
        return min(max(float(value), space.low), space.high) if math.isfinite(value) else space.high
    return 0.5


def _meant(space: Distribution, value: Any) -> Any:
    """What Optuna's value stands for."""
    if isinstance(space, Choice):
        return space.values[value]
    return value if isinstance(space, (Uniform, LogUniform)) else space.at(value)
