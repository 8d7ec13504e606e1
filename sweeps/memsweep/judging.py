"""What a trained sweep shows: regimes, claims, early stopping on recorded curves, and reports."""

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
    """Claims with their verdicts, which print as `memsweep claims` does."""

    def frame(self) -> pd.DataFrame:
        """One row per contrast of a claim: claim, experiment, contrast, effect, low, high, n, verdict, ..."""
        import pandas as pd

        rows = []
        for claim in self.figures():
            shared = {name: value for name, value in claim.items() if name != "contrasts"}
            rows += [{**shared, **contrast} for contrast in claim["contrasts"]]
        return pd.DataFrame(rows)

    def figures(self) -> list[dict[str, Any]]:
        """What `memsweep claims --json` prints."""
        from analysis.claims.wording import record

        return [record(decision) for decision in self]

    def table(self) -> Table:
        """One row per contrast, for a terminal."""
        from analysis.report.claims_page import verdict_table

        return verdict_table(self)

    def sentence(self) -> str:
        """The number of claims by verdict, and the commands that train what is missing."""
        from analysis.report.claims_page import commands, summary

        lacking = commands(self)
        return summary(self) + "".join(["\n", "\n  ".join(["to train what is missing:", *lacking])] if lacking else [])

    def write(self, out: str | Path) -> Path:
        """Write a page with a small picture of each effect into the folder; the path of the page."""
        from analysis.report.claims_page import write_page

        return write_page(self, Path(out))[0]

    def __repr__(self) -> str:
        return f"{_text(self.table(), 120)}\n{self.sentence()}"


def regime(points: pd.DataFrame, rule: str | Rule = "relative", **evidence: Any) -> pd.Series:
    """Name the regime of each point: generalizing, coexisting, memorizing, underfit or diverged.

    Args:
        points: the table of `points`, whole: what is compared with the best accuracy of a data set needs all of it.
        rule: "relative", "doshi2024" or "liu2022", or a rule with thresholds of one's own.
        evidence: chance (the accuracy of guessing, in 0..1; by default 1/C of the data's C classes), curves, reference
            and full_size, as far as the rule needs them.

    Returns:
        A categorical column on the index of the points; NaN for a point that is missing or failed.

    Raises:
        AnalysisError: for an unknown rule, and for evidence that the rule needs and was not given.

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
    """Decide what the data of a store say of what the papers claim: supported, contradicted or undecided.

    Args:
        sweeps: the presets, or sweeps with the name of one, that the claims rest on; by default all claims.
        store: where their results lie.
        settings: values to lay over the sweeps that are given by name, as in `load_sweep`.

    Returns:
        A list of decisions, which prints as `memsweep claims` does; `frame()` has one row per contrast.

    Raises:
        SweepError: for a sweep that no claim rests on.
        StoreError: for a store that cannot be read.

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
    """Return the words by which a command finds a sweep."""
    return shlex.join(study.words) or study.name


@dataclass(frozen=True)
class Replayed:
    """What a scheduler would have done on recorded curves, which prints as `memsweep replay` does.

    Attributes:
        lines: one per rule, the scheduler and what it has to beat: the epochs it trains, what that costs in the
            metric, and how often it keeps the best training.
        stops: one row per rule, order of arrival and training: where the training would have stopped.
    """

    lines: list[Line]
    stops: pd.DataFrame

    def figures(self) -> list[dict[str, Any]]:
        """What `memsweep replay --json` prints."""
        from analysis.stopping.replayed import for_machines

        return for_machines(self.lines)

    def frame(self) -> pd.DataFrame:
        """One row per rule, with intervals in columns of their own, such as budget.mean, budget.low and budget.high."""
        import pandas as pd

        return pd.json_normalize(self.figures())

    def table(self) -> Table:
        """One row per rule, for a terminal."""
        from analysis.stopping.replayed import table

        return table(self.lines)

    def write(self, out: str | Path) -> None:
        """Write `stops` as Parquet or CSV, by the suffix. Raises ExportError."""
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
    """Replay one of Ray Tune's early-stopping schedulers on the recorded curves, beside what it has to beat.

    Args:
        sweep: a sweep whose trainings are all recorded up to their last epoch.
        store: where they lie.
        scheduler: "asha", "hyperband" or "median".
        metric: what it sees; by default validation_accuracy if the sweep holds validation data out.
        mode: "max" or "min"; by default max for accuracies and min for losses.
        grace_period: the epochs before it judges (asha, median); default 1.
        reduction_factor: one training in this many goes on (asha, hyperband); default 3.
        brackets: of asha; default 1.
        min_samples: how many other trainings must have got as far (median); default 3.
        workers: how many trainings run at once.
        seeds: the number of orders of arrival: that of the sweep, then shuffles.
        progress: whether to show a progress bar on a terminal, or the console to show it on.

    Raises:
        SweepError: for a setting that the scheduler does not have, or a missing metric.
        ReplayError: for trainings that are not recorded up to their last epoch.

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
    """What `stopping_study` found, and where it wrote its page."""

    findings: Findings
    page: Path

    def figures(self) -> list[dict[str, Any]]:
        """What `memsweep stopping-study --json` prints."""
        from analysis.stopping.evidence import for_machines

        return for_machines(self.findings)

    def tables(self) -> list[Table]:
        """One table per metric, for a terminal."""
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
    """Replay schedulers at many settings: what they save, what that costs and which trainings they stop.

    Args:
        sweep: a sweep whose trainings are all recorded up to their last epoch.
        store: where they lie.
        schedulers: some of "asha", "hyperband" and "median"; by default all.
        metrics: what they see; by default test_accuracy, and validation_accuracy if there is one.
        by: the fields that separate searches; by default the fields of the data that vary, and the seed.
        workers: how many trainings run at once.
        seeds: the number of orders of arrival.
        out: the folder for tables, figures and a page; by default stopping/NAME.
        progress: as in `replay`.

    Raises:
        SweepError, ReplayError: as `replay` does.
        ExportError: for a folder that cannot be written.

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
        store: where its results lie.
        out: the folder; by default report/NAME.

    Returns:
        The paths that were written, the page first. A figure that is left out is a MemsweepWarning.

    Raises:
        SweepError, StoreError: for a sweep or a store that cannot be used.
        AnalysisError: for a figure that cannot be drawn.
        ExportError: for a folder that cannot be written.

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
    """Draw one heatmap into a file. Reads only the columns of the store that it needs, where `points` reads all.

    Raises:
        AnalysisError: for a field or measure that the sweep does not have.
        ExportError: for a file that cannot be written.
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
    """A table of the command line as plain text."""
    paper = Console(file=io.StringIO(), width=width, highlight=False, force_terminal=False, force_jupyter=False)
    with paper.capture() as text:
        paper.print(table)
    return text.get().rstrip()
