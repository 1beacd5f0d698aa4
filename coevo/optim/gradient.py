"""Gradient-based co-search, a baseline: network and accelerator genes relaxed by the Gumbel softmax.

Every gene is a categorical distribution over its choices, given by logits. A sample is drawn by the Gumbel softmax
(E. Jang, S. Gu, B. Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017), straight through: hard
forwards, soft backwards; the temperature falls, and in the end the logits are rounded. Network and accelerator descend
together, as in DANCE (K. Choi et al., DAC 2021) and, for machines and mappings, DOSA (C. Hong et al., MICRO 2023). A
sweep of random weights, each a Tchebycheff sum of its own, gives a front.

What is differentiated is the expected loss, and exactly: of a sample, every gene is set to every choice in turn, and
the losses of these alternatives are the gradient with respect to the sample's relaxed genes (local expectation
gradients: M. Titsias, M. Lazaro-Gredilla, NeurIPS 2015; the loss's multilinear extension is linear in each
gene). So costs are those of the cost model, each alternative under its own best mapping, where the derivative of a
relaxed model (`coevo.cost.relaxed`) is that of one mapping that is held fixed, and where a choice of template or
dataflow has no derivative at all. DANCE learns a network of the hardware instead; here nothing is learnt that is known.
Errors are learnt from the trainings so far (`coevo.optim.error_model`), as for `nsga2`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from coevo.optim.archive import Archive
from coevo.optim.error_model import ErrorModel, hoped
from coevo.optim.expected_gain import RHO
from coevo.optim.nsga2 import LEAST_MEASURED, NSGA2Settings, toolbox_of
from coevo.optim.operators import spread
from coevo.optim.pairing import Pairing
from coevo.optim.proposals import propose
from coevo.optim.ranges import Range
from coevo.optim.unseen import Seen, check_told, first_of_equal, keys, left_open
from coevo.protocols import Array, Problem
from coevo.space import Genomes, Space

HEAD_START = 2.0
"""Logit of the choices of the best design told, with which a descent begins; those of the others are 0."""
HOT, COLD = 2.0, 0.2
"""Temperatures of the first and of the last step."""
DECAYS = 0.9, 0.99
"""Of the means that Adam keeps (D. Kingma, J. Ba, ICLR 2015)."""

LossOf = Callable[[int, Genomes], Array]


class GradientSettings(BaseModel):
    """Settings of gradient-based search.

    Attributes:
        batch: Weights swept in an ask: descents, each of which asks for a network.
        steps: Of a descent.
        rate: Adam's, of logits.
        initial: Networks that are asked for before any is descended to.
        error_model: What learns objectives that only a training tells.
        trials: Accelerators that a network meets in a round before it is asked for, as NSGA-II's.
        pairings: Accelerators that it is proposed with, at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    batch: int = Field(default=8, ge=1, le=1024)
    steps: int = Field(default=24, ge=2)
    rate: float = Field(default=0.3, gt=0)
    initial: int = Field(default=10, ge=2)
    error_model: Literal["gaussian_process", "gradient_boosting"] = "gaussian_process"
    trials: int = Field(default=32, ge=1)
    pairings: int = Field(default=16, ge=1)


class Gradient:
    """Descends from the best designs told.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness.
    """

    Settings: ClassVar[type[BaseModel]] = GradientSettings

    def __init__(self, problem: Problem, settings: GradientSettings, rng: np.random.Generator) -> None:
        self._problem = problem
        self._settings = settings
        self._rng = rng
        self._seen = Seen(problem.space)
        self._archive = Archive(problem)
        self._range = Range(len(problem.objectives))
        self._asked: set[bytes] = set()
        self._unknown = np.flatnonzero(left_open(problem)).tolist() if self._archive.is_network.any() else []
        self._models = {k: ErrorModel(problem, settings.error_model, rng) for k in self._unknown}
        toolbox = toolbox_of(problem.space, NSGA2Settings(), rng)
        self._pairing = Pairing(problem, toolbox, settings.trials, settings.pairings, rng)

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        chosen = self._problem.space.sample(self._rng, 0)
        lacking = self._settings.initial - len(self._asked)
        if lacking <= 0 and len(self._archive.measured()) >= LEAST_MEASURED:
            chosen = self._descended()
            self._seen.add(chosen)
        if not len(chosen):
            chosen = self._first(lacking if lacking > 0 else self._settings.batch)
        self._asked.update(self._keys(chosen))
        return self._pairing.of(chosen, self._archive.genomes, self._seen)

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Takes in designs ``(batch, gene)``, asked for or not.

        Args:
            genomes: Canonical. Of a design told twice the first figures count.
            values: ``(batch, objective)``, minimised; rows with violation > 0 are not read.
            violation: ``(batch,)``, 0 if feasible.

        Raises:
            ValueError: As `check_told`.
        """
        values, violation = check_told(self._problem, genomes, values, violation)
        self._seen.add(genomes)
        self._asked.update(self._keys(genomes))
        self._archive.add(genomes, values, violation)
        self._range.add(values[violation == 0])

    def _first(self, count: int) -> Genomes:
        """Returns new designs spread over the space ``(at most count, gene)``; those that hardware allows first."""

        def source(number: int) -> Genomes:
            return spread(self._problem.space, number, self._rng)

        return propose(self._problem, self._seen, count, source, hardware_screen=True, rng=self._rng)

    def _keys(self, genomes: Genomes) -> list[bytes]:
        """What is asked for once: a network where it is trained, else a design ``(batch,)``."""
        return self._archive.network_keys(genomes) if self._unknown else keys(genomes)

    # -- descent -----------------------------------------------------------------------------------------------

    def _descended(self) -> Genomes:
        """Returns what the descents end at ``(at most batch, gene)``, each a network that was not asked for."""
        losses = self._losses()
        weights = self._rng.dirichlet(np.ones(len(self._problem.objectives)), size=self._settings.batch)
        chosen: dict[bytes, Genomes] = {}
        met = descend(
            self._problem.space,
            self._begin(losses, weights),
            lambda row, genomes: losses(genomes, weights[row]),
            steps=self._settings.steps,
            rate=self._settings.rate,
            rng=self._rng,
        )
        for row, genomes in enumerate(met):
            of = self._keys(genomes)
            open_ = [i for i, key in enumerate(of) if key not in self._asked and key not in chosen]
            open_ = [i for i in open_ if not self._seen.has(genomes[i])]
            if open_:
                best = open_[int(np.argmin(losses(genomes[open_], weights[row])))]
                chosen[of[best]] = genomes[best]
        return np.array(list(chosen.values()), dtype=np.int64).reshape(-1, len(self._problem.space.genes))

    def _begin(self, losses: Losses, weights: Array) -> Genomes:
        """Returns the best design told for each weight ``(weight, gene)``."""
        told = self._archive.genomes[self._archive.violation == 0]
        best: Genomes = told[[int(np.argmin(losses(told, of))) for of in weights]]
        return best

    def _losses(self) -> Losses:
        """Learns from what was told, and returns what gives designs their losses."""
        for column, model in self._models.items():
            model.learn(self._archive, column)
        return Losses(self._problem, self._archive, self._models, self._range)


class Losses:
    """The augmented Tchebycheff function of designs: the hardware's objectives exact, others known or hoped for.

    Designs are looked up once. One that hardware rules out is worse than the worst told, by its violation.

    Args:
        problem: What is searched.
        archive: What is known.
        models: Of the objectives that only a training tells, by column.
        scale: Of the objectives.
    """

    def __init__(self, problem: Problem, archive: Archive, models: dict[int, ErrorModel], scale: Range) -> None:
        self._problem = problem
        self._archive = archive
        self._known = archive.known()
        self._models = models
        self._scale = scale
        self._scaled: dict[bytes, Array] = {}

    def __call__(self, genomes: Genomes, weights: Array) -> Array:
        """Returns the losses of canonical genomes ``(design, gene)`` under weights ``(objective,)``."""
        of = keys(genomes)
        new = [i for i in first_of_equal(genomes) if of[i] not in self._scaled]
        for i, row in zip(new, self._score(genomes[new]) if new else (), strict=True):
            self._scaled[of[i]] = row
        weighted = weights * np.array([self._scaled[key] for key in of]).reshape(len(genomes), len(weights))
        return np.asarray(weighted.max(axis=1) + RHO * weighted.sum(axis=1))

    def _score(self, genomes: Genomes) -> Array:
        values, violation = hoped(self._problem, self._archive, self._known, self._models, genomes)
        return np.where(violation[:, None] > 0, 1.0 + violation[:, None], self._scale.scaled(values))


def descend(
    space: Space,
    begin: Genomes,
    losses: LossOf,
    *,
    steps: int,
    rate: float,
    rng: np.random.Generator,
) -> list[Genomes]:
    """Descends from each of some designs, all at once, by Adam.

    Args:
        space: The space.
        begin: ``(descent, gene)``.
        losses: Gives the losses ``(design,)`` of a descent's (its number) canonical genomes ``(design, gene)``.
        steps: How many.
        rate: Adam's.
        rng: Of the Gumbel noise.

    Returns:
        The genomes that each descent met in its colder half ``(design, gene)``, and at last its logits rounded.
    """
    genes = np.repeat(np.arange(len(space.genes)), space.cardinalities)
    starts = np.concatenate([[0], np.cumsum(space.cardinalities)[:-1]])
    choices = np.arange(len(genes)) - starts[genes]
    logits = np.where(begin[:, genes] == choices, HEAD_START, 0.0)
    first, second = np.zeros_like(logits), np.zeros_like(logits)
    met: list[list[Genomes]] = [[] for _ in begin]
    for step, temperature in enumerate(np.geomspace(HOT, COLD, steps)):
        noisy = (logits + rng.gumbel(size=logits.shape)) / temperature
        soft = _softmax(noisy, starts, genes)
        hard = _rounded(noisy, starts)
        slopes = np.array(
            [losses(row, space.canonical(_alternatives(sample, genes, choices))) for row, sample in enumerate(hard)]
        )
        slope = soft * (slopes - np.add.reduceat(soft * slopes, starts, axis=1)[:, genes]) / temperature
        first = DECAYS[0] * first + (1 - DECAYS[0]) * slope
        second = DECAYS[1] * second + (1 - DECAYS[1]) * slope**2
        unbiased = first / (1 - DECAYS[0] ** (step + 1)), second / (1 - DECAYS[1] ** (step + 1))
        logits -= rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        if step >= steps // 2:
            for of, sample in zip(met, space.canonical(hard), strict=True):
                of.append(sample)
    for of, sample in zip(met, space.canonical(_rounded(logits, starts)), strict=True):
        of.append(sample)
    return [np.array(of, dtype=np.int64) for of in met]


def _alternatives(sample: Genomes, genes: NDArray[np.int64], choices: NDArray[np.int64]) -> Genomes:
    """Returns a sample ``(gene,)`` with one gene set to one choice, for each choice of each gene ``(choice, gene)``."""
    designs = np.repeat(sample[None, :], len(genes), axis=0)
    designs[np.arange(len(genes)), genes] = choices
    return designs


def _softmax(logits: Array, starts: NDArray[np.int64], genes: NDArray[np.int64]) -> Array:
    """Returns the softmax of each gene's logits ``(descent, choice)``."""
    powers = np.exp(logits - np.maximum.reduceat(logits, starts, axis=1)[:, genes])
    return np.asarray(powers / np.add.reduceat(powers, starts, axis=1)[:, genes])


def _rounded(logits: Array, starts: NDArray[np.int64]) -> Genomes:
    """Returns the likeliest choice of each gene ``(descent, gene)``."""
    parts = np.split(logits, starts[1:], axis=1)
    return np.stack([part.argmax(axis=1) for part in parts], axis=1).astype(np.int64)


plugin = Gradient
