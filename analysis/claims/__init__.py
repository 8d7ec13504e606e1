"""Claims that are decided by data.

`claim` defines claims and decides them; `digest` and `papers` list the claims.
"""

from analysis.claims.claim import Claim, Contrast, Decision, Finding, Source, decide
from analysis.claims.digest import DIGEST
from analysis.claims.papers import PAPERS
from analysis.claims.rows import Evidence

CLAIMS: list[Claim] = [*DIGEST, *PAPERS]
"""All claims, in the order in which they are shown."""


def register_claim(claim: Claim) -> None:
    """Add a claim, replacing any claim with the same key."""
    CLAIMS[:] = [other for other in CLAIMS if other.key != claim.key] + [claim]


__all__ = [
    "CLAIMS",
    "DIGEST",
    "PAPERS",
    "Claim",
    "Contrast",
    "Decision",
    "Evidence",
    "Finding",
    "Source",
    "decide",
    "register_claim",
]
