"""memsweep: train grids of networks on partly random labels, and map where they memorize and generalize.

    import memsweep as ms

    sweep = ms.Sweep("noise", fixed={"data": "mnist1d"}, grid={"label_noise": [0, 0.4], "width": [8, 64]})
    ms.run(sweep, "results")
    points = ms.points(sweep, "results")
    ms.heatmap(points, x="width", y="label_noise", value="memorized_fraction")

Each name is loaded when it is first used, so that importing this package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memsweep.early_stopping import replay, stopping_study
    from memsweep.inputs import Sweep, load_sweep, presets
    from memsweep.judging import decide_claims, regime
    from memsweep.messages import MemsweepWarning
    from memsweep.registering import register_field, register_measure
    from memsweep.reporting import report
    from memsweep.running import compact, plan, run, status, train
    from memsweep.tables import curves, example_scores, examples, points, read

    from analysis.claims import register_claim
    from analysis.figures.bits import bits_plot as bits
    from analysis.figures.curves import curves_figure
    from analysis.figures.emc import emc_plot as emc
    from analysis.figures.frontier import frontier_plot as frontier
    from analysis.figures.heatmaps import heatmap
    from analysis.figures.histograms import histogram as scores
    from analysis.figures.kinds import register_figure
    from analysis.figures.lines import line_plot as lines
    from analysis.figures.regime_maps import regime_map as regimes
    from analysis.figures.spread import spread_plot as spread
    from lightning_modules.data.sources import register_source
    from lightning_modules.errors import MemsweepError
    from lightning_modules.measures.catalogue import Measure
    from lightning_modules.measures.metric import Metric
    from lightning_modules.models.families import register_family
    from lightning_modules.settings import Axis
    from sweeps.plugins import load_plugins
    from sweeps.spec.point import Point
    from sweeps.spec.stopping import register_scheduler
    from sweeps.store.store import Store

__all__ = [
    "Axis",
    "Measure",
    "MemsweepError",
    "MemsweepWarning",
    "Metric",
    "Point",
    "Store",
    "Sweep",
    "bits",
    "compact",
    "curves",
    "curves_figure",
    "decide_claims",
    "emc",
    "example_scores",
    "examples",
    "frontier",
    "heatmap",
    "lines",
    "load_plugins",
    "load_sweep",
    "plan",
    "points",
    "presets",
    "read",
    "regime",
    "regimes",
    "register_claim",
    "register_family",
    "register_field",
    "register_figure",
    "register_measure",
    "register_scheduler",
    "register_source",
    "replay",
    "report",
    "run",
    "scores",
    "spread",
    "status",
    "stopping_study",
    "train",
]

_MODULES = {
    "memsweep.inputs": ("Sweep", "load_sweep", "presets"),
    "memsweep.early_stopping": ("replay", "stopping_study"),
    "memsweep.judging": ("decide_claims", "regime"),
    "memsweep.reporting": ("report",),
    "memsweep.registering": ("register_field", "register_measure"),
    "memsweep.running": ("compact", "plan", "run", "status", "train"),
    "memsweep.tables": ("curves", "example_scores", "examples", "points", "read"),
    "memsweep.messages": ("MemsweepWarning",),
    "analysis.figures.curves": ("curves_figure",),
    "analysis.figures.heatmaps": ("heatmap",),
    "analysis.claims": ("register_claim",),
    "analysis.figures.kinds": ("register_figure",),
    "lightning_modules.data.sources": ("register_source",),
    "lightning_modules.errors": ("MemsweepError",),
    "lightning_modules.measures.catalogue": ("Measure",),
    "lightning_modules.measures.metric": ("Metric",),
    "lightning_modules.models.families": ("register_family",),
    "lightning_modules.settings": ("Axis",),
    "sweeps.plugins": ("load_plugins",),
    "sweeps.spec.point": ("Point",),
    "sweeps.spec.stopping": ("register_scheduler",),
    "sweeps.store.store": ("Store",),
}
_FIGURES = {
    "bits": "analysis.figures.bits:bits_plot",
    "emc": "analysis.figures.emc:emc_plot",
    "frontier": "analysis.figures.frontier:frontier_plot",
    "lines": "analysis.figures.lines:line_plot",
    "regimes": "analysis.figures.regime_maps:regime_map",
    "scores": "analysis.figures.histograms:histogram",
    "spread": "analysis.figures.spread:spread_plot",
}
_PLACES = {name: f"{module}:{name}" for module, names in _MODULES.items() for name in names} | _FIGURES


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'memsweep' has no attribute {name!r}")
    from memsweep.guard import check_packages

    check_packages()
    from sweeps.plugins import load_plugins

    load_plugins()
    module, _, attribute = _PLACES[name].partition(":")
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
