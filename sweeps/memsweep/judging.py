"""Conclusions from a trained sweep: regimes, claims, early stopping on recorded curves, and reports."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memsweep.inputs import (
    DEFAULT_STORE,
    StoreLike,
    Sweep,
    SweepLike,
    as_store,
    as_sweep,
    run_command,
    store_option,
)
from memsweep.messages import warn, warn_of_damage
from memsweep.progress import console_here, counted
from memsweep.running import plan_of
from rich.console import Console

from sweeps.planning.plan import Plan

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from analysis.claims import Decision
    from analysis.statistics.regime_rules import Rule
    from analysis.stopping.findings import Findings
    from analysis.stopping.replayed import Line


class Decisions(list["Decision"]):
    """A list of claims with their verdicts. Its repr is the output of `memsweep claims`."""

    def frame(self) -> pd.DataFrame:
        """Return a table with one row per contrast: claim, experiment, contrast, effect, low, high, n, verdict, ..."""
        import pandas as pd

        rows = []
        for claim in self.figures():
            shared = {name: value for name, value in claim.items() if name != "contrasts"}
            rows += [{**shared, **contrast} for contrast in claim["contrasts"]]
        return pd.DataFrame(rows)

    def figures(self) -> list[dict[str, Any]]:
        """Return the data that `memsweep claims --json` prints."""
        from analysis.claims.wording import record

        return [record(decision) for decision in self]

    def table(self) -> Table:
        """Return a table for a terminal, with one row per contrast."""
        from analysis.report.claims_page import verdict_table

        return verdict_table(self)

    def sentence(self) -> str:
        """Return a sentence with the number of claims per verdict, and the commands that train the missing points."""
        from analysis.report.claims_page import commands, summary

        lacking = commands(self)
        return summary(self) + "".join(["\n", "\n  ".join(["to train what is missing:", *lacking])] if lacking else [])

    def write(self, out: str | Path) -> Path:
        """Write a page with a small figure of each effect to the folder `out`, and return the path of the page."""
        from analysis.report.claims_page import write_page

        return write_page(self, Path(out))[0]

    def __repr__(self) -> str:
        return f"{_text(self.table(), 120)}\n{self.sentence()}"


def regime(points: pd.DataFrame, rule: str | Rule = "relative", **evidence: Any) -> pd.Series:
    """Name the regime of each point: generalizing, coexisting, memorizing, underfit or diverged.

    Args:
        points: the complete table from `points`, since rules compare a point with the best accuracy on its data set.
        rule: "relative", "doshi2024" or "liu2022", or a rule with custom thresholds.
        evidence: chance (the accuracy of guessing, in 0..1; by default 1/C for data of C classes), curves, reference
            and full_size, if the rule needs them.

    Returns:
        A categorical series with the index of `points`, which is NaN for points that are missing or failed.

    Raises:
        AnalysisError: if the rule is unknown, or if it needs evidence that is not given.

    Examples:
        >>> points["regime"] = ms.regime(points)
    """
    from analysis.statistics.regimes import name_regimes
    from lightning_modules.data import sources

    named = ["data", *sources.all_fields_read()]
    if "chance" not in evidence and {*named} <= {*points.columns}:
        rows = points[named].drop_duplicates().itertuples(index=False)
        classes = {sources.facts(*sources.reference(row)).classes for row in rows}
        evidence["chance"] = 1 / classes.pop() if len(classes) == 1 else None
    return name_regimes(points, rule, **evidence)


def decide_claims(
    sweeps: SweepLike | Sequence[SweepLike] | None = None,
    store: StoreLike = DEFAULT_STORE,
    settings: Mapping[str, Any] | Sequence[str] = (),
) -> Decisions:
    """Decide from the results in a store whether the claims of papers are supported, contradicted or undecided.

    Args:
        sweeps: the presets whose claims to decide, or sweeps with the name of a preset; by default all claims.
        store: the store that holds the results.
        settings: the fields to replace in sweeps that are given by name, as in `load_sweep`.

    Returns:
        A list of decisions, whose repr is the output of `memsweep claims`. Its `frame()` has one row per contrast.

    Raises:
        SweepError: if a sweep is given on which no claim rests.
        StoreError: if the store cannot be read.

    Examples:
        >>> ms.decide_claims("memorization", "results").frame()[["contrast", "effect", "low", "high", "verdict"]]
    """
    from analysis.claims.settled import check_claimed, default_sweeps, settle

    asked = default_sweeps() if sweeps is None else [sweeps] if isinstance(sweeps, SweepLike) else sweeps
    studies = [as_sweep(sweep, settings) for index, sweep in enumerate(asked) if sweep not in asked[:index]]
    place = as_store(store)
    check_claimed(studies)
    contents = place.read()
    warn_of_damage(contents.damaged)
    named = [(_command_name(study), study) for study in studies]
    return Decisions(settle(named, place, contents, shlex.join(store_option(place))))


def _command_name(study: Sweep) -> str:
    """Return the command-line arguments that select a sweep, or its name if it was not loaded by name."""
    return shlex.join(study.words) or study.name


@dataclass(frozen=True)
class Replayed:
    """The result of a replay on recorded curves. Its repr is the output of `memsweep replay`.

    Attributes:
        lines: one entry per rule (the scheduler and each baseline), with the epochs that the rule trains, the loss in
            the metric, and how often the rule keeps the best training.
        stops: one row per rule, order of arrival and training, with the epoch at which the training would have stopped.
    """

    lines: list[Line]
    stops: pd.DataFrame

    def figures(self) -> list[dict[str, Any]]:
        """Return the data that `memsweep replay --json` prints."""
        from analysis.stopping.replayed import for_machines

        return for_machines(self.lines)

    def frame(self) -> pd.DataFrame:
        """Return one row per rule, with intervals in separate columns such as budget.mean, budget.low, budget.high."""
        import pandas as pd

        return pd.json_normalize(self.figures())

    def table(self) -> Table:
        """Return a table for a terminal, with one row per rule."""
        from analysis.stopping.replayed import table

        return table(self.lines)

    def write(self, out: str | Path) -> None:
        """Write `stops` as Parquet or CSV, depending on the suffix. Raises ExportError."""
        import pyarrow as pa

        from analysis.report.export import write_table

        write_table(pa.Table.from_pandas(self.stops, preserve_index=False), Path(out))

    def __repr__(self) -> str:
        return _text(self.table(), 150)


def replay(
    sweep: SweepLike,
    store: StoreLike = DEFAULT_STORE,
    *,
    scheduler: str,
    metric: str | None = None,
    mode: str | None = None,
    grace_period: int | None = None,
    reduction_factor: float | None = None,
    brackets: int | None = None,
    min_samples: int | None = None,
    workers: int = 8,
    seeds: int = 20,
    progress: bool | Console = True,
) -> Replayed:
    """Replay one of Ray Tune's early-stopping schedulers on the recorded curves, together with baselines.

    Args:
        sweep: a sweep whose trainings are all recorded up to their last epoch.
        store: the store that holds the results.
        scheduler: "asha", "hyperband" or "median".
        metric: the metric that the scheduler uses; by default validation_accuracy if the sweep has validation data.
        mode: "max" or "min"; by default "max" for accuracies and "min" for losses.
        grace_period: the number of epochs before a training can be stopped (asha, median); default 1.
        reduction_factor: one training in this many continues (asha, hyperband); default 3.
        brackets: the number of brackets (asha); default 1.
        min_samples: the number of other trainings that must have reached an epoch (median); default 3.
        workers: the number of trainings that run at once.
        seeds: the number of orders in which trainings arrive: the order of the sweep, then shuffled orders.
        progress: whether to show a progress bar on a terminal, or the console that shows the bar.

    Raises:
        SweepError: if the scheduler does not support a given setting, or if the metric is missing.
        ReplayError: if trainings are not recorded up to their last epoch.

    Examples:
        >>> ms.replay("quickstart", "results", scheduler="asha", metric="test_accuracy").frame()
    """
    from analysis.stopping import replayed as counting
    from sweeps.replay.replay import frame, replay_all

    study, place = as_sweep(sweep), as_store(store)
    planned = plan_of(study)
    options = {"scheduler": scheduler, "metric": metric, "mode": mode, "grace_period": grace_period,
               "reduction_factor": reduction_factor, "brackets": brackets, "min_samples": min_samples}  # fmt: skip
    settings = counting.settings_from(options, planned)
    curves = counting.recorded(planned, place, settings, run_command(study, place))
    with counted("replays", _console(progress)) as listen:
        replays = replay_all(curves, [settings], seeds, workers, listen=listen)
    return Replayed(counting.lines(curves, replays, settings), frame(curves, replays))


@dataclass(frozen=True)
class StoppingStudy:
    """The findings of `stopping_study`, and the path of the page that shows them."""

    findings: Findings
    page: Path

    def figures(self) -> list[dict[str, Any]]:
        """Return the data that `memsweep stopping-study --json` prints."""
        from analysis.stopping.evidence import for_machines

        return for_machines(self.findings)

    def tables(self) -> list[Table]:
        """Return one table per metric, for a terminal."""
        from analysis.stopping.evidence import printed

        return printed(self.findings)

    def __repr__(self) -> str:
        return "\n".join([*(_text(table, 150) for table in self.tables()), f"page: {self.page}"])


def stopping_study(
    sweep: SweepLike,
    store: StoreLike = DEFAULT_STORE,
    *,
    schedulers: Sequence[str] = (),
    metrics: Sequence[str] = (),
    by: Sequence[str] = (),
    workers: int = 8,
    seeds: int = 20,
    out: str | Path | None = None,
    progress: bool | Console = True,
) -> StoppingStudy:
    """Replay schedulers at many settings, and report their savings, their costs and the trainings that they stop.

    Args:
        sweep: a sweep whose trainings are all recorded up to their last epoch.
        store: the store that holds the results.
        schedulers: some of "asha", "hyperband" and "median"; by default all three.
        metrics: the metrics that schedulers use; by default test_accuracy, and validation_accuracy if it is recorded.
        by: the fields for whose values to run separate searches; by default the varying fields of the data, and seed.
        workers: the number of trainings that run at once.
        seeds: the number of orders in which trainings arrive, as in `replay`.
        out: the folder for the tables, figures and page; by default stopping/NAME.
        progress: as in `replay`.

    Raises:
        SweepError, ReplayError: as `replay` does.
        ExportError: if the folder cannot be written.

    Examples:
        >>> ms.stopping_study("early-stopping-noise", "results", schedulers=["asha"]).findings.summary
    """
    from analysis.stopping import evidence as early
    from analysis.stopping.compared import question

    study, place = as_sweep(sweep), as_store(store)
    planned = plan_of(study)
    asked = question(planned, schedulers, metrics, seeds, workers, by)
    evidence = early.evidence(planned, place, asked, run_command(study, place))
    warn_of_damage(evidence.contents.damaged)
    with counted("searches", _console(progress)) as listen:
        stops = early.replayed(asked, evidence.curves, evidence.searches, listen)
    findings, paths = early.write(study, planned, evidence, stops, asked, Path(out or Path("stopping") / study.name))
    return StoppingStudy(findings, paths[0])


def report(sweep: SweepLike, store: StoreLike = DEFAULT_STORE, out: str | Path | None = None) -> list[Path]:
    """Draw every figure of a sweep (PNG, SVG and PDF) and write a page that shows them.

    Args:
        sweep: a `Sweep`, or the name of a preset or file.
        store: the store that holds the results.
        out: the folder to write to; by default report/NAME.

    Returns:
        The paths of the written files, starting with the page. A figure that is left out causes a MemsweepWarning.

    Raises:
        SweepError, StoreError: if the sweep or the store cannot be used.
        AnalysisError: if a figure cannot be drawn.
        ExportError: if the folder cannot be written.

    Examples:
        >>> ms.report("quickstart", "results")[0]
        PosixPath('report/quickstart/index.html')
    """
    from analysis.claims.settled import claims_of, evidence, settle_sweep
    from analysis.figures.parsing import figures_of
    from analysis.report.study import draw_report

    study, place = as_sweep(sweep), as_store(store)
    figures = figures_of(study)
    planned, contents = Plan.of(study), place.read()
    warn_of_damage(contents.damaged)
    measures = [spec.measure for spec in figures if spec.measure]
    tables = evidence(planned, place, contents, claims_of(study), *measures)
    claims = settle_sweep(_command_name(study), study, tables, shlex.join(store_option(place)))
    folder = Path(out or Path("report") / study.name)
    paths, left_out = draw_report(study, planned, contents, tables, folder, figures, claims)
    warn(left_out)
    return paths


def write_heatmap(
    sweep: SweepLike,
    store: StoreLike,
    out: Path,
    x: str,
    y: str,
    value: str,
    facet: Sequence[str] = (),
    epoch: int | None = None,
    annotate: str | None = "auto",
) -> None:
    """Draw one heatmap to a file. Only the columns that the heatmap needs are read, whereas `points` reads all of them.

    Raises:
        AnalysisError: if the sweep does not have a field or measure.
        ExportError: if the file cannot be written.
    """
    from analysis.figures.kinds import FigureSpec
    from analysis.report.study import draw_heatmap

    spec = FigureSpec("heatmap", x, y, value, tuple(facet), epoch=epoch, annotate=annotate)
    planned = plan_of(as_sweep(sweep))
    contents = spec.needs.read(planned, as_store(store))
    warn_of_damage(contents.damaged)
    draw_heatmap(planned, contents, out, spec)


def _console(progress: bool | Console) -> Console:
    return progress if isinstance(progress, Console) else console_here(quiet=not progress)


def _text(table: Table, width: int) -> str:
    """Render a table of the command line as plain text of this width."""
    paper = Console(file=io.StringIO(), width=width, highlight=False, force_terminal=False, force_jupyter=False)
    with paper.capture() as text:
        paper.print(table)
    return text.get().rstrip()
