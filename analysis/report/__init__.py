"""Every figure of a study, and a page that shows them."""

from analysis.report.page import write_report
from analysis.report.studies import FigureSpec, default_figures, parse_figures

__all__ = ["FigureSpec", "default_figures", "parse_figures", "write_report"]
