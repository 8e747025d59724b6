"""Pictures of results: the panel of one subject, as a file and as an array."""

from mdcsrn.report.array import panel_array
from mdcsrn.report.panel import panel

__all__ = ["panel", "panel_array"]
