"""The controller of reinforcement-learning NAS: an LSTM that chooses gene after gene, conditioned on a preference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from coevo.protocols import Array
from coevo.space import Genomes, Space

Pick = Callable[[int, Array], Genomes]
"""Gene and probabilities ``(batch, choice)`` to choices ``(batch,)``."""

INITIAL = 0.1
"""Weights begin uniform in -INITIAL..INITIAL (B. Zoph and Q. Le, ICLR 2017, have 0.08): all choices about as likely."""


class Controller(nn.Module):
    """A distribution over canonical genomes that depends on the weights of the objectives.

    Step i reads the choice of gene i - 1 and the weights and yields logits of gene i's choices. Inactive genes are 0
    and no choice: they add neither to a genome's likelihood nor to the entropy.

    Args:
        space: The space.
        objectives: Number of weights.
        hidden: Size of the LSTM's state.
    """

    def __init__(self, space: Space, objectives: int, hidden: int) -> None:
        super().__init__()
        self._space = space
        self._choices = int(space.cardinalities.max(initial=1))
        self._first = np.concatenate([[0], np.cumsum(space.cardinalities)])
        self.embedding = nn.Embedding(1 + int(self._first[-1]), hidden)  # 0: before the first gene
        self.preference = nn.Linear(objectives, hidden)
        self.cell = nn.LSTMCell(hidden, hidden)
        self.heads = nn.Parameter(torch.empty(len(space.genes), hidden, self._choices))
        self.double()
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INITIAL, INITIAL)

    def sample(self, weights: Array, rng: np.random.Generator) -> Genomes:
        """Draws one canonical genome ``(batch, gene)`` for each row of weights ``(batch, objective)``."""

        def pick(_: int, probabilities: Array) -> Genomes:
            below = probabilities.cumsum(axis=1) < rng.random((len(probabilities), 1))
            return np.asarray(below.sum(axis=1), dtype=np.int64)

        with torch.no_grad():
            return self._walk(weights, pick)[0]

    def forward(self, genomes: Genomes, weights: Array) -> tuple[Tensor, Tensor]:
        """Returns log-likelihood and mean entropy per active gene [nat] of genomes under weights, ``(batch,)`` each."""
        _, likelihood, entropy = self._walk(weights, lambda gene, _: genomes[:, gene])
        return likelihood, entropy

    def _walk(self, weights: Array, pick: Pick) -> tuple[Genomes, Tensor, Tensor]:
        """Goes through the genes; returns genomes ``(batch, gene)``, log-likelihood and entropy ``(batch,)``."""
        batch, count = len(weights), len(self._space.genes)
        genomes = np.zeros((batch, count), dtype=np.int64)
        preference = self.preference(torch.as_tensor(weights))
        read = torch.zeros(batch, dtype=torch.int64)
        state: tuple[Tensor, Tensor] | None = None
        likelihood, entropy = torch.zeros(batch, dtype=torch.float64), torch.zeros(batch, dtype=torch.float64)
        for gene, choices in enumerate(self._space.cardinalities.tolist()):
            state = self.cell(self.embedding(read) + preference, state)
            logs = torch.log_softmax(state[0] @ self.heads[gene, :, :choices], dim=1)
            # A gene's activity depends on genes to its left only, so that those not chosen yet do not matter.
            active = self._space.active(genomes)[:, gene]
            chosen = np.minimum(pick(gene, logs.detach().exp().numpy()), choices - 1)
            genomes[:, gene] = np.where(active, chosen, 0)
            counts = torch.as_tensor(active, dtype=torch.float64)
            column = torch.as_tensor(genomes[:, gene])
            likelihood = likelihood + counts * logs.gather(1, column[:, None])[:, 0]
            entropy = entropy - counts * (logs.exp() * logs).sum(dim=1)
            read = 1 + int(self._first[gene]) + column
        lengths = torch.as_tensor(self._space.active(genomes).sum(axis=1))
        return genomes, likelihood, entropy / lengths.clamp(min=1)
