"""Formatting of findings, shared by the terminal, the page and the JSON output."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from analysis.claims.claim import Claim, Decision, Finding

NO_NUMBER = "-"


def effect_words(finding: Finding) -> str:
    """Format an effect with its interval, such as `+12.3 points [8.1, 16.5]`, or as `-` if there is no effect."""
    if math.isnan(finding.effect):
        return NO_NUMBER
    signed = finding.contrast.unit == "points" or "difference" in finding.contrast.measured
    digits = _digits(finding)
    unit = f" {finding.contrast.unit}" if finding.contrast.unit else ""
    text = f"{finding.effect:{'+' if signed else ''}.{digits}f}{unit}"
    if math.isnan(finding.low):
        return f"{text} [no interval]"
    return f"{text} [{finding.low:.{digits}f}, {finding.high:.{digits}f}]"


def _digits(finding: Finding) -> int:
    """Return the number of decimals, 1 to 3, that shows two significant digits of the interval's half-width."""
    half = (finding.high - finding.low) / 2
    if not half > 0:
        return 1
    return min(3, max(1, 1 - math.floor(math.log10(half))))


def n_words(finding: Finding) -> str:
    return f"{finding.n:,} {finding.of}" if finding.n else NO_NUMBER


def remark(finding: Finding) -> str:
    """Return the remark on a finding: its details, followed by what is missing."""
    return "; ".join(part for part in (finding.detail, finding.missing and f"missing: {finding.missing}") if part)


def rules_table(claims: Iterable[Claim]) -> str:
    """Render the claims and their rules as a Markdown table for the documentation, with one row per contrast."""
    lines = ["| claim | preset | compared | supported if the whole 95 % interval is |", "|---|---|---|---|"]
    for claim in claims:
        for index, contrast in enumerate(claim.contrasts):
            first = [f"**{claim.statement}** {claim.source.words}", f"`{claim.preset}`"] if not index else ["", ""]
            lines.append(f"| {' | '.join([*first, contrast.words, contrast.side])} |")
    return "\n".join(lines)


def record(decision: Decision) -> dict[str, Any]:
    """Convert a decision to JSON values, with unrounded numbers and with None for numbers that are not finite."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    claim = decision.claim
    return {
        "claim": claim.key,
        "statement": claim.statement,
        "digest": claim.digest,
        "source": claim.source.words,
        "experiment": decision.sweep,
        "verdict": decision.verdict,
        "contrasts": [
            {
                "contrast": finding.contrast.words,
                "rule": finding.contrast.rule,
                "published": finding.contrast.published,
                "unit": finding.contrast.unit,
                "effect": number(finding.effect),
                "low": number(finding.low),
                "high": number(finding.high),
                "interval": finding.how,
                "n": finding.n,
                "of": finding.of,
                "verdict": finding.verdict,
                "detail": finding.detail,
                "missing": finding.missing,
                "command": finding.command,
                "each": {str(seed): value for seed, value in finding.per_seed.items()},
            }
            for finding in decision.findings
        ],
    }
