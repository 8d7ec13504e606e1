"""The referee: one of Ray Tune's own schedulers, and its own stoppers, over members instead of Tune trials.

The scheduler and the stoppers are Ray's objects. What they expect around them, a controller and its trials, is stood in
for by a few lines that call them in the order in which Tune's controller does (`TuneController._process_trial_result`,
`stop_trial` and `_process_trial_failure` of Ray 2.60): the stoppers first, then the scheduler, and of what stops, its
`on_trial_complete`. The same code judges live cohorts, one actor for a whole sweep, and replays recorded curves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any

from sweeps.spec.stopping import SCHEDULERS, EarlyStopping, StopWhen
from sweeps.stopping.rules import TIME, rules_of
from sweeps.stopping.seeding import drawing


class Verdict(StrEnum):
    """What becomes of a member that has just reported, in Ray's words."""

    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    STOP = "STOP"


class Status(StrEnum):
    """Of a member, in Ray's words (`ray.tune.experiment.Trial`)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"


class _Member:
    """What the schedulers ask of a trial."""

    is_saving = False

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.status = Status.PENDING
        self.epoch = 0
        """The last that was heard of."""

    def __repr__(self) -> str:
        return self.trial_id


class _Controller:
    """What the schedulers ask of Tune's controller. `waiting`: pending and paused members, in the order they came."""

    def __init__(self) -> None:
        self.waiting: dict[_Member, None] = {}
        self.running: dict[_Member, None] = {}
        self.stopped: list[_Member] = []
        self.among: Collection[str] | None = None
        self.scheduler: Any = None

    def get_trials(self) -> Iterable[_Member]:
        """Those that can be chosen: no scheduler asks for others."""
        if self.among is None:
            return self.waiting
        return (member for member in self.waiting if member.trial_id in self.among)

    def get_live_trials(self) -> set[_Member]:
        return {*self.waiting, *self.running}

    def stop_trial(self, member: _Member) -> None:
        """A scheduler stops a member that waits."""
        if member.status in (Status.PENDING, Status.PAUSED):
            self.scheduler.on_trial_remove(self, member)
            self.move(member, Status.TERMINATED)
            self.stopped.append(member)

    def move(self, member: _Member, status: Status) -> None:
        self.waiting.pop(member, None)
        self.running.pop(member, None)
        member.status = status
        if status is Status.RUNNING:
            self.running[member] = None
        elif status is Status.PAUSED:
            self.waiting[member] = None


class Referee:
    """Decides over members by their ids: which starts next, and after each report whether it goes on.

    `add` the members, `choose` one, `start` it, `report` each evaluated epoch of it. STOP frees its place for good,
    PAUSE until `choose` names it again; `ended` says which paused ones never will be. One member's results come in the
    order of their epochs. The same calls get the same answers.

    horizon_of: the last epoch of each member, or of all; of recalled ones too, as rungs depend on the longest. seed: of
    asha's draw of a bracket, which is a function of it and the member's id, whoever was added before. scheduler: one
    that says the same as Ray's of these settings.
    """

    def __init__(
        self, settings: EarlyStopping, horizon_of: Mapping[str, int] | int, seed: int = 0, scheduler: Any = None
    ) -> None:
        self.settings = settings
        self._horizon_of = horizon_of
        self._seed = seed
        longest = horizon_of if isinstance(horizon_of, int) else max(horizon_of.values(), default=1)
        self._scheduler: Any = scheduler or SCHEDULERS[settings.scheduler].scheduler(settings, max(1, longest))
        self._rules = rules_of(settings.stop_when or StopWhen())
        self._controller = _Controller()
        self._controller.scheduler = self._scheduler
        self._members: dict[str, _Member] = {}

    @property
    def scheduler(self) -> Any:
        """Ray's own, with all that it was told: for a Tune run under it."""
        return self._scheduler

    def add(self, member_id: str) -> None:
        """Make a member known: it is pending. A second time is none. Not before its recall, if there is one."""
        self.add_all([member_id])

    def add_all(self, member_ids: Iterable[str]) -> None:
        """The same of many, in this order."""
        with drawing() as seed:
            for member_id in member_ids:
                if member_id not in self._members:
                    member = self._members[member_id] = _Member(member_id)
                    seed(f"{self._seed} {member_id}")
                    self._scheduler.on_trial_add(self._controller, member)
                    self._controller.waiting[member] = None

    def choose(self, among: Collection[str] | None = None) -> str | None:
        """The member to start next, by the scheduler's own order: pending, or paused and to be taken up again. None if
        there is none. among: of these alone. Changes nothing: `start` does."""
        controller = self._controller
        if among is None:
            chosen = self._scheduler.choose_trial_to_run(controller)
            return chosen.trial_id if chosen else None
        # HyperBand goes through its brackets, not through get_trials: whom it is not to see is not pending meanwhile.
        others = controller.waiting if self.settings.pauses else ()
        hidden = [(member, member.status) for member in others if member.trial_id not in among]
        controller.among = among
        try:
            for member, _ in hidden:
                member.status = Status.TERMINATED
            chosen = self._scheduler.choose_trial_to_run(controller)
        finally:
            controller.among = None
            for member, status in hidden:
                member.status = status
        return chosen.trial_id if chosen else None

    def start(self, member_id: str) -> None:
        """It runs, from the beginning or from where it was paused. Raises ValueError unless it waits."""
        member = self._members[member_id]
        if member.status not in (Status.PENDING, Status.PAUSED):
            raise ValueError(f"{member_id} is {member.status}; a member that starts is PENDING or PAUSED")
        self._controller.move(member, Status.RUNNING)

    def report(self, member_id: str, epoch: int, measures: Mapping[str, float | None]) -> Verdict:
        """What becomes of a running member with these measures at this epoch.

        STOP at its horizon, CONTINUE at epoch 0, before which there is nothing to judge. A result without the metric
        is not judged by it. An epoch that was heard before, of a training that was lost and is repeated, gets the
        verdict that stands, and the scheduler does not hear of it again.

        Raises ValueError for a new epoch of a member that waits.
        """
        member, horizon = self._members[member_id], self._horizon(member_id)
        if member.status in (Status.TERMINATED, Status.ERROR):
            return Verdict.STOP if epoch >= member.epoch else Verdict.CONTINUE
        if member.status is Status.PAUSED and epoch <= member.epoch:
            return Verdict.PAUSE if epoch == member.epoch else Verdict.CONTINUE
        if member.status is not Status.RUNNING:
            raise ValueError(f"{member_id} reports epoch {epoch} but is {member.status}; start it first")
        if epoch <= member.epoch < horizon:
            return Verdict.CONTINUE
        member.epoch = epoch
        result = self._result(member_id, epoch, measures)
        if self._stops_itself(member_id, result, horizon):
            verdict = Verdict.STOP
        elif self._judged(result):
            verdict = Verdict(self._scheduler.on_trial_result(self._controller, member, result))
        else:
            verdict = Verdict.CONTINUE
        if verdict is Verdict.STOP:
            self._complete(member, result)
        elif verdict is Verdict.PAUSE:
            self._controller.move(member, Status.PAUSED)
        return verdict

    def recall(
        self, member_id: str, rows: Iterable[tuple[int, Mapping[str, float | None]]], over: bool = False
    ) -> None:
        """Tell of an earlier run's results (epoch, measures) of a member, in the order of their epochs, without a
        verdict: later ones are compared with them. It is added if it is not known.

        over: it ended then, and does not go on. HyperBand compares those that it has in a bracket together alone: it
        is not told of what is over, and of the others only by their next report.
        """
        silent = self.settings.pauses
        if member_id not in self._members:
            if over and silent:
                self._members[member_id] = _Member(member_id)
            else:
                self.add(member_id)
        member = self._members[member_id]
        rows = [row for row in rows if row[0] > member.epoch]
        for place, (epoch, measures) in enumerate(rows, start=1):
            member.epoch = epoch
            result = self._result(member_id, epoch, measures)
            stops_itself = self._stops_itself(member_id, result, self._horizon(member_id))
            if silent or not self._judged(result):
                continue
            last = over and place == len(rows)
            # Of what a scheduler stops, it hears the last result twice, and so on_trial_complete alone of what ends by
            # itself. The median's on_trial_result would remember whom it would stop, and refuse to hear of it again.
            if not (last and stops_itself):
                if self.settings.scheduler == "median":
                    self._scheduler.on_trial_complete(self._controller, member, result)
                else:
                    self._scheduler.on_trial_result(self._controller, member, result)
            if last:
                self._scheduler.on_trial_complete(self._controller, member, result)
        if over:
            self._controller.move(member, Status.TERMINATED)

    def fail(self, member_id: str) -> None:
        """It diverged or raised: it is over, and nobody waits for it any longer."""
        member = self._members[member_id]
        if member.status in (Status.RUNNING, Status.PENDING):
            self._scheduler.on_trial_error(self._controller, member)
        if member.status not in (Status.TERMINATED, Status.ERROR):
            self._controller.move(member, Status.ERROR)

    def ended(self) -> list[str]:
        """Those that were paused and, since last asked, have been stopped; each is named once.

        HyperBand stops the worse part of a bracket when the last of it has caught up. It forgets whom it has paused if
        the last one of a later round breaks instead: with nothing running and nothing to start, those are stopped.
        """
        controller = self._controller
        if not controller.running and not self.waiting():
            for member in [*controller.waiting]:
                controller.stop_trial(member)
        stopped, controller.stopped = controller.stopped, []
        return [member.trial_id for member in stopped]

    def status(self, member_id: str) -> Status:
        return self._members[member_id].status

    def waiting(self) -> bool:
        """Whether any member is pending, or paused and to be taken up again."""
        return self.choose() is not None

    def _horizon(self, member_id: str) -> int:
        return self._horizon_of if isinstance(self._horizon_of, int) else self._horizon_of[member_id]

    def _result(self, member_id: str, epoch: int, measures: Mapping[str, float | None]) -> dict[str, Any]:
        """As Tune has it; a measure that is null is not in it."""
        return {name: value for name, value in measures.items() if value is not None} | {TIME: epoch}

    def _stops_itself(self, member_id: str, result: Mapping[str, Any], horizon: int) -> bool:
        """By a rule, or at its horizon, as Tune's controller finds out before it asks the scheduler."""
        ruled = any(rule(member_id, result) for rule in self._rules)
        return ruled or result[TIME] >= horizon

    def _judged(self, result: Mapping[str, Any]) -> bool:
        return self.settings.metric is None or self.settings.metric in result

    def _complete(self, member: _Member, result: Mapping[str, Any]) -> None:
        if self._judged(result) or self.settings.pauses:
            self._scheduler.on_trial_complete(self._controller, member, result)
        self._controller.move(member, Status.TERMINATED)
