"""Every figure of a study, and a page that shows them."""

from analysis.report.defaults import default_figures
from analysis.report.page import PageTable, write_claims, write_report, write_study_page
from analysis.report.studies import FigureSpec, parse_figures

__all__ = [
    "FigureSpec",
    "PageTable",
    "default_figures",
    "parse_figures",
    "write_claims",
    "write_report",
    "write_study_page",
]
