"""Verdicts from stores: read the tables of each sweep and decide the claims that rest on it.

A claim rests on a preset. It is decided from the grid of that preset, of the preset's full variant (`PRESET-full`), or
of a sweep file with the preset's name. Points outside the grid are ignored, even if the store contains them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.claims import CLAIMS, Claim, Decision, Evidence, decide
from analysis.claims.effects import Spread
from analysis.tables.frames import everything, examples_frame
from lightning_modules.errors import choices
from sweeps.errors import SweepError
from sweeps.planning.plan import Plan
from sweeps.spec.sweep import Sweep
from sweeps.spec.sweep_source import preset_names
from sweeps.store.store import Contents, Store

FULL = "-full"


def claims_of(sweep: Sweep) -> tuple[Claim, ...]:
    """Return the claims that rest on a sweep, which is identified by its name without the suffix `-full`."""
    return tuple(claim for claim in CLAIMS if claim.preset == sweep.name.removesuffix(FULL))


def claimed_presets() -> tuple[str, ...]:
    """Return the presets on which claims rest, in the order of the claims."""
    return tuple(dict.fromkeys(claim.preset for claim in CLAIMS))


def default_sweeps() -> list[str]:
    """Return the built-in presets on which claims rest, omitting other sweeps on which registered claims rest."""
    return [name for name in claimed_presets() if name in preset_names()]


def check_claimed(sweeps: Iterable[Sweep]) -> None:
    """Raise SweepError if no claim rests on one of the sweeps."""
    for sweep in sweeps:
        if not claims_of(sweep):
            problem = f"no claim rests on it; {choices(sweep.name, claimed_presets())}"
            raise SweepError(sweep.source, "", problem)


def evidence(plan: Plan, store: Store, contents: Contents, claims: Sequence[Claim], *examples: str) -> Evidence:
    """Read the tables of a sweep.

    Args:
        plan: The plan of the sweep.
        store: The store, from which per-example measures are read.
        contents: The contents of the store.
        claims: The claims to decide.
        examples: Per-example measures to read in addition to those that the claims need.
    """
    points, curves = everything(plan, contents)
    single = any(isinstance(contrast.effect, Spread) for claim in claims for contrast in claim.contrasts)
    return Evidence(points, curves, examples_frame(points, store, {*examples, *(["correct"] if single else [])}))


def settle_sweep(name: str, sweep: Sweep, tables: Evidence, options: str = "") -> list[Decision]:
    """Decide every claim that rests on one sweep. See `settle` for `name` and `options`."""
    run = f"memsweep run {name}{options and ' ' + options}"
    return [decide(claim, tables, sweep.name, run) for claim in claims_of(sweep)]


def settle(sweeps: Sequence[tuple[str, Sweep]], store: Store, contents: Contents, options: str = "") -> list[Decision]:
    """Decide every claim that rests on these sweeps.

    Args:
        sweeps: Pairs of a sweep's name on the command line and the sweep.
        store: The store, from which per-example measures are read.
        contents: The contents of the store.
        options: Options to add to the command that trains missing points, such as `--store results`.

    Returns:
        The decisions, in the order of the claims.
    """
    decisions = [
        decision
        for name, sweep in sweeps
        if (claims := claims_of(sweep))
        for decision in settle_sweep(name, sweep, evidence(Plan.of(sweep), store, contents, claims), options)
    ]
    return sorted(decisions, key=lambda decision: CLAIMS.index(decision.claim))
