"""From stores to verdicts: the tables of each sweep, and the claims that rest on it.

A claim rests on a preset, or on a sweep file of that name. It is decided from the points that the grid of the preset,
of its full variant (`PRESET-full`) or of the file asks for, and from nothing else in the store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from analysis.claims import CLAIMS, Claim, Decision, Evidence, decide
from analysis.claims.effects import Spread
from analysis.tables.frames import everything, examples_frame
from lightning_modules.errors import choices
from sweeps.errors import SweepError
from sweeps.planning.plan import Plan
from sweeps.spec.sweep import Sweep
from sweeps.spec.sweep_file import preset_names
from sweeps.store.store import Contents, Store

FULL = "-full"


def claims_of(sweep: Sweep) -> tuple[Claim, ...]:
    """The claims that rest on this sweep, by its name."""
    return tuple(claim for claim in CLAIMS if claim.preset == sweep.name.removesuffix(FULL))


def claimed_presets() -> tuple[str, ...]:
    """The presets that some claim rests on, in the order of the claims."""
    return tuple(dict.fromkeys(claim.preset for claim in CLAIMS))


def default_sweeps() -> list[str]:
    """The presets that claims rest on. A claim that was registered from outside may rest on a sweep that is none."""
    return [name for name in claimed_presets() if name in preset_names()]


def check_claimed(sweeps: Iterable[Sweep]) -> None:
    """Raise SweepError for a sweep that no claim rests on."""
    for sweep in sweeps:
        if not claims_of(sweep):
            problem = f"no claim rests on it; {choices(sweep.name, claimed_presets())}"
            raise SweepError(sweep.source, "", problem)


def evidence(plan: Plan, store: Store, contents: Contents, claims: Collection[Claim]) -> Evidence:
    """The tables that decide the claims of a sweep. Single examples are read only for claims about them."""
    points, curves = everything(plan, contents)
    single = any(isinstance(contrast.effect, Spread) for claim in claims for contrast in claim.contrasts)
    return Evidence(points, curves, examples_frame(points, store, ["correct"] if single else []))


def settle(sweeps: Sequence[tuple[str, Sweep]], store: Store, contents: Contents, options: str = "") -> list[Decision]:
    """Decide every claim that rests on these sweeps.

    Args:
        sweeps: (the name by which a command finds it, the sweep).
        store: where measures of single examples are.
        contents: of the store.
        options: what a command that trains the missing points needs beside the name, such as `--store results`.

    Returns:
        The decisions, in the order of the claims.
    """
    decided: list[tuple[int, Decision]] = []
    for name, sweep in sweeps:
        claims = claims_of(sweep)
        if not claims:
            continue
        tables = evidence(Plan.of(sweep), store, contents, claims)
        run = f"memsweep run {name}{options and ' ' + options}"
        decided += [(CLAIMS.index(claim), decide(claim, tables, sweep.name, run)) for claim in claims]
    return [decision for _, decision in sorted(decided, key=lambda pair: pair[0])]
