"""Every figure of a study, and a page that shows them."""

from analysis.figures.defaults import default_figures
from analysis.figures.kinds import FigureSpec, parse_figures
from analysis.report.page import PageTable, write_claims, write_report, write_study_page

__all__ = [
    "FigureSpec",
    "PageTable",
    "default_figures",
    "parse_figures",
    "write_claims",
    "write_report",
    "write_study_page",
]
