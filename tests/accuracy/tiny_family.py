"""A network family for the tests: a few layers by choices, and ways to misbehave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from coevo.protocols import Task
from coevo.space import Gene
from coevo.workload import Workload


class TinySettings(BaseModel):
    channels: int = 8


class TinyFamily:
    Settings: ClassVar[type[BaseModel]] = TinySettings

    def __init__(self, settings: Any, task: Task) -> None:
        self.settings = settings
        self.task = task

    @property
    def genes(self) -> tuple[Gene, ...]:
        return (Gene("depth", (1, 2, 3)), Gene("deed", ("none",)))

    def workload(self, choices: Mapping[str, Any], task: Task | None = None) -> Workload:
        raise NotImplementedError

    def module(self, choices: Mapping[str, Any]) -> nn.Module:
        width = self.settings.channels
        layers: list[nn.Module] = [Deed(choices.get("deed", "none"))]
        for i in range(choices["depth"]):
            before = width if i else self.task.channels
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        classes = self.task.classes - (choices.get("deed") == "few_classes")
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes))


class Deed(nn.Module):
    """Passes images on, or does what it is named after."""

    def __init__(self, deed: str) -> None:
        super().__init__()
        self.deed = deed
        if deed == "bad_build":
            raise KeyError("no such operator")

    def forward(self, images: Tensor) -> Tensor:
        if self.deed == "raise":
            raise RuntimeError("shapes do not fit")
        if self.deed == "exit":
            os._exit(7)
        if self.deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.deed == "sleep":
            time.sleep(60)
        if self.deed == "eat":
            torch.ones(2**30)  # float32: 4 GiB
        if self.deed == "eat_in_python":
            bytearray(4 * 2**30)
        return images * float("nan") if self.deed == "nan" else images
