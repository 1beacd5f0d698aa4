"""A family in which two networks each have the same layers: only their errors differ."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluate"))
from codesign_fakes import Family as Plain
from codesign_fakes import FamilySettings

from coevo.protocols import Task
from coevo.space import Gene


class Family(Plain):
    Settings = FamilySettings

    def __init__(self, settings: Any, task: Task) -> None:
        super().__init__(settings, task)
        self.genes = (*self.genes, Gene("twin", ("one", "other"), ordered=False))
