"""The fakes' family with modules that train: each notes in a file that it is begun, and takes its time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from codesign_fakes import Family as Fake
from codesign_fakes import FamilySettings
from torch import nn


class Settings(FamilySettings):
    journal: str
    nap_s: float = 0.5


class Family(Fake):
    Settings = Settings

    def __init__(self, settings: Settings, task: Any) -> None:
        super().__init__(settings, task)
        self.settings = settings

    def module(self, choices: Mapping[str, Any]) -> nn.Module:
        with open(self.settings.journal, "a") as journal:
            journal.write(json.dumps(dict(choices), sort_keys=True) + "\n")
        time.sleep(self.settings.nap_s)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, choices["width"]), nn.ReLU(), nn.Linear(choices["width"], 10))
