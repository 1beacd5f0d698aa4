"""The cost model ``predictor``: learns latency and energy from another model's figures of a few designs.

The designs that it learns from are drawn from the experiment's space before anything is scored, so that no figure
depends on the course of a run. Each figure has its own regressions (`coevo.learning.regression`), which know how well
they do on designs that they were not shown. The front of a run is scored by the other model too, and a report shows
both (`FrontDesign.truth`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from coevo.accelerator.machine import Accelerator
from coevo.cost.figures import ATTRIBUTES, Figures, Known, pair_key
from coevo.cost.stack import Section, attached, refuse
from coevo.design import Cost
from coevo.errors import SpecError
from coevo.learning.features import Array, Encoding
from coevo.learning.machines import pair_features
from coevo.learning.regression import FOLDS, LOG, Learner, Predictor
from coevo.protocols import CostContext, CostModel
from coevo.workload import Workload

_WORDS = dict(zip(ATTRIBUTES, ("latency", "energy", "peak memory"), strict=True))

LEAST = 4 * FOLDS
"""Samples with figures that regressions need."""

Pairs = Sequence[tuple[Workload, Accelerator]]


class PredictorSettings(BaseModel):
    """Whose figures are learned, and from how many.

    Attributes:
        of: The model that is learned from, and believed at the end.
        samples: Designs that it scores before the run.
        seed: Of their draw and of the regressions; not the run's, so that runs of several seeds share one predictor.
        learner: Gaussian processes, boosted trees, or both.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    of: Section
    samples: int = Field(default=200, ge=LEAST, le=20_000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    learner: Learner = "ensemble"


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Regressions of each figure, and of whether there is any.

    Attributes:
        encoding: From features to columns.
        predictors: By attribute of `Cost`.
        feasible: Tells designs without figures (a scikit-learn classifier); None if all samples had figures.
        samples: With figures.
        failed: Samples without.
    """

    encoding: Encoding
    predictors: dict[str, Predictor]
    feasible: Any
    samples: int
    failed: int

    def __str__(self) -> str:
        held_out = ", ".join(
            f"{_WORDS[name]} has Kendall tau {one.held_out_tau:.3f} and mean error {one.held_out_error:.1%}"
            for name, one in self.predictors.items()
        )
        failed = f", {self.failed} infeasible" if self.failed else ""
        return f"{self.samples} designs{failed}; of designs held out, {held_out}"


class PredictedCost:
    """Figures predicted from another model's (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = PredictorSettings

    def __init__(self, settings: Any) -> None:
        self.settings: PredictorSettings = settings
        self._context = CostContext()
        self._of: CostModel | None = None
        self._name = ["predictor", settings.model_dump(mode="json")]
        self._known, self._samples = Known(self._name), Known([*self._name, "samples"])

    def attach(self, context: CostContext) -> None:
        """Builds the model that is learned from, and takes note of the space and of what the run knows.

        Raises:
            SpecError: Its section is wrong.
            DataError: What it reads is absent.
        """
        self._context = context
        self._of = attached(self.settings.of, context, "of", self._of)
        self.__dict__.pop("_fitted", None)  # so that another run keeps the samples too
        self._known.memory = self._samples.memory = context.memory

    def refuse(self, machine: Accelerator) -> None:
        """Refuses what the model that is learned from does.

        Raises:
            SpecError: It refuses the machine.
        """
        refuse(self._of, machine, "of")

    @property
    def truth(self) -> CostModel | None:
        """The model that is learned from."""
        return self._of

    @property
    def of_network(self) -> bool:
        """Whether the model that is learned from looks at the network itself."""
        return bool(getattr(self._of, "of_network", False))

    @property
    def unknown(self) -> frozenset[str]:
        """What the model that is learned from cannot tell."""
        return frozenset(getattr(self._of, "unknown", ()))

    @property
    def files(self) -> tuple[Path, ...]:
        """Those of the model that is learned from."""
        return tuple(getattr(self._of, "files", ()))

    @property
    def facts(self) -> dict[str, str]:
        """How well it predicts designs that it was not shown; kept with the run."""
        key = f"facts {self._name}"
        if key not in self._context.memory:
            self._context.memory[key] = str(self._fitted)
        own = {"cost predictor": f"learned {self.settings.of['name']} from {self._context.memory[key]}"}
        return {**own, **getattr(self._of, "facts", {})}

    def evaluate(self, pairs: Pairs, jobs: int = 1) -> list[Cost]:  # noqa: ARG002
        """Predicts every pair; the first call scores the samples.

        Raises:
            SpecError: Too few of the samples have figures.
        """
        return self._known.costs(pairs, pair_key, self._predicted)

    def _predicted(self, pairs: Pairs) -> Iterator[Figures]:
        fitted = self._fitted
        encoded = fitted.encoding([pair_features(*pair) for pair in pairs])
        chance = np.ones(len(pairs)) if fitted.feasible is None else fitted.feasible.predict_proba(encoded)[:, 1]
        told = {name: predictor.predict(encoded) for name, predictor in fitted.predictors.items()}
        for i in range(len(pairs)):
            if chance[i] < 0.5:
                reason = f"predicted to be infeasible (probability {1 - chance[i]:.2f})"
                yield Figures(violation=float(1 - chance[i]), reason=reason)
                continue
            values: dict[str, Any] = {name: float(mean[i]) for name, (mean, _) in told.items()}
            deviations: dict[str, Any] = {f"{name}_std": float(spread[i]) for name, (_, spread) in told.items()}
            yield Figures(**values, **deviations)

    @cached_property
    def _fitted(self) -> _Fitted:
        """Scores the samples and learns from them."""
        if self._of is None:
            raise ValueError("nothing to learn from: call attach first")
        model, settings = self._of, self.settings
        pairs = self._context.draw(settings.samples, settings.seed)
        costs = self._samples.costs(pairs, pair_key, lambda new: map(Figures.of, model.evaluate(new)))
        good = np.array([cost.violation == 0 for cost in costs])
        if good.sum() < LEAST:
            reason = next((cost.reason for cost in costs if cost.violation > 0), "the space has no more designs")
            problem = f"only {good.sum()} of {len(pairs)} designs have figures to learn from, {LEAST} are needed"
            raise SpecError(f"{problem}: {reason}", field="cost.of")
        features = [pair_features(*pair) for pair in pairs]
        encoding = Encoding.of(features)
        encoded = encoding(features)
        predictors = {}
        for name in ATTRIBUTES:
            values: Array = np.array([getattr(cost, name) for cost in costs], dtype=np.float64)[good]
            if name not in self.unknown and (values > 0).all():
                predictors[name] = Predictor(settings.learner, settings.seed, LOG).fit(encoded[good], values)
        return _Fitted(
            encoding, predictors, _classifier(encoded, good, settings.seed), int(good.sum()), int((~good).sum())
        )


def _classifier(encoded: Array, good: Any, seed: int) -> Any:
    """What tells designs without figures from others; None if too few samples have none."""
    if (~good).sum() < FOLDS:
        return None
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(n_estimators=80, max_depth=3, random_state=seed).fit(encoded, good)


plugin = PredictedCost
