"""Claims that the data decide: see `claim` for the rule of a verdict, `digest` and `papers` for the claims."""

from analysis.claims.claim import Claim, Contrast, Decision, Finding, Source, decide
from analysis.claims.digest import DIGEST
from analysis.claims.papers import PAPERS
from analysis.claims.rows import Evidence

CLAIMS: tuple[Claim, ...] = (*DIGEST, *PAPERS)

__all__ = ["CLAIMS", "DIGEST", "PAPERS", "Claim", "Contrast", "Decision", "Evidence", "Finding", "Source", "decide"]
