"""The referee, which decides whether a training stops, pauses or continues.

The referee applies one of Ray Tune's schedulers, and the rules of `stop_when`, to members instead of Tune trials.

The scheduler is Ray's own object. It expects a controller with trials, for which this module has small substitutes. The
referee makes the same calls in the same order as Tune's controller (`TuneController._process_trial_result`,
`stop_trial` and `_process_trial_failure` of Ray 2.60): first the rules, as Tune's stoppers, then the scheduler, and
`on_trial_complete` for trials that stop. The same code judges live cohorts, in one actor per sweep, and replays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any

from sweeps.spec.stopping import SCHEDULERS, EarlyStopping, StopWhen
from sweeps.stopping.seeding import drawing
from sweeps.stopping.stop_when import TIME, rules_of


class Verdict(StrEnum):
    """The decision about a member that has just reported, with Ray's names."""

    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    STOP = "STOP"


class Status(StrEnum):
    """The status of a member, with Ray's names (`ray.tune.experiment.Trial`)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"


class _Member:
    """A substitute for a Tune trial, with the attributes that schedulers use."""

    is_saving = False

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.status = Status.PENDING
        self.epoch = 0
        """The last epoch that was reported."""

    def __repr__(self) -> str:
        return self.trial_id


class _Controller:
    """A substitute for Tune's controller, for schedulers. `waiting` contains pending and paused members in order."""

    def __init__(self) -> None:
        self.waiting: dict[_Member, None] = {}
        self.running: dict[_Member, None] = {}
        self.stopped: list[_Member] = []
        self.among: Collection[str] | None = None
        self.scheduler: Any = None

    def get_trials(self) -> Iterable[_Member]:
        """Return the members that can be chosen. Schedulers do not need any other members."""
        if self.among is None:
            return self.waiting
        return (member for member in self.waiting if member.trial_id in self.among)

    def get_live_trials(self) -> set[_Member]:
        return {*self.waiting, *self.running}

    def stop_trial(self, member: _Member) -> None:
        """Stop a waiting member, at a scheduler's request."""
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
    """A judge that decides which member starts next and, after each report, whether the member continues.

    Call `add` to add members, `choose` to get one, `start` to run it, and `report` for each evaluated epoch. STOP frees
    the member's place permanently, and PAUSE until `choose` returns the member again. `ended` returns paused members
    that will never be chosen. The results of a member must be reported in order of epoch. The same calls always give
    the same answers.

    Args:
        horizon_of: the last epoch per member (with recalled members, as rungs depend on the largest), or one for all.
        seed: the seed of asha's draw of a bracket, which depends only on the seed and the member's id.
        scheduler: a scheduler to use instead of Ray's. It must make the same decisions under these settings.
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
        """The scheduler with its current state, with which a Tune run can continue."""
        return self._scheduler

    def add(self, member_id: str) -> None:
        """Add a pending member. Adding a member twice has no effect. If a member is recalled, call `recall` first."""
        self.add_all([member_id])

    def add_all(self, member_ids: Iterable[str]) -> None:
        """Add many members, in the given order."""
        with drawing() as seed:
            for member_id in member_ids:
                if member_id not in self._members:
                    member = self._members[member_id] = _Member(member_id)
                    seed(f"{self._seed} {member_id}")
                    self._scheduler.on_trial_add(self._controller, member)
                    self._controller.waiting[member] = None

    def choose(self, among: Collection[str] | None = None) -> str | None:
        """Return the next member to start or resume, as chosen by the scheduler, or None if there is none.

        If `among` is given, only its members are considered. The chosen member's status changes only with `start`.
        """
        controller = self._controller
        if among is None:
            chosen = self._scheduler.choose_trial_to_run(controller)
            return chosen.trial_id if chosen else None
        # HyperBand reads its own brackets instead of get_trials, so other members temporarily appear as terminated.
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
        """Mark a member as running, from the beginning or after a pause. Raises ValueError if it is not waiting."""
        member = self._members[member_id]
        if member.status not in (Status.PENDING, Status.PAUSED):
            raise ValueError(f"{member_id} is {member.status}; a member that starts is PENDING or PAUSED")
        self._controller.move(member, Status.RUNNING)

    def report(self, member_id: str, epoch: int, measures: Mapping[str, float | None]) -> Verdict:
        """Judge a running member by its measures at an epoch.

        The verdict is STOP at the horizon, and CONTINUE at epoch 0, where there is nothing to judge yet. A result
        without the metric is not passed to the scheduler. If an epoch is reported again because a lost training is
        repeated, the verdict is the same, and the scheduler does not receive the result again.

        Raises ValueError if a waiting member reports a new epoch.
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
        """Pass a member's results (epoch, measures) from an earlier run to the scheduler, for later comparisons.

        The rows are in order of epoch and get no verdict. An unknown member is added. `over` states that the member
        ended in the earlier run. HyperBand compares only members that are in a bracket at the same time, so it receives
        no results of members that are over, and the results of other members only with their next report.
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
            # If a scheduler stops a trial, it receives the last result twice. If a trial ends by itself, the scheduler
            # receives the last result only in on_trial_complete. The median's on_trial_result would mark a trial as
            # stopped and reject its further results.
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
        """Mark a member as failed after it diverged or raised, so that no other member waits for it any longer."""
        member = self._members[member_id]
        if member.status in (Status.RUNNING, Status.PENDING):
            self._scheduler.on_trial_error(self._controller, member)
        if member.status not in (Status.TERMINATED, Status.ERROR):
            self._controller.move(member, Status.ERROR)

    def ended(self) -> list[str]:
        """Return the paused members that were stopped since the last call.

        HyperBand stops the worse part of a bracket when the bracket's last member has caught up. If the last member of
        a later round fails, HyperBand forgets the paused members, which are stopped once none runs or can start.
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
        """Return whether any pending or paused member can start now."""
        return self.choose() is not None

    def _horizon(self, member_id: str) -> int:
        return self._horizon_of if isinstance(self._horizon_of, int) else self._horizon_of[member_id]

    def _result(self, member_id: str, epoch: int, measures: Mapping[str, float | None]) -> dict[str, Any]:
        """Return a result in the form that Tune uses, without the measures that are None."""
        return {name: value for name, value in measures.items() if value is not None} | {TIME: epoch}

    def _stops_itself(self, member_id: str, result: Mapping[str, Any], horizon: int) -> bool:
        """Return whether a rule or the horizon ends the member. Tune also checks its stoppers before the scheduler."""
        ruled = any(rule(member_id, result) for rule in self._rules)
        return ruled or result[TIME] >= horizon

    def _judged(self, result: Mapping[str, Any]) -> bool:
        return self.settings.metric is None or self.settings.metric in result

    def _complete(self, member: _Member, result: Mapping[str, Any]) -> None:
        if self._judged(result) or self.settings.pauses:
            self._scheduler.on_trial_complete(self._controller, member, result)
        self._controller.move(member, Status.TERMINATED)
