"""Optuna's samplers: the tree-structured Parzen estimator (TPE) and its NSGA-II, asked and told one trial per design.

T. Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019; TPE for several
objectives: Y. Ozaki et al., "Multiobjective Tree-Structured Parzen Estimator", JAIR 73, 2022. How a design is put to
Optuna:

- An ordered gene is an integer, its choice's index; any other is categorical. Optuna chooses all genes; those that are
  inactive are zeroed afterwards, in what is asked for but not in what Optuna remembers.
- A violation is a constraint. Of a design that violates one no objective is known; Optuna, which wants figures all the
  same, is told the worst known and compares such designs by their violation alone.
- A design met before is a failed trial, of which Optuna learns nothing, and another one is chosen. Where it repeats
  itself too often, random designs fill up.
- What was not asked for, a random design included, is queued as Optuna's next trial and told at once: NSGA-II overlooks
  trials that are merely added.
- Hardware is not asked beforehand: Optuna meets its constraints as it is told of them.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.errors import BackendError
from coevo.optim.operators import complete
from coevo.optim.ranges import Range
from coevo.optim.unseen import Seen, Told
from coevo.protocols import Array, Problem
from coevo.space import Genomes, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

REDRAWS = 5
"""Trials per design wanted, before random designs fill up."""
VIOLATION = "violation"
"""Name of the one constraint."""


class OptunaSettings(BaseModel):
    """Settings of Optuna's samplers.

    Attributes:
        sampler: ``tpe``, which models good and other designs, all genes together; or ``nsga2``.
        batch: Designs per ask. TPE takes those that it waits for as bad, so that a batch does not bunch together.
        n_startup: Random designs before TPE's model is used.
        population: Designs that survive a generation of ``nsga2``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    sampler: Literal["tpe", "nsga2"] = "tpe"
    batch: int = Field(default=8, ge=1, le=65536)
    n_startup: int = Field(default=20, ge=1, le=65536)
    population: int = Field(default=30, ge=2, le=65536)


class Optuna:
    """Proposes what an Optuna sampler chooses, each design once.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness; Optuna's own generator is seeded from it.

    Raises:
        BackendError: Optuna is not installed.
    """

    Settings: ClassVar[type[BaseModel]] = OptunaSettings

    def __init__(self, problem: Problem, settings: OptunaSettings, rng: np.random.Generator) -> None:
        try:
            import optuna
        except ImportError as error:
            raise BackendError("the optimiser optuna needs the package optuna: pip install 'coevo[optuna]'") from error
        self._problem = problem
        self._settings = settings
        self._rng = rng
        self._seen = Seen(problem.space)
        self._told = Told(problem, self._seen)
        self._pending: dict[bytes, Trial] = {}
        self._range = Range(len(problem.objectives))
        self._distributions = _distributions(problem.space)
        with _quiet():
            sampler = _sampler(settings, seed=int(rng.integers(2**32)))
            self._study = optuna.create_study(sampler=sampler, directions=["minimize"] * len(problem.objectives))
        self._failed = optuna.trial.TrialState.FAIL

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        batch = self._settings.batch
        chosen: Genomes = np.empty((0, len(self._problem.space.genes)), dtype=np.int64)
        with _quiet():
            for _ in range(REDRAWS * batch):
                if len(chosen) == batch or self._seen.exhausted:
                    break
                trial = self._study.ask(self._distributions)
                genome = self._seen.fresh(self._genome(trial))
                if not len(genome):
                    self._study.tell(trial, state=self._failed)
                    continue
                self._seen.add(genome)
                self._pending[genome.tobytes()] = trial
                chosen = np.concatenate([chosen, genome])
        return np.concatenate([chosen, self._seen.draw(self._rng, batch - len(chosen))])

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Tells Optuna of these designs, asked for or not.

        Args:
            genomes: ``(batch, gene)``, canonical. Of a design told twice the first figures count.
            values: ``(batch, objective)``, minimised; rows with violation > 0 are not read.
            violation: ``(batch,)``, 0 if feasible.

        Raises:
            ValueError: As `check_told`.
        """
        genomes, values, violation = self._told.new(genomes, values, violation)
        self._range.add(values[violation == 0])
        completed = complete(genomes, genomes, self._problem.space, self._rng)
        with _quiet():
            for i, genome in enumerate(genomes):
                trial = self._pending.pop(genome.tobytes(), None) or self._foreign(completed[i])
                _constrain(trial, float(violation[i]))
                self._study.tell(trial, (self._range.worst if violation[i] > 0 else values[i]).tolist())

    def _genome(self, trial: Trial) -> Genomes:
        """Returns the canonical genome ``(1, gene)`` that a trial chose."""
        chosen = [[trial.params[gene.name] for gene in self._problem.space.genes]]
        return self._problem.space.canonical(np.array(chosen, dtype=np.int64))

    def _foreign(self, genome: Genomes) -> Trial:
        """Makes a completed genome ``(gene,)``, which no trial chose, one."""
        names = (gene.name for gene in self._problem.space.genes)
        self._study.enqueue_trial(dict(zip(names, genome.tolist(), strict=True)))
        trial = self._study.ask(self._distributions)
        if self._settings.sampler == "nsga2":
            _ = trial.relative_params  # only who is asked what it would choose counts the trial among a generation
        return trial


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    """Returns what Optuna may choose of each gene: the index of a choice."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    return {
        gene.name: IntDistribution(0, len(gene.choices) - 1)
        if gene.ordered
        else CategoricalDistribution(range(len(gene.choices)))
        for gene in space.genes
    }


def _sampler(settings: OptunaSettings, seed: int) -> BaseSampler:
    """Returns the sampler, which must look for constraints by itself before Optuna 5."""
    import optuna

    old: dict[str, Any] = {} if _constraints_in_trials() else {"constraints_func": _constraint_of}
    if settings.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=settings.population, seed=seed, **old)
    return optuna.samplers.TPESampler(
        n_startup_trials=settings.n_startup, multivariate=True, constant_liar=True, seed=seed, **old
    )


def _constraints_in_trials() -> bool:
    import optuna

    return hasattr(optuna.trial.Trial, "set_constraint")


def _constrain(trial: Trial, violation: float) -> None:
    """Notes a violation with a trial, where the installed Optuna looks for it."""
    if _constraints_in_trials():
        trial.set_constraint(VIOLATION, violation)
    else:
        trial.set_user_attr(VIOLATION, violation)


def _constraint_of(trial: Any) -> tuple[float]:
    return (trial.user_attrs[VIOLATION],)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back Optuna's notes and warnings (of its experimental parts), and leaves its own settings as they were."""
    from optuna import logging
    from optuna.exceptions import ExperimentalWarning

    verbosity = logging.get_verbosity()
    logging.set_verbosity(max(verbosity, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.filterwarnings("ignore", category=FutureWarning, module="optuna")
            yield
    finally:
        logging.set_verbosity(verbosity)


plugin = Optuna
