"""LocalJudge: one referee over all members of a running sweep, and the places that they train in.

Cohorts train in lanes: a lane begins with a cohort of the plan, asks after every evaluation who goes on, and fills the
places of those that stopped with members that wait, of the same shape. All lanes of a sweep ask one object: with Ray it
is an actor, and in one process it is just there.

A member belongs to the lane that trains it until that lane has stored what it left. So when a worker is lost, its next
attempt is given the same members, and the referee, which has heard of their epochs, repeats its verdicts.
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
"""(epoch, measures), in the order of the epochs."""

OVER = (Status.TERMINATED, Status.ERROR)


@dataclass(frozen=True)
class Report:
    """What a lane tells of a member after an evaluation. measures: None if it diverged or raised."""

    member: str
    epoch: int
    measures: Mapping[str, float | None] | None


@dataclass(frozen=True)
class Answer:
    verdicts: tuple[Verdict, ...]
    """One for each report."""
    joining: tuple[Training, ...]
    """Who takes the places that are free now: the lane's from now on."""


class LocalJudge:
    """Answers the lanes. Every method is a short call: lanes wait for it.

    settled: curves of trainings of the sweep that are over from before; later ones are compared with them.
    """

    def __init__(
        self, settings: EarlyStopping, members: Sequence[Training], settled: Mapping[str, Curve] | None = None
    ) -> None:
        self._members = {member.id: member for member in members}
        settled = {member: curve for member, curve in (settled or {}).items() if curve}
        horizons = {member.id: member.settings.epochs for member in self._members.values()}
        self._referee = Referee(settings, {**{i: curve[-1][0] for i, curve in settled.items()}, **horizons})
        self._of_shape: dict[tuple[object, ...], dict[str, None]] = {}
        """Members by shape, in the plan's order, until nobody has anything to do for them any more."""
        self._lane: dict[str, str] = {}
        """Of each member that is in training, or is over and not stored yet."""
        self._left: dict[str, None] = {}
        """Those of a lane that was lost: they go on in any lane of their shape."""
        self._others: dict[str, None] = {}
        """Those that another run is training: they go to the lane that asks for them by name."""
        self._ended: dict[str, None] = {}
        """Those that were paused and will not go on: somebody has to store what they left."""
        for member, curve in settled.items():
            self._referee.recall(member, curve, over=True)
        # In the plan's order, however they are packed: a scheduler's brackets depend on who came first.
        for each in self._members.values():
            self._referee.add(each.id)
            self._of_shape.setdefault(stack_key(each.settings), {})[each.id] = None

    def assign(self, lane: str, wanted: Sequence[str], places: int) -> tuple[Training, ...]:
        """Whom a lane trains first: of these members those that wait, and others of their shape where there are too
        few. If it has begun before, it was lost, with whom it was training."""
        self._lose(lane)
        found = _taken(self._others, wanted, places)
        self._lane |= dict.fromkeys(found, lane)
        found += self._waiting(lane, wanted, places - len(found))
        found += self._waiting(lane, self._like(wanted[0]), places - len(found))
        return tuple(self._members[member] for member in found)

    def report(self, lane: str, reports: Sequence[Report], like: str, free: int | None) -> Answer:
        """What becomes of the members of a lane after an evaluation, and who joins the others.

        like: one of them. free: how many places the lane has besides those that will be free now; None: none joins.
        """
        verdicts = tuple(map(self._verdict, reports))
        self._ended |= dict.fromkeys(self._referee.ended())
        if free is None:
            return Answer(verdicts, ())
        leaving = sum(verdict != Verdict.CONTINUE for verdict in verdicts)
        joining = self._waiting(lane, self._like(like), free + leaving)
        return Answer(verdicts, tuple(self._members[member] for member in joining))

    def restore(self, member: str, curve: Curve) -> bool:
        """A member goes on from a checkpoint: tell what it has left so far. False: it is over, and does not."""
        self._referee.recall(member, curve)
        return self._referee.status(member) not in OVER

    def release(self, members: Collection[str]) -> None:
        """What these left is stored: rows, or the checkpoint of one that is paused."""
        for member in members:
            self._lane.pop(member, None)
            if self._referee.status(member) in OVER and member not in self._ended:
                self._like(member).pop(member, None)

    def defer(self, members: Collection[str]) -> None:
        """Another run trains these, or has: they go on when a lane asks for them by name."""
        for member in members:
            self._lane.pop(member, None)
            self._others[member] = None

    def mark_done_elsewhere(self, members: Collection[str]) -> None:
        """Another run has stored these: they are over, and nobody here has heard of how."""
        for member in members:
            self._referee.fail(member)
            self._others.pop(member, None)
        self.release(members)

    def open_members(self, lane: str, like: str) -> tuple[Training, ...]:
        """When a lane has ended: those of this member's shape that no lane has and that somebody has to train or store
        still, what the lane was training among them. By shape and not by name: who knew a name may be lost."""
        self._lose(lane)
        return tuple(self._members[member] for member in self._like(like) if self._is_unsettled(member))

    def _verdict(self, report: Report) -> Verdict:
        if report.measures is None:
            self._referee.fail(report.member)
            return Verdict.STOP
        return self._referee.report(report.member, report.epoch, report.measures)

    def _lose(self, lane: str) -> None:
        """Whom the lane was training goes on elsewhere."""
        for member in [member for member, at in self._lane.items() if at == lane]:
            del self._lane[member]
            self._left[member] = None

    def _is_unsettled(self, member: str) -> bool:
        if member in self._left or member in self._others or member in self._ended:
            return True
        return member not in self._lane and self._referee.status(member) in (Status.PENDING, Status.PAUSED)

    def _like(self, member: str) -> dict[str, None]:
        """All of the shape of this member that are not stored."""
        return self._of_shape[stack_key(self._members[member].settings)]

    def _waiting(self, lane: str, among: Collection[str], places: int) -> list[str]:
        """So many of these at most that wait; from now on they are the lane's."""
        # Not one whose lane is about to keep it: it can go on elsewhere once it is kept.
        free = {member: None for member in among if member not in self._lane} if places > 0 else {}
        found = _taken(self._ended, free, places)
        found += _taken(self._left, free, places - len(found))
        for member in found:
            del free[member]
        while len(found) < places and (chosen := self._referee.choose(free)):
            self._referee.start(chosen)
            del free[chosen]
            found.append(chosen)
        self._lane |= dict.fromkeys(found, lane)
        return found


def _taken(those: dict[str, None], among: Collection[str], places: int) -> list[str]:
    """So many at most of those that are among them, which are taken out."""
    found = [member for member in among if member in those][: max(0, places)]
    for member in found:
        del those[member]
    return found


def settled_curves(plan: Plan, store: Store) -> dict[str, Curve]:
    """What trainings of the sweep have left that are not to be trained any more: the measures that its early stopping
    looks at. Raises StoreError."""
    assert plan.early_stopping
    todo = {cell.trajectory_id for cell in plan.missing}
    over = [trajectory_id for trajectory_id in plan.horizons if trajectory_id not in todo]
    if not over:
        return {}
    names = plan.early_stopping.metrics
    table = store.read(names).table
    known = pc.is_in(table["trajectory_id"].cast(pa.string()), pa.array(over))
    table = table.filter(pc.and_(known, pc.equal(table["outcome"], Outcome.FINISHED)))
    curves: dict[str, list[tuple[int, dict[str, float | None]]]] = {}
    for row in table.select([*KEY, *names]).sort_by([("epoch", "ascending")]).to_pylist():
        curve = curves.setdefault(row.pop("trajectory_id"), [])
        curve.append((row.pop("epoch"), row))
    # In the plan's order: what is recalled first is what others are compared with.
    return {trajectory_id: curves[trajectory_id] for trajectory_id in over if trajectory_id in curves}
