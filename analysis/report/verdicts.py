"""Table rows for the claims on a page, each with a small picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.claims import Decision
from analysis.claims.pictures import finding_picture
from analysis.claims.wording import effect_words, n_words, remark
from analysis.figures.style import Picture

SUFFIXES = ("png", "svg")
INCH = 82
"""Pixels per inch on the page."""


def claim_rows(decisions: Sequence[Decision]) -> tuple[list[dict[str, Any]], dict[str, Picture]]:
    """Return the template values of the claims, and a mapping from link to picture (for findings with a number)."""
    claims: list[dict[str, Any]] = []
    pictures: dict[str, Picture] = {}
    for decision in decisions:
        rows = []
        for index, finding in enumerate(decision.findings, start=1):
            picture = finding_picture(finding)
            stem = f"claim_{decision.claim.key}_{index}".replace("-", "_")
            links = {suffix: f"figures/{stem}.{suffix}" for suffix in SUFFIXES} if picture else {}
            shown: dict[str, Any] = {"links": links}
            if picture:
                pictures |= dict.fromkeys(links.values(), picture)
                width, height = (round(float(inches) * INCH) for inches in picture.get_size_inches())
                shown |= {"width": width, "height": height, "alt": picture.alt}
            rows.append(
                shown
                | {
                    "contrast": finding.contrast.words,
                    "side": finding.contrast.side,
                    "published": finding.contrast.published,
                    "effect": effect_words(finding),
                    "n": n_words(finding) if finding.n else "",
                    "remark": remark(finding),
                    "verdict": finding.verdict,
                }
            )
        claims.append(
            {
                "key": decision.claim.key,
                "statement": decision.claim.statement,
                "source": decision.claim.source.words,
                "experiment": decision.sweep,
                "verdict": decision.verdict,
                "rows": rows,
            }
        )
    return claims, pictures
