"""Every figure of a study, and a page that shows them."""

from analysis.report.defaults import default_figures
from analysis.report.page import write_claims, write_report
from analysis.report.studies import FigureSpec, parse_figures

__all__ = ["FigureSpec", "default_figures", "parse_figures", "write_claims", "write_report"]
