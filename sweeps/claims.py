"""From stores to verdicts: the tables of each sweep, the claims that rest on it, and the table that is printed.

A claim rests on a preset. It is decided from the preset's grid, from that of its full variant (`PRESET-full`), or from
a file whose `name` is the preset's: from the points that the grid asks for, and nothing else in the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.claims import CLAIMS, Claim, Decision, Evidence, decide
from analysis.claims.effects import Spread
from analysis.claims.rule import Verdict
from analysis.claims.wording import effect_words, n_words, remark
from analysis.derived import with_derived
from sweeps.errors import ExportError, SweepError, choices
from sweeps.export import curves_table, points_table
from sweeps.grid import Sweep
from sweeps.plan import Plan
from sweeps.store import Contents, Store
from sweeps.sweep_file import load_sweep

FULL = "-full"
STYLES: dict[Verdict, str] = {"supported": "green", "contradicted": "bold red", "undecided": "yellow"}


def claims_of(sweep: Sweep) -> tuple[Claim, ...]:
    """The claims that rest on this sweep, by its name."""
    return tuple(claim for claim in CLAIMS if claim.preset == sweep.name.removesuffix(FULL))


def claimed_presets() -> tuple[str, ...]:
    """The presets that some claim rests on, in the order of the claims."""
    return tuple(dict.fromkeys(claim.preset for claim in CLAIMS))


def sweeps_of_claims(names: Sequence[str], settings: Sequence[str] = ()) -> list[tuple[str, Sweep]]:
    """The sweeps of these names, each with what it was called; all that claims rest on for no name.

    Raises SweepError for a sweep that no claim rests on.
    """
    found = [(name, load_sweep(name, settings)) for name in dict.fromkeys(names or claimed_presets())]
    for name, sweep in found:
        if not claims_of(sweep):
            problem = f"no claim rests on it; {choices(sweep.name, claimed_presets())}"
            raise SweepError(name, "", problem)
    return found


def evidence(plan: Plan, store: Store, contents: Contents, claims: Collection[Claim]) -> Evidence:
    """The tables of a sweep. Measures of single examples are read only for claims about them."""
    points, curves = points_table(plan, contents).to_pandas(), curves_table(plan, contents).to_pandas()
    single = any(isinstance(contrast.effect, Spread) for claim in claims for contrast in claim.contrasts)
    wanted = set(points.loc[points["outcome"] == "finished", "trajectory_id"]) if single else set()
    examples = store.read_examples(wanted, ["correct"]).table.to_pandas() if wanted else _no_examples()
    return Evidence(with_derived(points, curves), curves, examples)


def _no_examples() -> pd.DataFrame:
    return pd.DataFrame(columns=["trajectory_id", "epoch", "measure", "split", "example_id", "value"])


def settle(found: Sequence[tuple[str, Sweep]], store: Store, contents: Contents, options: str = "") -> list[Decision]:
    """Every claim that rests on these sweeps, in the order of the claims.

    options: what the commands that train what is missing need beside the sweep's name, such as `--store results`.
    """
    decided: list[tuple[int, Decision]] = []
    for name, sweep in found:
        claims = claims_of(sweep)
        if not claims:
            continue
        tables = evidence(Plan.of(sweep), store, contents, claims)
        run = f"memsweep run {name}{options and ' ' + options}"
        decided += [(CLAIMS.index(claim), decide(claim, tables, sweep.name, run)) for claim in claims]
    return [decision for _, decision in sorted(decided, key=lambda pair: pair[0])]


def verdict_table(decisions: Sequence[Decision]) -> Table:
    """A row a contrast: experiment, what the paper says, what was measured with its interval and n, verdict."""
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
    """What trains what the undecided lack, each once."""
    found = [finding.command for decision in decisions for finding in decision.findings if finding.command]
    return list(dict.fromkeys(found))


def summary(decisions: Sequence[Decision]) -> str:
    """`22 claims: 15 supported, 1 contradicted, 6 undecided`."""
    counts = Counter(decision.verdict for decision in decisions)
    words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLES)
    return f"{len(decisions)} claim{'s' if len(decisions) != 1 else ''}: {words}"


def write_page(decisions: Sequence[Decision], out: Path) -> list[Path]:
    """The page of the claims and its pictures; the paths, the page first.

    Raises ExportError where it cannot be written.
    """
    from analysis.report import write_claims

    try:
        return write_claims(decisions, {}, out)
    except OSError as error:
        raise ExportError(f"--out {out}: cannot be written: {error.strerror or error}") from None
