"""From stores to verdicts: the tables of each sweep, the claims that rest on it, and the table that is printed.

A claim rests on a preset. It is decided from the preset's grid, from that of its full variant (`PRESET-full`), or from
a file whose `name` is the preset's: from the points that the grid asks for, and nothing else in the store.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from analysis.claims import CLAIMS, Claim, Decision, Evidence, decide
from analysis.claims.effects import Spread
from analysis.tables.frames import everything, examples_frame
from lightning_modules.errors import choices
from sweeps.errors import SweepError
from sweeps.planning.plan import Plan
from sweeps.spec.sweep import Sweep
from sweeps.spec.sweep_file import load_sweep
from sweeps.store.store import Contents, Store

FULL = "-full"


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
    points, curves = everything(plan, contents)
    single = any(isinstance(contrast.effect, Spread) for claim in claims for contrast in claim.contrasts)
    return Evidence(points, curves, examples_frame(points, store, ["correct"] if single else []))


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
