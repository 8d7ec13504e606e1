"""Plans of a sweep: pure functions that fold the missing points into trainings, and pack the trainings into cohorts.

    points - done -> trainings -> cohorts

Folding: points that differ only in `epochs` are rows of one training, unless the schedule depends on the horizon.
Packing: trainings whose tensors have the same shapes train as one stack. Folding and packing change no results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from lightning_modules.data import sources
from lightning_modules.data.split_sizes import SplitSizes, split_sizes
from lightning_modules.errors import InputError
from lightning_modules.hashing import hash_of_text
from lightning_modules.models import sizes
from lightning_modules.settings import EQUAL_IN_STACK, FIELDS, ON_IN_STACK
from lightning_modules.training.entry import Entry
from sweeps.errors import SweepError
from sweeps.planning.cost import Cost, training_cost
from sweeps.planning.gc_disabled import gc_disabled
from sweeps.planning.packing import DEFAULT_PACKING, Packing, best_pieces, cuts
from sweeps.planning.work import Work, work_of
from sweeps.spec.evaluation import Evaluation, Measurement
from sweeps.spec.point import Point, training_form
from sweeps.spec.stopping import EarlyStopping
from sweeps.spec.sweep import Sweep, followed
from sweeps.store.done import STOPPED_BY, Done
from sweeps.store.records import Outcome


@dataclass(frozen=True)
class Training(Entry):
    """A training to run, in the form that its stack receives."""

    settings: Point
    """The fields of the training, with width and depth resolved. `epochs` is the horizon."""
    requested: tuple[int, ...] = ()
    """The epochs of the training's points."""

    @cached_property
    def cost(self) -> Cost:
        return _cost(stack_key(self.settings), len(self.evaluated))

    @property
    def work(self) -> Work:
        return _work(stack_key(self.settings))


@dataclass(frozen=True)
class Cohort:
    """Trainings that run as one stacked model, in one Tune trial."""

    members: tuple[Training, ...]
    index: int = 0
    """The index of the cohort in `Plan.cohorts`."""

    def part(self, members: Iterable[Training]) -> Cohort:
        """Return a cohort with the same index but other members, such as a part of this cohort."""
        return replace(self, members=tuple(members))

    def __str__(self) -> str:
        others = f" and {len(self.members) - 1} more" if len(self.members) > 1 else ""
        return f"cohort {self.index} ({self.members[0].id}{others})"

    @cached_property
    def cost(self) -> Cost:
        costs = [member.cost for member in self.members]
        return Cost(sum(cost.flops for cost in costs), sum(cost.bytes for cost in costs))

    @property
    def epochs(self) -> int:
        return self.members[0].settings.epochs


@dataclass(frozen=True)
class Cell:
    """A point of the sweep, and the id of the training that has a row with the point's result."""

    point: Point
    trajectory_id: str

    @property
    def epoch(self) -> int:
        return self.point.epochs


@dataclass(frozen=True)
class Plan:
    """All points of a sweep, and the points that still have to be trained."""

    name: str
    cells: tuple[Cell, ...]
    """All points of the sweep."""
    missing: tuple[Cell, ...]
    """The points that still have to be trained."""
    evaluation: Evaluation
    packing: Packing = DEFAULT_PACKING
    measurement: Measurement = field(default_factory=Measurement)
    early_stopping: EarlyStopping | None = None
    varied: tuple[str, ...] = field(default_factory=lambda: tuple(FIELDS))
    """The fields in which points may differ. In all other fields, every point equals the first point."""

    @classmethod
    def of(cls, sweep: Sweep, packing: Packing = DEFAULT_PACKING) -> Plan:
        """Plan the whole sweep, as if nothing were done. Raises SweepError if a model or size cannot be built."""
        with gc_disabled():
            cells = [_cell(sweep, point) for point in sweep.points()]
        axes = {name for grid in sweep.grids for name in grid}
        varied = tuple(name for name in FIELDS if axes & {name, *followed(name)})
        return cls(
            sweep.name, tuple(cells), tuple(cells), sweep.evaluation, packing, sweep.measurement, sweep.early_stopping,
            varied,
        )  # fmt: skip

    def without(self, done: Done) -> Plan:
        """Return a plan in which the points that are done are no longer missing.

        A finished point is done if all on-demand measures up to its epoch are stored. A point with another stored
        outcome is also done, except that a stopped point must have been stopped by this sweep's own early stopping.
        """

        def is_done(cell: Cell) -> bool:
            outcome = done.outcome(cell.trajectory_id, cell.epoch, self.stopping_digest)
            if outcome != Outcome.FINISHED or not self.measurement.epochs:
                return outcome != Outcome.MISSING
            wanted = self.measurement.at([cell.epoch])
            return all((cell.trajectory_id, at, name) in done.measured for at in wanted for name in wanted[at])

        return replace(self, missing=tuple(cell for cell in self.missing if not is_done(cell)))

    @cached_property
    def stopping_digest(self) -> str | None:
        """The value of the column `stopped_by` in rows of trainings that were stopped by this sweep's settings."""
        return self.early_stopping.digest() if self.early_stopping else None

    @property
    def outcome_columns(self) -> tuple[str, ...]:
        """The columns of a store, besides `outcome`, that determine how this sweep's points ended."""
        return (STOPPED_BY,) if self.early_stopping else ()

    @cached_property
    def horizons(self) -> dict[str, int]:
        """trajectory id -> the last epoch of its points, done or not, in the order of the sweep."""
        horizons: dict[str, int] = {}
        for cell, epoch in zip(self.cells, self.epochs.tolist(), strict=True):
            if horizons.get(cell.trajectory_id, -1) < epoch:
                horizons[cell.trajectory_id] = epoch
        return horizons

    @cached_property
    def epochs(self) -> np.ndarray:
        """The epoch of each point."""
        return np.array([cell.point.epochs for cell in self.cells], np.int64)

    @cached_property
    def trainings(self) -> tuple[Training, ...]:
        """One training per trajectory id of the missing points, up to the largest epoch of the points with this id."""
        cells_of: dict[str, list[Cell]] = {}
        for cell in self.missing:
            cells_of.setdefault(cell.trajectory_id, []).append(cell)
        schedules: dict[tuple[int, ...], dict[str, Any]] = {}  # shared, as most trainings have equal ones
        result = []
        for trajectory_id, cells in cells_of.items():
            epochs = tuple(sorted({cell.epoch for cell in cells}))
            if epochs not in schedules:
                measured = self.measurement.at(epochs)
                evaluated = self.evaluation.epochs(epochs[-1], {*epochs, *measured})
                schedules[epochs] = {"requested": epochs, "evaluated": evaluated, "measured": measured}
            point = resolved(cells[0].point, epochs=epochs[-1])
            result.append(Training(trajectory_id, point, **schedules[epochs]))
        return tuple(result)

    @cached_property
    def stacks(self) -> tuple[tuple[Training, ...], ...]:
        """The trainings that may share a stack, which limits and workers may cut into several cohorts."""
        stacks: dict[tuple[object, ...], list[Training]] = {}
        for training in self.trainings:
            stacks.setdefault(stack_key(training.settings), []).append(training)
        return tuple(tuple(stack) for stack in stacks.values())

    @cached_property
    def cohorts(self) -> tuple[Cohort, ...]:
        """Cohorts of equal shapes, within the limits and of the sizes at which the last one ends first; longest first.

        How the trainings are packed changes how long they take, and no result.
        """
        packing = self.packing
        choices = []
        for stack in self.stacks:
            limit = packing.limit(stack[0].cost.bytes, stack[0].work.stack_bytes)
            choices.append(cuts(len(stack), limit, packing.workers, partial(self._seconds_of_stack, stack)))
        pieces = best_pieces(choices, packing.workers)
        cohorts = [
            Cohort(tuple(part))
            for stack, number in zip(self.stacks, pieces, strict=True)
            for part in nearly_equal(stack, number)
        ]
        cohorts.sort(key=lambda cohort: (-self.seconds(cohort), cohort.members[0].id))
        return tuple(replace(cohort, index=index) for index, cohort in enumerate(cohorts))

    def seconds(self, cohort: Cohort) -> float:
        """Estimate how long a worker is busy with a cohort."""
        return self._seconds_of_stack(cohort.members, len(cohort.members))

    def _seconds_of_stack(self, stack: Sequence[Training], members: int) -> float:
        """Estimate the time of a cohort of some members of a stack, whose trainings are taken to be alike."""
        first, speed, packing = stack[0], self.packing.speed, self.packing
        trained = speed.cohort(first.work, members, first.settings.epochs, len(first.evaluated))
        return packing.cohort_seconds + trained + speed.measures(first.work, members, first.measured)


def _cell(sweep: Sweep, point: Point) -> Cell:
    try:
        return Cell(point, hash_of_text(training_form(resolved(point))))
    except InputError as error:
        raise SweepError(sweep.source, error.field, str(error)) from None


def resolved(point: Point, **more: Any) -> Point:
    """Resolve the size of a point, and change the fields in `more`. Raises InputError if no such network can be built.

    A given `parameter_count` is replaced by the width that comes closest to it, and a missing depth by the family's.
    """
    facts = sources.facts(*sources.reference(point))
    width, depth = _size(point.model, facts.shape, facts.classes, point.parameter_count, point.width, point.depth)
    if sizes.size(point.model, facts.shape, facts.classes, width, depth).needs_two:
        _refuse_lone_examples(point, split_sizes(point, facts.train_size))
    return point.with_(parameter_count=None, width=width, depth=depth, **more)


def _refuse_lone_examples(point: Point, split: SplitSizes) -> None:
    """Check that no batch has a single example. Raises InputError."""
    if split.trained > 0 and split.last_batch(point.batch_size) == 1:
        others = (size for size in range(point.batch_size + 1, split.trained + 1) if split.last_batch(size) > 1)
        valid = f"another batch_size, such as {size}," if (size := next(others, None)) else "more training examples,"
        raise InputError(
            "batch_size",
            f"given {point.batch_size}, which leaves one of {split.trained} training examples for the last batch of an "
            f"epoch, and {point.model} cannot be trained on one example (as BatchNorm on one value per channel); "
            f"valid: {valid} or a model without BatchNorm",
        )


@lru_cache(maxsize=4096)
def _size(
    model: str, shape: tuple[int, ...], classes: int, count: int | None, width: int | None, depth: int | None
) -> tuple[int | None, int | None]:
    size = sizes.resolve(model, shape, classes, parameter_count=count, width=width, depth=depth)
    return size.width, size.depth


def stack_key(point: Point) -> tuple[object, ...]:
    """Return a key that is equal for trainings that may share a stack: tensor shapes, steps and work per step agree."""
    values = point.__dict__
    return *[values[name] for name in EQUAL_IN_STACK], *[values[name] > 0 for name in ON_IN_STACK]


@lru_cache(maxsize=4096)
def _cost(key: tuple[object, ...], evaluations: int) -> Cost:
    fields: dict[str, Any] = dict(zip((*EQUAL_IN_STACK, *ON_IN_STACK), key, strict=True))
    return training_cost(Point.model_construct(**fields), evaluations)


@lru_cache(maxsize=4096)
def _work(key: tuple[object, ...]) -> Work:
    fields: dict[str, Any] = dict(zip((*EQUAL_IN_STACK, *ON_IN_STACK), key, strict=True))
    return work_of(Point.model_construct(**fields))


def nearly_equal(stack: Sequence[Training], pieces: int) -> Iterable[Sequence[Training]]:
    """Split a sequence into parts of nearly equal length, in order."""
    small, larger = divmod(len(stack), pieces)
    start = 0
    for i in range(pieces):
        stop = start + small + (i < larger)
        yield stack[start:stop]
        start = stop
