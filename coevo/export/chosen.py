"""A design that is taken out of its run, and its network with weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from coevo.design import FrontDesign, Results
from coevo.errors import RunError, SpecError, near
from coevo.networks.graph import Graph, Linear
from coevo.report.points import Points
from coevo.study import FinishedRun, load_results, load_run

if TYPE_CHECKING:
    from torch import nn

KNEE = "knee"
"""Names the knee of the front, which the report marks."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with its weights.

    Attributes:
        module: In evaluation mode, on the CPU.
        graph: The network's description; None if its family gives none.
        mean, std: Of the training images, per channel; empty for weights that were not trained.
        says: What the weights are, one line.
    """

    module: nn.Module
    graph: Graph | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    says: str

    @property
    def described(self) -> Graph:
        """The description, of a network that ends in a classifier.

        Raises:
            RunError: There is none.
        """
        if self.graph is None or not isinstance(self.graph.nodes[-1], Linear):
            raise RunError(
                "onnx and torch write networks of families that describe them as graphs ending in a linear layer "
                "(mbconv, cell, fbnet, vit); of this one take --to weights --to accelerator --to mapping"
            )
        return self.graph


@dataclass(frozen=True, eq=False)
class Chosen:
    """A design of a run's front.

    Attributes:
        run: The run.
        results: Of the run.
        design: The design.
        untrained: Whether weights are to be drawn instead of trained.
    """

    run: FinishedRun
    results: Results
    design: FrontDesign
    untrained: bool = False

    @property
    def id(self) -> str:
        """The design's."""
        return self.design.evaluation.id

    @property
    def title(self) -> str:
        """One line for people."""
        return f"Design {self.id} of the run {self.results.name}"

    @cached_property
    def trained(self) -> Trained:
        """The network with its weights; trains it if they are not kept with the run.

        Raises:
            RunError: There are none, and none can be made.
            DataError, BackendError, SpecError: Of the training.
        """
        return self._drawn() if self.untrained else self._restored()

    def _drawn(self) -> Trained:
        import torch

        seed = int(self.run.settings["seed"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.run.family.module(self.design.design.network.choices)
        return Trained(module.eval(), self._graph(module), (), (), f"UNTRAINED weights, drawn with seed {seed}")

    def _restored(self) -> Trained:
        try:
            section, seed, known = self.run.training(self.design)
            found = self.run.restored(self.design)
        except RunError as error:
            raise RunError(f"{error}; --untrained writes untrained ones") from None
        validation, test = found.images
        said = f"{100 * known.error:.2f} %" + _of_test(known.test_error)
        says = (
            f"weights of the section `{section}`, seed {seed} ({known.fidelity}): error {100 * found.error:.2f} % of "
            f"{validation} validation images{_of_test(found.test_error)} of {test}; in the run {said}"
        )
        return Trained(found.module, self._graph(found.module), found.mean, found.std, says)

    def _graph(self, module: nn.Module) -> Graph | None:
        """What a module is made from; None of one that its family makes otherwise."""
        from coevo.networks.modules import GraphModule

        graph = getattr(self.run.family, "graph", None)
        if graph is None or not isinstance(module, GraphModule):
            return None
        found: Graph = graph(self.design.design.network.choices)
        return found


def _of_test(error: float | None) -> str:
    return "" if error is None else f", test {100 * error:.2f} %"


def choose(folder: Path, name: str, untrained: bool = False) -> Chosen:
    """Returns a design of a run's front.

    Args:
        folder: The run folder.
        name: The design's id or its beginning, its row in ``front.csv`` from 1, or ``knee``.
        untrained: Whether weights are to be drawn instead of trained.

    Raises:
        RunError: The folder holds no run.
        SpecError: The front has no such design.
    """
    results = load_results(folder)
    return Chosen(load_run(folder), results, find_design(results, name), untrained)


def find_design(results: Results, name: str) -> FrontDesign:
    """Returns the design of a front that a name of `choose` stands for.

    Raises:
        SpecError: There is none, or several.
    """
    designs = results.front.designs
    by_id = {design.evaluation.id: design for design in designs}
    if name in by_id:
        return by_id[name]
    if name == KNEE:
        knee = Points.of(results).knee
        if knee is None:
            raise SpecError(f"the front has no knee {near(name, by_id)}", field="DESIGN")
        return by_id[results.evaluations[knee].id]
    if name.isdecimal() and 1 <= int(name) <= len(designs):
        return designs[int(name) - 1]
    matching = [design for own, design in by_id.items() if name and own.startswith(name)]
    if len(matching) != 1:
        several = f"{len(matching)} designs" if matching else "no design"
        problem = f"{several} of the front named {name!r} {near(name, by_id)}; also 1 to {len(designs)}, or {KNEE}"
        raise SpecError(problem, field="DESIGN")
    return matching[0]
