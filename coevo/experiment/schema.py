"""The form of an experiment file: pydantic models for its sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

SCHEMA = 1
"""Version of the form of an experiment file."""

Count = Annotated[int, Field(ge=1)]
Extent = Annotated[int, Field(ge=1, le=65536)]
Limit = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NetworkSection(_Strict):
    """The network space, or one network of it."""

    space: str
    fixed: dict[str, Any] | None = None


class AcceleratorSection(_Strict):
    """A template with what varies in it; ``{}`` fixes the machine, nothing keeps the template's own ``vary``."""

    template: str
    vary: dict[str, Any] | None = None


def _form(entry: object) -> Literal["short", "long"]:
    """Which form of an entry is meant, so that a mistake is told of that form alone."""
    return "long" if isinstance(entry, dict | BaseModel) else "short"


AcceleratorEntry = Annotated[
    Annotated[str, Tag("short")] | Annotated[AcceleratorSection, Tag("long")], Discriminator(_form)
]
"""A template's name, or a section."""


class TargetSection(_Strict):
    """A template with some of its fields set: one machine."""

    template: str
    set: dict[str, Any] = {}


TargetEntry = Annotated[Annotated[str, Tag("short")] | Annotated[TargetSection, Tag("long")], Discriminator(_form)]
"""A template's name, or a section."""

TargetLabel = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)]


class ConstraintSection(_Strict):
    """Limits on a metric, in its unit."""

    max: Limit | None = None
    min: Limit | None = None

    @model_validator(mode="after")
    def _limits(self) -> ConstraintSection:
        if self.max is None and self.min is None:
            raise ValueError("needs max, min or both")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class DeploymentSection(_Strict):
    """What the hardware is scored for; what is left out is the data's."""

    resolution: Extent | None = None
    classes: Annotated[int, Field(ge=2, le=65536)] | None = None
    channels: Extent | None = None


class BudgetSection(_Strict):
    """When the run ends, and when it pauses."""

    designs: Count | None = None
    trainings: Count | None = None
    time_limit_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _some(self) -> BudgetSection:
        if self.designs is None and self.trainings is None:
            raise ValueError("needs designs or trainings; a time limit only pauses the run")
        return self


class SteadyStateSection(_Strict):
    """Instead of batch by batch: how many trainings are under way at a time."""

    in_flight: Annotated[int, Field(ge=1, le=4096)]


class FinalSection(_Strict):
    """How the networks of the front are trained anew at the end of the run."""

    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    accuracy: dict[str, Any] | None = None


class WarmStartSection(_Strict):
    """Runs whose designs the optimiser is told of before its first ask: folders, the best designs of each in turn."""

    runs: Annotated[list[str], Field(min_length=1)]
    designs: Literal["front", "all"] = "front"
    most: Annotated[int, Field(ge=1, le=10_000)] = 30


class ExperimentFile(_Strict):
    """An experiment file without ``schema``; sections of plug-ins are checked by the plug-ins' own settings."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    description: str = ""
    network: NetworkSection
    accelerators: Annotated[list[AcceleratorEntry], Field(min_length=1)] | None = None
    targets: Annotated[dict[TargetLabel, TargetEntry], Field(min_length=1)] | None = None
    across: Literal["worst", "mean"] | None = None
    objectives: Annotated[list[str], Field(min_length=1)]
    constraints: dict[str, ConstraintSection] = {}
    accuracy: dict[str, Any] | None = None
    final: FinalSection | None = None
    deployment: DeploymentSection | None = None
    cost: dict[str, Any] = {"name": "analytical"}
    optimizer: dict[str, Any] = {"name": "nsga2"}
    warm_start: WarmStartSection | None = None
    budget: BudgetSection
    steady_state: SteadyStateSection | None = None
    seed: Annotated[int, Field(ge=0)] = 0
