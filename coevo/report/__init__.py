"""What comes out of a run: `write_report` turns `coevo.design.Results` into tables, figures and one page."""

from __future__ import annotations

from coevo.report.design_file import DesignFile, read_design
from coevo.report.write import write_report

__all__ = ["DesignFile", "read_design", "write_report"]
