"""From an experiment's YAML to a checked `Experiment`: everything is refused here, before anything runs.

One file says all of one run: the network space, the accelerators, objectives, constraints, the models, the
optimiser, the budget and the seed. ``--set key.path=value`` overrides any of its fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from coevo.evaluate import Evaluator, JointSpace
from coevo.experiment.loader import Loader
from coevo.experiment.override import override
from coevo.library import find_data, read_yaml
from coevo.study import Plan, Study

__all__ = ["Experiment", "load_experiment"]


@dataclass(frozen=True, eq=False)
class Experiment:
    """One run, checked and ready.

        experiment = load_experiment("experiments/quickstart.yaml", ["budget.designs=50"])
        with experiment.study() as study:
            front = study.run()

    Attributes:
        file: Where it was read from.
        name: Of the run's folder, unless another is given.
        description: One line for people.
        plan: Its parts.
    """

    file: str
    name: str
    description: str
    plan: Plan

    @property
    def joint(self) -> JointSpace:
        """The joint space; `JointSpace.sizes` says how large it is."""
        return self.plan.joint

    @cached_property
    def evaluator(self) -> Evaluator:
        """Scores genomes without a study: one design, or batches by the cost model alone."""
        return self.plan.evaluator()

    def study(self, out: Path | str | None = None, jobs: int = 1) -> Study:
        """Opens the run's folder, made or resumed; close it after use (it is a context manager).

        Args:
            out: The folder; ``runs/<name>`` in the working directory if not given.
            jobs: Processes to use; no result depends on it.

        Raises:
            RunError: As `Study`.
        """
        return Study(self.plan, Path("runs") / self.name if out is None else Path(out), jobs)


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Reads an experiment and checks all of it.

    Args:
        path: A path, or the name of an experiment that ships with coevo.
        overrides: ``key.path=value`` each, the value as in YAML.

    Raises:
        SpecError: Something in it is wrong; the text names file and line (or the override), field, value and cure.
        DataError: The accuracy model's data are absent.
    """
    document = override(read_yaml(find_data("experiments", str(path))), overrides)
    loader = Loader(document)
    return Experiment(document.file, loader.spec.name, loader.spec.description, loader.plan())
