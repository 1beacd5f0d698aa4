"""Hardware: the nouns of a machine, templates with what may vary in them, and what silicon costs."""

from coevo.accelerator.check import machine_flaw
from coevo.accelerator.machine import DATA_MOVER, DATAFLOWS, Accelerator, Dataflow, Mac, Memory
from coevo.accelerator.summary import describe
from coevo.accelerator.system import System, mapped_on
from coevo.accelerator.template import Template, load_template
from coevo.accelerator.vary import VaryField

__all__ = [
    "DATAFLOWS",
    "DATA_MOVER",
    "Accelerator",
    "Dataflow",
    "Mac",
    "Memory",
    "System",
    "Template",
    "VaryField",
    "describe",
    "load_template",
    "machine_flaw",
    "mapped_on",
]
