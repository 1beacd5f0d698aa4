"""A design of a finished run as files for others: its network, its machine and its mappings, to use without coevo."""

from __future__ import annotations

from coevo.export.chosen import Chosen, choose
from coevo.export.readme import readme
from coevo.export.writers import (
    Files,
    accelerator_files,
    design_files,
    mapping_files,
    onnx_files,
    torch_files,
    weights_files,
)

__all__ = [
    "Chosen",
    "Files",
    "accelerator_files",
    "choose",
    "design_files",
    "mapping_files",
    "onnx_files",
    "readme",
    "torch_files",
    "weights_files",
]
