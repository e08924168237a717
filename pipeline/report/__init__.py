"""The report page: `render` turns a report's numbers into one self-contained HTML file."""

from __future__ import annotations

from pipeline.report.page import render

__all__ = ["render"]
