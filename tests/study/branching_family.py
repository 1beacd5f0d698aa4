"""Networks of two convolutions side by side and a sum of both."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluate"))
from codesign_fakes import Family as Plain
from codesign_fakes import FamilySettings

from coevo.workload import Layer


class Family(Plain):
    Settings = FamilySettings

    def __init__(self, settings, task):
        super().__init__(settings, task)
        self.genes = tuple(replace(gene, parent=None, when=()) for gene in self.genes if gene.name != "depth")

    def workload(self, choices, task=None):
        found = super().workload({**choices, "depth": 2}, task)
        width, size = choices["width"], (task or self.task).resolution
        layers = (*found.layers, Layer("sum", "add", g=width, c=2, p=size, q=size))
        return replace(found, layers=layers, after=((), (), (0, 1)))
