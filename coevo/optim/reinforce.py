"""Policy gradients over the joint genome: the baseline of reinforcement-learning NAS.

An LSTM controller chooses the genes of network and accelerator one after the other (B. Zoph and Q. Le, ICLR 2017; for
networks with accelerators: L. Yang et al., "Co-Exploration of Neural Architectures and Heterogeneous ASIC Accelerator
Designs Targeting Multiple Tasks" (NASAIC), DAC 2020) and is taught by REINFORCE (R. Williams, Machine Learning 8,
1992). What is added, and why:

- The weights of the objectives are an input of the controller and are drawn anew for each proposal, so that one policy
  yields a front instead of one design.
- The baseline is a moving average of the objectives, not of the reward: each proposal is judged against the average
  under its own weights, as rewards under different weights do not compare.
- Hardware is known, exact and cheap: proposals that it rules out teach the policy for free and are drawn again.
- No design is proposed twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.optim.contained import contained
from coevo.optim.ranges import Range
from coevo.optim.scalarization import REWARDS, Reward
from coevo.optim.unseen import Seen, check_told
from coevo.protocols import Array, Problem
from coevo.space import Genomes

if TYPE_CHECKING:
    import torch


REDRAWS = 8
"""Rounds in which proposals that are repeats or that hardware rules out are drawn again."""
LONGEST_STEP = 1.0
"""Norm that gradients are cut to: early advantages are noise."""


class ReinforceSettings(BaseModel):
    """Settings of REINFORCE.

    Attributes:
        batch: Designs per ask, and per gradient step.
        hidden: Size of the LSTM's state.
        learning_rate: Of Adam.
        entropy: Weight of the mean entropy per gene [nat], which keeps the policy from settling early.
        baseline_decay: Share of the moving average that each tell keeps.
        reward: How objectives become one reward (`coevo.optim.scalarization`).
        infeasible: Reward of a design that violates a constraint; those of feasible ones lie in -1..0.
        hardware_screen: Whether designs that violate the hardware's constraints teach the policy and are drawn again
            before they are asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    batch: int = Field(default=10, ge=1, le=65536)
    hidden: int = Field(default=64, ge=1, le=4096)
    learning_rate: float = Field(default=5e-3, gt=0)
    entropy: float = Field(default=0.1, ge=0)
    baseline_decay: float = Field(default=0.8, ge=0, lt=1)
    reward: Reward = "weighted_sum"
    infeasible: float = Field(default=-1.0, lt=0)
    hardware_screen: bool = True


@dataclass(eq=False)
class Batch:
    """Designs of one ask, of which some are told.

    Attributes:
        size: How many there are.
        told: Genome, weights, values and violation of each that is.
    """

    size: int
    told: list[tuple[Genomes, Array, Array, float]] = field(default_factory=list)


class Reinforce:
    """Proposes what its policy draws and shifts the policy towards what was rewarded.

    Of what is told, designs of its own proposal teach the policy; others only widen the range that rewards are
    scaled to.

    Args:
        problem: What to search.
        settings: Its settings.
        rng: Source of all its randomness.
    """

    Settings: ClassVar[type[BaseModel]] = ReinforceSettings

    def __init__(self, problem: Problem, settings: ReinforceSettings, rng: np.random.Generator) -> None:
        import torch

        from coevo.optim.controller import Controller

        self._problem = problem
        self._settings = settings
        self._rng = rng
        self._seen = Seen(problem.space)
        self._range = Range(len(problem.objectives))
        self._average: Array | None = None
        self._pending: dict[bytes, tuple[Batch, Array]] = {}
        with contained(rng):
            self._policy = Controller(problem.space, len(problem.objectives), settings.hidden)
            self._adam = torch.optim.Adam(self._policy.parameters(), lr=settings.learning_rate)

    def ask(self) -> Genomes:
        """Returns canonical genomes ``(batch, gene)`` never asked for or told; fewer only if there are no more."""
        with contained(self._rng):
            genomes, weights = self._propose(self._settings.batch)
        self._seen.add(genomes)
        batch = Batch(len(genomes))
        self._pending |= {row.tobytes(): (batch, preference) for row, preference in zip(genomes, weights, strict=True)}
        return np.concatenate([genomes, self._seen.draw(self._rng, self._settings.batch - len(genomes))])

    def tell(self, genomes: Genomes, values: Array, violation: Array) -> None:
        """Takes one gradient step for each ask whose designs, as far as the policy proposed them, are now all told.

        A step on single designs would know of each reward no more than its sign.

        Args:
            genomes: ``(batch, gene)``, canonical. Of a design told twice the first figures count.
            values: ``(batch, objective)``, minimised; rows with violation > 0 are not read.
            violation: ``(batch,)``, 0 if feasible.

        Raises:
            ValueError: As `check_told`.
        """
        values, violation = check_told(self._problem, genomes, values, violation)
        self._seen.add(genomes)
        self._range.add(values[violation == 0])
        for i, genome in enumerate(genomes):
            batch, preference = self._pending.pop(genome.tobytes(), (None, None))
            if batch is None or preference is None:
                continue
            batch.told.append((genome.copy(), preference, values[i].copy(), float(violation[i])))
            if len(batch.told) == batch.size:
                own, weights, found, violated = (np.array(part) for part in zip(*batch.told, strict=True))
                advantages = self._judge(found, violated, weights)
                with contained(self._rng):
                    self._learn(own, weights, advantages)

    def _propose(self, count: int) -> tuple[Genomes, Array]:
        """Returns new genomes ``(at most count, gene)`` and their weights ``(at most count, objective)``.

        Those that hardware allows come first, then the least violating.
        """
        genes, objectives = len(self._problem.space.genes), len(self._problem.objectives)
        found, preferences = np.empty((0, genes), dtype=np.int64), np.empty((0, objectives))
        violation = np.empty(0)
        for _ in range(REDRAWS):
            if np.count_nonzero(violation == 0) >= count or self._seen.exhausted:
                break
            weights = self._rng.dirichlet(np.ones(objectives), size=count)
            drawn = self._policy.sample(weights, self._rng)
            ruled_out = self._screen(drawn)
            if (ruled_out > 0).any():  # judged against the share of draws that hardware rules out
                rewards = np.where(ruled_out > 0, self._settings.infeasible, 0.0)
                self._learn(drawn, weights, rewards - rewards.mean())
            found, preferences = np.concatenate([found, drawn]), np.concatenate([preferences, weights])
            violation = np.append(violation, ruled_out)
            rows = self._seen.rows_of_fresh(found)
            found, preferences, violation = found[rows], preferences[rows], violation[rows]
        best = np.argsort(violation, kind="stable")[:count]
        return found[best], preferences[best]

    def _screen(self, genomes: Genomes) -> Array:
        """Violation of the constraints that hardware decides ``(batch,)``; all 0 if the screen is off."""
        return self._problem.hardware(genomes)[1] if self._settings.hardware_screen else np.zeros(len(genomes))

    def _judge(self, values: Array, violation: Array, weights: Array) -> Array:
        """Returns advantages ``(batch,)``: rewards less the baseline, over the batch's deviation from it."""
        reward = REWARDS[self._settings.reward]
        good = violation == 0
        rewards = np.full(len(values), self._settings.infeasible)
        if good.any():
            mean, decay = values[good].mean(axis=0), self._settings.baseline_decay
            self._average = mean if self._average is None else decay * self._average + (1 - decay) * mean
            rewards[good] = reward(self._range.scaled(values[good]), weights[good])
        if self._average is None:
            return np.zeros(len(values))  # nothing feasible yet to compare with: hardware teaches, if anything does
        average = np.tile(self._range.scaled(self._average[None, :]), (len(values), 1))
        advantages = rewards - reward(average, weights)
        size = np.sqrt((advantages**2).mean())
        return np.asarray(advantages / size if size > 0 else advantages)

    def _learn(self, genomes: Genomes, weights: Array, advantages: Array) -> None:
        """Takes one step up the gradient of ``mean(advantage * log p)`` (Williams 1992) and of the entropy."""
        import torch

        likelihood, entropy = self._policy(genomes, weights)
        gain: torch.Tensor = (torch.as_tensor(advantages) * likelihood).mean() + self._settings.entropy * entropy.mean()
        self._adam.zero_grad()
        (-gain).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._policy.parameters(), LONGEST_STEP)
        self._adam.step()


plugin = Reinforce
