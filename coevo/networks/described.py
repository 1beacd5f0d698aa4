"""What families have in common that describe each of their networks as one graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from coevo.networks.graph import Graph
from coevo.networks.lowering import lower
from coevo.protocols import Task
from coevo.workload import Workload

if TYPE_CHECKING:
    from torch import nn


class Described(ABC):
    """A family (socket `NetworkFamily`) whose networks are graphs: both their forms follow from these."""

    @abstractmethod
    def graph(self, choices: Mapping[str, Any], task: Task | None = None) -> Graph:
        """Returns the description from which workload and module are made.

        Args:
            choices: The value of every active gene by name.
            task: What the network is deployed for; None for the family's own task.

        Raises:
            ValueError: An active gene has no value.
            SpecError: The family has no network for that task.
        """

    def workload(self, choices: Mapping[str, Any], task: Task | None = None) -> Workload:
        """Returns the loop nests of a network, deployed for ``task`` if given.

        Raises:
            ValueError, SpecError: As `graph`.
        """
        return lower(self.graph(choices, task))

    def module(self, choices: Mapping[str, Any]) -> nn.Module:
        """Returns the untrained network; weights come from torch's generator (seed it before).

        Raises:
            ValueError: As `graph`.
        """
        from coevo.networks.modules import GraphModule

        return GraphModule(self.graph(choices))
