"""The dispatcher, which assigns members to lanes, and whose referee decides which members stop.

Cohorts train in lanes. A lane starts with a cohort of the plan. After every evaluation, it reports its results, learns
which members continue, and replaces members that stop with waiting members of the same shape. All lanes of a sweep
share one dispatcher, which is an actor under Ray and an ordinary object in one process.

A member belongs to the lane that trains it until that lane has stored its results. After a worker is lost, the next
attempt therefore gets the same members, and the referee, which knows their epochs, repeats its verdicts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sweeps.planning.plan import Plan, Training, stack_key
from sweeps.spec.stopping import EarlyStopping
from sweeps.stopping.referee import Referee, Status, Verdict
from sweeps.store.deduplication import KEY
from sweeps.store.records import Outcome
from sweeps.store.store import Store

Curve = Sequence[tuple[int, Mapping[str, float | None]]]
"""The (epoch, measures) pairs of a training, in order of epoch."""

OVER = (Status.TERMINATED, Status.ERROR)


@dataclass(frozen=True)
class Report:
    """A lane's report on a member after an evaluation. `measures` is None if the member diverged or raised."""

    member: str
    epoch: int
    measures: Mapping[str, float | None] | None


@dataclass(frozen=True)
class Answer:
    verdicts: tuple[Verdict, ...]
    """One verdict per report."""
    joining: tuple[Training, ...]
    """The members that fill the free places of the lane, and that now belong to it."""


class LocalDispatcher:
    """The dispatcher itself, which Ray wraps in an actor. All methods are fast, because lanes wait for their answers.

    Args:
        settled: the curves of trainings that ended in earlier runs, with which later trainings are compared.
    """

    def __init__(
        self, settings: EarlyStopping, members: Sequence[Training], settled: Mapping[str, Curve] | None = None
    ) -> None:
        self._members = {member.id: member for member in members}
        settled = {member: curve for member, curve in (settled or {}).items() if curve}
        horizons = {member.id: member.settings.epochs for member in self._members.values()}
        self._referee = Referee(settings, {**{i: curve[-1][0] for i, curve in settled.items()}, **horizons})
        self._of_shape: dict[tuple[object, ...], dict[str, None]] = {}
        """shape -> the members that still have to be trained or stored, in the plan's order."""
        self._lane: dict[str, str] = {}
        """member -> the lane that is training it, or that has trained it and not stored it yet."""
        self._left: dict[str, None] = {}
        """Members of a lost lane, which can resume in any lane of their shape."""
        self._others: dict[str, None] = {}
        """Members that another run is training. They are assigned only to a lane that requests them by name."""
        self._ended: dict[str, None] = {}
        """Paused members that will not resume, and whose results still have to be stored."""
        for member, curve in settled.items():
            self._referee.recall(member, curve, over=True)
        # Add members in the plan's order rather than by cohort, since a scheduler's brackets depend on the order.
        for training in self._members.values():
            self._referee.add(training.id)
            self._of_shape.setdefault(stack_key(training.settings), {})[training.id] = None

    def assign(self, lane: str, wanted: Sequence[str], places: int) -> tuple[Training, ...]:
        """Return the members that a lane starts with: waiting ones in `wanted`, then others of the same shape.

        If the lane has already started once, it is assumed to have been lost, and its members are released first.
        """
        self._lose(lane)
        assigned = _take(self._others, wanted, places)
        self._lane |= dict.fromkeys(assigned, lane)
        assigned += self._take_waiting(lane, wanted, places - len(assigned))
        assigned += self._take_waiting(lane, self._like(wanted[0]), places - len(assigned))
        return tuple(self._members[member] for member in assigned)

    def report(self, lane: str, reports: Sequence[Report], like: str, free: int | None) -> Answer:
        """Judge the members of a lane after an evaluation, and choose the members that join it.

        Args:
            like: any of the members, whose shape joining members must have.
            free: the number of places that were free before the report, or None to let no members join.
        """
        verdicts = tuple(map(self._verdict, reports))
        self._ended |= dict.fromkeys(self._referee.ended())
        if free is None:
            return Answer(verdicts, ())
        leaving = sum(verdict != Verdict.CONTINUE for verdict in verdicts)
        joining = self._take_waiting(lane, self._like(like), free + leaving)
        return Answer(verdicts, tuple(self._members[member] for member in joining))

    def restore(self, member: str, curve: Curve) -> bool:
        """Pass the curve of a member with a checkpoint to the referee, and return whether the member resumes."""
        self._referee.recall(member, curve)
        return self._referee.status(member) not in OVER

    def release(self, members: Collection[str]) -> None:
        """Record that the results of members are stored, either as rows or as the checkpoint of a paused member."""
        for member in members:
            self._lane.pop(member, None)
            if self._referee.status(member) in OVER and member not in self._ended:
                self._like(member).pop(member, None)

    def defer(self, members: Collection[str]) -> None:
        """Record that another run has leased these members. A lane gets them back if it requests them by name."""
        for member in members:
            self._lane.pop(member, None)
            self._others[member] = None

    def mark_done_elsewhere(self, curves: Mapping[str, Curve]) -> None:
        """Record that these members need no training here, with the curves that another run has stored of them.

        Later members are compared with the curves, as with those of an earlier run. A member without a curve has
        failed, or is left out.
        """
        for member, curve in curves.items():
            if curve and not self._referee.settings.pauses:  # HyperBand waits for members that are in its brackets
                self._referee.recall(member, curve, over=True)
            else:
                self._referee.fail(member)
            self._others.pop(member, None)
        self.release(curves)

    def open_members(self, lane: str, like: str) -> tuple[Training, ...]:
        """Return the members that still have to be trained or stored after a lane has ended.

        The members have the shape of `like` and no lane, and include members of the ended lane. They are selected by
        shape rather than by name, since a process that knew a name may be lost.
        """
        self._lose(lane)
        return tuple(self._members[member] for member in self._like(like) if self._is_unsettled(member))

    def _verdict(self, report: Report) -> Verdict:
        if report.measures is None:
            self._referee.fail(report.member)
            return Verdict.STOP
        return self._referee.report(report.member, report.epoch, report.measures)

    def _lose(self, lane: str) -> None:
        """Release the members that a lane was training, so that they can resume in any lane."""
        for member in [member for member, at in self._lane.items() if at == lane]:
            del self._lane[member]
            self._left[member] = None

    def _is_unsettled(self, member: str) -> bool:
        if member in self._left or member in self._others or member in self._ended:
            return True
        return member not in self._lane and self._referee.status(member) in (Status.PENDING, Status.PAUSED)

    def _like(self, member: str) -> dict[str, None]:
        """Return all members of this member's shape whose results are not stored yet."""
        return self._of_shape[stack_key(self._members[member].settings)]

    def _take_waiting(self, lane: str, among: Collection[str], places: int) -> list[str]:
        """Assign at most `places` of the waiting members in `among` to a lane, and return them."""
        # Skip members that have a lane: the lane is about to store a checkpoint from which they can resume later.
        free = {member: None for member in among if member not in self._lane} if places > 0 else {}
        taken = _take(self._ended, free, places)
        taken += _take(self._left, free, places - len(taken))
        for member in taken:
            del free[member]
        while len(taken) < places and (chosen := self._referee.choose(free)):
            self._referee.start(chosen)
            del free[chosen]
            taken.append(chosen)
        self._lane |= dict.fromkeys(taken, lane)
        return taken


def _take(members: dict[str, None], among: Collection[str], places: int) -> list[str]:
    """Remove at most `places` members that are in `among`, and return them."""
    taken = [member for member in among if member in members][: max(0, places)]
    for member in taken:
        del members[member]
    return taken


def settled_curves(plan: Plan, store: Store) -> dict[str, Curve]:
    """Read the curves of completed trainings, with the measures that early stopping uses. Raises StoreError."""
    assert plan.early_stopping
    todo = {cell.trajectory_id for cell in plan.missing}
    return curves_of([each for each in plan.horizons if each not in todo], store, plan.early_stopping.metrics)


def curves_of(trainings: Sequence[str], store: Store, names: Sequence[str]) -> dict[str, Curve]:
    """Read the stored measures with these names of each of these trainings, in this order. Raises StoreError."""
    if not trainings:
        return {}
    table = store.read([*names]).table
    known = pc.is_in(table["trajectory_id"].cast(pa.string()), pa.array(trainings))
    table = table.filter(pc.and_(known, pc.equal(table["outcome"], Outcome.FINISHED)))
    curves: dict[str, list[tuple[int, dict[str, float | None]]]] = {}
    for row in table.select([*KEY, *names]).sort_by([("epoch", "ascending")]).to_pylist():
        curve = curves.setdefault(row.pop("trajectory_id"), [])
        curve.append((row.pop("epoch"), row))
    # Later curves are compared with the curves that are recalled before them, so the order matters.
    return {training: curves[training] for training in trainings if training in curves}
