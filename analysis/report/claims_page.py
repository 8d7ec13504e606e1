"""The verdicts on claims, as a printed table and as an HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from analysis.claims import Decision
from analysis.claims.rule import Verdict
from analysis.claims.wording import effect_words, n_words, remark
from analysis.report.export import writing

STYLES: dict[Verdict, str] = {"supported": "green", "contradicted": "bold red", "undecided": "yellow"}


def verdict_table(decisions: Sequence[Decision]) -> Table:
    """Render one row per contrast: experiment, statement of the paper, measured effect (interval, n) and verdict."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("experiment", no_wrap=True)
    for heading in ("the paper says", "compared, and claimed", "measured"):
        table.add_column(heading, ratio=1, overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for decision in decisions:
        claim, count = decision.claim, len(decision.findings)
        for index, finding in enumerate(decision.findings):
            published = finding.contrast.published
            says = published if index else f"{claim.statement} {claim.source.paper}: {published}"
            measured = [effect_words(finding), f"n = {n_words(finding)}" if finding.n else "", remark(finding)]
            verdict = Text(finding.verdict, STYLES[finding.verdict])
            if count > 1 and index == count - 1:
                verdict.append(f"\nall: {decision.verdict}", STYLES[decision.verdict])
            table.add_row(
                Text("" if index else decision.sweep),
                Text(says),
                Text(f"{finding.contrast.words}: {finding.contrast.side}"),
                Text("\n".join(part for part in measured if part)),
                verdict,
                end_section=index == count - 1,
            )
    return table


def commands(decisions: Sequence[Decision]) -> list[str]:
    """Return the distinct commands that train the missing points of undecided claims."""
    needed = [finding.command for decision in decisions for finding in decision.findings if finding.command]
    return list(dict.fromkeys(needed))


def summary(decisions: Sequence[Decision]) -> str:
    """Summarize the verdicts in words, such as `22 claims: 15 supported, 1 contradicted, 6 undecided`."""
    counts = Counter(decision.verdict for decision in decisions)
    words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLES)
    return f"{len(decisions)} claim{'s' if len(decisions) != 1 else ''}: {words}"


def write_page(decisions: Sequence[Decision], out: Path) -> list[Path]:
    """Write the claims page and its pictures.

    Returns:
        The paths written, starting with the page.

    Raises:
        ExportError: A file cannot be written.
    """
    from analysis.report.page import write_claims

    with writing(out):
        paths = write_claims(decisions, {}, out)
    return paths
