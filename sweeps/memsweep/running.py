"""Functions that plan and train sweeps, report their progress, and compact stores."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from memsweep.inputs import (
    DEFAULT_STORE,
    StoreLike,
    Sweep,
    SweepLike,
    as_store,
    as_sweep,
    existing_store,
    plain,
    run_command,
)
from memsweep.messages import Summary, warn_of_damage
from memsweep.missing_data import read_without_data, rest_of
from memsweep.terminal import tell
from rich.console import Console

from analysis.figures.parsing import figures_of
from lightning_modules.settings import DEFAULTS
from sweeps.errors import ExecutionError
from sweeps.execution.choice import packed_for_this_process
from sweeps.execution.defaults import CHECKPOINT_SECONDS, RETRIES, Device
from sweeps.execution.observer import Observer
from sweeps.execution.protocol import Executor, is_job_address
from sweeps.execution.resources import local_resources
from sweeps.planning.explain import explain, in_short, summary
from sweeps.planning.inspection import inspect_networks
from sweeps.planning.plan import Cohort, Plan
from sweeps.planning.superseded import columns, superseded
from sweeps.spec.point import Point
from sweeps.spec.sweep_file import settable
from sweeps.store.compaction import compact as merge_parts
from sweeps.store.compaction import compact_if_many
from sweeps.store.data_records import write_records
from sweeps.store.done import STOPPED_BY, Done, marks
from sweeps.store.store import Contents, Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def plan_of(sweep: Sweep) -> Plan:
    """Plan a whole sweep for this machine, as if nothing were done."""
    return Plan.of(sweep, local_resources(None).packing(None, None))


def plan(
    sweep: SweepLike,
    store: StoreLike = DEFAULT_STORE,
    *,
    max_cohort: int | None = None,
    workers: int | None = None,
) -> Summary:
    """Report the finished and missing points, the savings of folding and packing, and the time needed. Train nothing.

    Args:
        sweep: a `Sweep`, or the name of a preset or file.
        store: the store for the results, which need not exist.
        max_cohort: the largest number of trainings in one stack; by default the number at which they train fastest.
        workers: the number of cohorts that train at once; by default one per core.

    Returns:
        A dictionary with the values of `memsweep plan --json` (points, missing, trajectories, cohorts, flops, seconds,
        ...). Its repr is the output of `memsweep plan`.

    Raises:
        SweepError: if the sweep is not valid, or if a network of your own cannot be trained in a stack.
        StoreError: if the store cannot be read.

    Examples:
        >>> ms.plan("quickstart", "results")
        quickstart: 270 points, 0 done, 270 to train
        ...
    """
    study = as_sweep(sweep)
    figures_of(study)
    place = as_store(store)
    stored = _stored(place, study)
    planned = rest_of(study, local_resources(workers).packing(workers, max_cohort), Done.of(stored), place)
    inspect_networks(planned, study.source)
    notes = superseded(planned, stored)
    return Summary({**summary(planned), "superseded": notes}, explain(planned, notes))


def run(
    sweep: SweepLike,
    store: StoreLike = DEFAULT_STORE,
    *,
    max_cohort: int | None = None,
    workers: int | None = None,
    inline: bool | None = None,
    address: str | None = None,
    device: Device = "cpu",
    checkpoint_every: float = CHECKPOINT_SECONDS,
    retries: int = RETRIES,
    max_failures: int | None = None,
    retry_failed: bool = False,
    verbose: bool = False,
    progress: bool | Console = True,
    job_options: Sequence[str] = (),
) -> Summary:
    """Train the missing points of a sweep and store their results.

    You can interrupt `run` at any time, and call it again to resume. If this process is already connected to Ray, `run`
    uses that connection and leaves it open. If `run` starts Ray, it shuts Ray down, even after an interruption.

    Args:
        sweep: a `Sweep`, or the name of a preset or file.
        store: a `Store`, a folder, or a URI such as "s3://BUCKET/PATH".
        max_cohort: the largest number of trainings in one stack; by default the number at which they train fastest.
        workers: the number of cohorts that train at once; by default one per core.
        inline: True to train in this process, one cohort after another; False to train on Ray. By default, a plan of a
            few seconds, which would take longer on Ray, trains in this process, unless `workers`, `address` or `device`
            are given, trainings are stopped early, or this process is connected to Ray. The results are the same.
        address: a Ray cluster's address, "auto" on one of its nodes, or "http://HOST:8265" to submit the run to the
            cluster as a job and follow it.
        device: "cpu", "cuda" (cohorts share the memory of GPUs) or "auto" (GPUs, and the CPUs of nodes without a GPU).
        checkpoint_every: the number of seconds between two checkpoints of a cohort.
        retries: how often a cohort that was lost with its worker or node is retried before it is split into halves.
        max_failures: the number of failed trainings after which no further cohort is started; by default a tenth of the
            trainings, and at least 10. By default, if 8 members of a cohort have failed alone for one reason and none
            has trained, its other members are not tried either. What is not tried stays missing.
        retry_failed: whether to retry trainings that are recorded as failed.
        verbose: whether to show the output of Ray and Tune.
        progress: whether to show the plan and a progress bar, or the console that shows them.
        job_options: further options for the command that a job runs, such as "--json".

    Returns:
        A dictionary with the values of `memsweep run --json` (sweep, trained, points, cohorts, failed, diverged,
        stopped, causes, untried and seconds), which prints as one sentence. `failed`, `diverged` and `stopped` list one
        mapping per training, with the reason; `causes` counts the trainings per reason. The result of a job contains
        only `succeeded`.

    Raises:
        SweepError: if the sweep is not valid. Nothing is trained in that case.
        StoreError: if the store cannot be read or written.
        ExecutionError: if workers, GPUs or a cluster are not available.

    Examples:
        >>> sweep = ms.Sweep("widths", fixed={"data": "digits", "epochs": 5}, grid={"width": [4, 8]})
        >>> ms.run(sweep, "results", inline=True, progress=False)
        trained 2 of 2 trainings (2 points) in 1.2 s, 1.67 points/s
    """
    from memsweep.progress import Display, console_here

    study, place = as_sweep(sweep), as_store(store)
    console = progress if isinstance(progress, Console) else console_here(quiet=not progress)

    def say(message: str) -> None:
        tell(console, message)

    if is_job_address(address):
        from sweeps.execution.on_ray.jobs import hand_over

        options = {"max-cohort": max_cohort, "workers": workers, "device": device,
                   "checkpoint-every": checkpoint_every, "retries": retries, "max-failures": max_failures,
                   "retry-failed": retry_failed, "verbose": verbose}  # fmt: skip
        if not study.words:
            problem = "a sweep written in Python cannot be handed over; valid: a preset or a sweep file"
            raise ExecutionError(f"--address {address}: {problem}, such as one with the text sweep.definition()")
        succeeded = hand_over(address, study.words, place, options, job_options, say)
        return Summary({"succeeded": succeeded}, f"the job {'succeeded' if succeeded else 'failed'}")
    figures_of(study)  # a figure that cannot be drawn is refused before the training, not after
    stored = _stored(place, study)
    done = Done.of(stored)
    settled = done.without_failed() if retry_failed else done
    todo = chosen = None
    if not inline and (address, device) == (None, "cpu"):  # such a plan is known without starting Ray
        todo = rest_of(study, local_resources(workers).packing(workers, max_cohort), settled, place)
        inspect_networks(todo, study.source)
        if inline is None and workers is None and not _connected_to_ray():
            chosen = packed_for_this_process(todo)
        todo = chosen or todo
        say(explain(todo, superseded(todo, stored)))
    if chosen:
        say(f"{in_short(chosen)}: training in this process; --ray trains on Ray")
    executor: Executor
    began = time.monotonic()
    with ExitStack() as opened:
        if inline or chosen or (todo and not todo.missing):
            from sweeps.execution.inline import Inline

            executor = Inline(device, checkpoint_every, max_failures)
        else:  # Ray takes a second to import, so runs that do not need it do not import it
            if todo:
                from sweeps.execution.on_ray.connection import started_while_importing

                opened.enter_context(started_while_importing(min(todo.packing.workers, len(todo.cohorts)), verbose))
            from sweeps.execution.on_ray.executor import RayTune

            executor = RayTune(address, device, verbose, checkpoint_every, retries, max_failures)
        resources = opened.enter_context(executor.resources(workers, say))
        if todo is None:
            todo = rest_of(study, resources.packing(workers, max_cohort), settled, place)
            inspect_networks(todo, study.source)
            say(explain(todo, superseded(todo, stored)))
            began = time.monotonic()  # a cluster may have started a node before, which takes minutes
        write_records(place.location, (cell.point for cell in todo.cells))
        with Display(todo, console, began) as display:
            if todo.missing:
                observer = Observer(todo, resources.executor, display.listen, began)
                try:
                    executor.execute(todo, place, observer)
                finally:
                    observer.save()
        merged = compact_if_many(place) if todo.missing else None
        if merged:
            say(f"store merged: {merged.words()}")
    return Summary(display.summary(), display.sentence() if todo.missing else "nothing to train")


def status(sweep: SweepLike, store: StoreLike = DEFAULT_STORE) -> Summary:
    """Report how much of a sweep is done, and which trainings failed and why.

    Returns:
        A dictionary with the values of `memsweep status --json` (points by outcome, failures, damaged files). Its repr
        is the output of `memsweep status`.

    Examples:
        >>> ms.status("quickstart", "results")["missing"]
        270
    """
    from memsweep import completion

    study, place = as_sweep(sweep), existing_store(store)
    with read_without_data(place):
        planned = plan_of(study)
    contents = place.read(["reason", *planned.outcome_columns], {cell.epoch for cell in planned.cells})
    found = completion.report(planned, contents)
    commands = run_command(study, place), run_command(study, place, retry_failed=True)
    return Summary(found, completion.describe(found, *commands))


def compact(store: StoreLike = DEFAULT_STORE) -> Summary:
    """Merge the store's small parts into large ones. Other processes may read, train and compact at the same time.

    Returns:
        A dictionary with the numbers of parts, rows and bytes before and after, which prints as one sentence.

    Raises:
        StoreError: if the store cannot be read or written.

    Examples:
        >>> ms.compact("results")
        results: 6 parts (0.2 MB) before, 1 (0.1 MB) after
    """
    place = as_store(store)
    place.check_exists()
    merged = merge_parts(place)
    warn_of_damage(merged.left_alone)
    return Summary(asdict(merged), f"{place}: {merged.words()}")


def train(
    points: Point | Mapping[str, Any] | Sequence[Point | Mapping[str, Any]],
    *,
    evaluate: str | int = "log",
    measure: Sequence[str | Mapping[str, Sequence[int]]] = (),
    device: str = "cpu",
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> pd.DataFrame:
    """Train one cohort in this process, without a store, and return its learning curves.

    Errors of the training are raised and not recorded, which helps to debug a model or data set.

    Args:
        points: one or more trainings, each as a mapping from a field to its value, or as a `Point` of
            `Sweep.points()`. The trainings form one stack, so their tensors must have the same shapes.
        evaluate: the epochs at which to evaluate, as in `Sweep`.
        measure: the on-demand measures, as in `Sweep`.
        device: torch's name of the device, "cpu" or "cuda".
        on_epoch: a function that is called with the number of every finished epoch.

    Returns:
        A table with one row per training and evaluated epoch and the columns of `curves`. A training that diverges has
        no rows from that epoch on.

    Raises:
        SweepError: if a field or value is not valid, or if the trainings cannot share a stack.

    Examples:
        >>> curves = ms.train({"data": "digits", "width": 8, "epochs": 4, "label_noise": 0.4})
        >>> curves["epoch"].tolist()
        [1, 2, 3, 4]
    """
    from analysis.tables.points import curves_table
    from lightning_modules.data import sources
    from lightning_modules.training.train import train_cohort
    from sweeps.execution.results import records_of
    from sweeps.store.records import table_of

    given = [points] if isinstance(points, Point | Mapping) else [*points]
    grid = [{name: [value] for name, value in _fields(point).items()} for point in given]
    planned = Plan.of(Sweep("train", grid=grid, evaluate=evaluate, measure=measure))
    inspect_networks(planned, "train")
    if len(planned.stacks) > 1:
        raise ExecutionError(
            f"train: the trainings make {len(planned.stacks)} stacks of different shapes; valid: one stack, or `run` "
            "for a grid of them"
        )
    cohort = Cohort(planned.stacks[0])
    dataset = sources.load(*sources.reference(cohort.members[0].settings))
    records = records_of(cohort, train_cohort(cohort.members, dataset, device=device, on_epoch=on_epoch))
    return curves_table(planned, Contents(table_of(records), {})).to_pandas()


def _connected_to_ray() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _fields(point: Point | Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a training that differ from their defaults."""
    if isinstance(point, Point):
        point = {name: value for name in settable() if (value := getattr(point, name)) != DEFAULTS[name]}
    return plain(point, "train", "") or {"seed": DEFAULTS["seed"]}


def _stored(store: Store, study: Sweep) -> pa.Table:
    """Return the stored rows, with the measures that this sweep requests and the versions of its code."""
    stopped = [STOPPED_BY] if study.early_stopping else []
    contents = store.read(
        [*(marks()[measure] for measure in study.measurement.epochs), *stopped, *columns(study)],
        study.requested_epochs,
    )
    warn_of_damage(contents.damaged)
    return contents.table
