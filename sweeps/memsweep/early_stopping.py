"""Early stopping on recorded curves: replays of schedulers, and the study that compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memsweep.inputs import DEFAULT_STORE, StoreLike, SweepLike, as_sweep, existing_store, run_command
from memsweep.messages import table_text, warn_of_damage
from memsweep.missing_data import read_without_data
from memsweep.progress import console_here, counted
from memsweep.running import plan_of
from rich.console import Console

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from analysis.stopping.findings import Findings
    from analysis.stopping.replayed import Line


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
        return table_text(self.table(), 150)


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

    study, place = as_sweep(sweep), existing_store(store)
    with read_without_data(place):
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
        return "\n".join([*(table_text(table, 150) for table in self.tables()), f"page: {self.page}"])


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

    study, place = as_sweep(sweep), existing_store(store)
    with read_without_data(place):
        planned = plan_of(study)
        asked = question(planned, schedulers, metrics, seeds, workers, by)
        evidence = early.evidence(planned, place, asked, run_command(study, place))
    warn_of_damage(evidence.contents.damaged)
    with counted("searches", _console(progress)) as listen:
        stops = early.replayed(asked, evidence.curves, evidence.searches, listen)
    findings, paths = early.write(study, planned, evidence, stops, asked, Path(out or Path("stopping") / study.name))
    return StoppingStudy(findings, paths[0])


def _console(progress: bool | Console) -> Console:
    return progress if isinstance(progress, Console) else console_here(quiet=not progress)
