"""What a run has taught of the objective that only a training tells, as a function of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from coevo.learning.features import VIEWS, Encoding, Features, gene_features
from coevo.learning.process import Process, evidence
from coevo.learning.regression import boosted_trees
from coevo.optim.archive import Archive
from coevo.protocols import Array, Problem, is_network
from coevo.space import Genomes

Learner = Literal["gaussian_process", "gradient_boosting"]

OPTIMISM = 1.0
"""Standard deviations by which a search takes unknown values to be better than expected."""
TREES = 16
"""Boosted ensembles, each of a bootstrap of the networks: how they differ says how little is known."""

_RIDGE = 1.0
"""Weight of the belief that a training succeeds, in networks."""


class Model(Protocol):
    """A fitted regression."""

    def bound(self, encoded: Array, deviations: float) -> Array:
        """Returns expected values plus so many standard deviations ``(network,)``."""

    def draws(self, encoded: Array, normal: Array) -> Array:
        """Returns what the values may be ``(draw, network)``, from standard normal numbers ``(draw, network)``."""


class BoostedModel:
    """Gradient-boosted trees on bootstraps of the networks; a draw is what one of the ensembles says."""

    def __init__(self, encoded: Array, values: Array, rng: np.random.Generator) -> None:
        seeds = rng.integers(0, 2**31, size=TREES)
        rows = [rng.integers(0, len(values), size=len(values)) for _ in seeds]
        self._members = [
            boosted_trees(encoded[row], values[row], int(seed)) for row, seed in zip(rows, seeds, strict=True)
        ]

    def bound(self, encoded: Array, deviations: float) -> Array:
        """Returns the members' mean plus so many of their standard deviations ``(network,)``."""
        said = self._said(encoded)
        return np.asarray(said.mean(axis=0) + deviations * said.std(axis=0))

    def draws(self, encoded: Array, normal: Array) -> Array:
        """Returns what the members say ``(draw, network)``, in turn."""
        return np.resize(self._said(encoded), (len(normal), len(encoded)))

    def _said(self, encoded: Array) -> Array:
        return np.array([member.predict(encoded) for member in self._members]).reshape(TREES, len(encoded))


class ErrorModel:
    """Learns the unknown objective of networks, from genomes of which only the network's genes are read.

    What it learns from are the problem's features if it has any (`Problem`), else the genes; of several kinds of
    features, those over which the values are most likely (`evidence`), looked at again whenever twice as much is known.

    Args:
        problem: What is searched.
        learner: The regression.
        rng: Source of all randomness.
    """

    def __init__(self, problem: Problem, learner: Learner, rng: np.random.Generator) -> None:
        self._problem = problem
        self._learner = learner
        self._rng = rng
        self._genes = is_network(problem.space)
        self._space = problem.space.part(self._genes)
        self._features: dict[tuple[str, bytes], Features] = {}
        self._view = ""
        self._chosen_of = 0
        self._encoding: Encoding | None = None
        self._model: Model | None = None
        self._luck: _Luck | None = None

    def fit(self, genomes: Genomes, values: Array, failed: Genomes) -> None:
        """Learns anew.

        Args:
            genomes: One of each network whose value is known ``(network, gene)``; at least two.
            values: ``(network,)``.
            failed: One of each network that hardware allowed and that came to nothing all the same
                ``(failed network, gene)``.
        """
        if len(genomes) >= 2 * self._chosen_of:
            self._choose_view(genomes, values)
        features = self._of(genomes, self._view)
        self._encoding = Encoding.of(features)
        encoded = self._encoding(features)
        near = self._model if isinstance(self._model, Process) else None
        process = Process(encoded, values, near)
        self._model = process if self._learner == "gaussian_process" else BoostedModel(encoded, values, self._rng)
        self._luck = _Luck(process, self._encode(failed)) if len(failed) else None

    def learn(self, archive: Archive, column: int) -> None:
        """Learns what an archive knows of an objective, the column of its values: of two networks at the least."""
        rows = list(archive.measured().values())
        failed = list(archive.failed().values())
        self.fit(archive.genomes[rows], archive.values[rows, column], archive.genomes[failed])

    def bound(self, genomes: Genomes, deviations: float) -> Array:
        """Returns the expected value plus so many standard deviations, of genomes' networks ``(batch,)``."""
        assert self._model is not None
        return self._model.bound(self._encode(genomes), deviations)

    def draws(self, genomes: Genomes, count: int) -> Array:
        """Returns what the values of genomes' networks may be, all together ``(draw, batch)``."""
        assert self._model is not None
        half = self._rng.standard_normal(((count + 1) // 2, len(genomes)))
        return self._model.draws(self._encode(genomes), np.concatenate([half, -half])[:count])

    def success(self, genomes: Genomes) -> Array:
        """Returns how likely the trainings of genomes' networks are to give a value, 0..1 ``(batch,)``."""
        return np.ones(len(genomes)) if self._luck is None else self._luck.of(self._encode(genomes))

    def _choose_view(self, genomes: Genomes, values: Array) -> None:
        views = self._views
        likelihood = {}
        for view in views if len(views) > 1 else ():
            features = self._of(genomes, view)
            likelihood[view] = evidence(Encoding.of(features)(features), values)
        self._view = max(views, key=lambda view: likelihood.get(view, 0.0))
        self._chosen_of = len(genomes)
        self._model = None  # another view's kernel is no place to start from

    @property
    def _views(self) -> Sequence[str]:
        return tuple(getattr(self._problem, "views", ("genes",)))

    def _encode(self, genomes: Genomes) -> Array:
        assert self._encoding is not None
        return self._encoding(self._of(genomes, self._view))

    def _of(self, genomes: Genomes, view: str) -> list[Features]:
        """The features of genomes' networks, each computed once."""
        keys = [(view, row.tobytes()) for row in genomes[:, self._genes]]
        new = {key: i for i, key in enumerate(keys) if key not in self._features}
        rows = genomes[list(new.values())]
        for key, features in zip(new, self._described(rows, view), strict=True):
            self._features[key] = features
        return [self._features[key] for key in keys]

    def _described(self, genomes: Genomes, view: str) -> Sequence[Features]:
        described: Any = getattr(self._problem, "features", None)
        if described is not None:
            return list(described(genomes, VIEWS[view]))
        return [gene_features(self._space, self._space.decode(row)) for row in genomes[:, self._genes]]


class _Luck:
    """How likely trainings are to give a value, by networks alike: the share of successes, weighted by likeness."""

    def __init__(self, process: Process, failed: Array) -> None:
        self._process = process
        self._failed = failed

    def of(self, encoded: Array) -> Array:
        """Returns the probability ``(network,)`` of networks' features."""
        good = self._process.likeness(encoded).sum(axis=1) + _RIDGE
        bad = self._process.likeness(encoded, self._failed).sum(axis=1)
        return np.asarray(good / (good + bad))


def hoped(
    problem: Problem,
    archive: Archive,
    known: Mapping[bytes, Array],
    models: Mapping[int, ErrorModel],
    genomes: Genomes,
) -> tuple[Array, Array]:
    """Returns figures of designs whose networks need not be trained, the unknown ones on the optimistic side.

    Args:
        problem: What is searched.
        archive: Names networks.
        known: Values ``(objective,)`` of networks trained, by their keys.
        models: Of the objectives that only a training tells, by column.
        genomes: ``(design, gene)``.

    Returns:
        values ``(design, objective)``: the hardware's exact, others known or `OPTIMISM` deviations better than
        expected; 0 where the violation ``(design,)``, of hardware's constraints, is positive.
    """
    values, violation = problem.hardware(genomes)
    values = values.copy()
    keys = archive.network_keys(genomes)
    for column, model in models.items():
        values[:, column] = [known[key][column] if key in known else np.nan for key in keys]
        guessed = np.isnan(values[:, column]) & (violation == 0)
        if guessed.any():
            values[guessed, column] = model.bound(genomes[guessed], -OPTIMISM)
    values[violation > 0] = 0.0
    return values, violation
