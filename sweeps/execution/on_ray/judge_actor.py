"""The judge of a running sweep as a Ray actor, which lanes on all nodes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.execution.lane import judge_of
from sweeps.planning.plan import Plan, Training
from sweeps.stopping.judge import Answer, Curve, LocalJudge, Report
from sweeps.store.store import Store


@dataclass(frozen=True)
class RemoteJudge:
    """A handle of a `LocalJudge` in an actor on the driver's node. It is cheap to pickle."""

    actor: Any

    @classmethod
    def of(cls, plan: Plan, store: Store) -> RemoteJudge | None:
        """Start the judge of a plan; return None if the plan stops nothing early. Raises StoreError."""

        judge = judge_of(plan, store)
        if judge is None:
            return None
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        remote: Any = ray.remote(_Holder)
        return cls(remote.options(num_cpus=0, scheduling_strategy=here).remote(judge))

    def assign(self, lane: str, wanted: Sequence[str], places: int) -> tuple[Training, ...]:
        found: tuple[Training, ...] = self._ask("assign", lane, wanted, places)
        return found

    def report(self, lane: str, reports: Sequence[Report], like: str, free: int | None) -> Answer:
        answer: Answer = self._ask("report", lane, reports, like, free)
        return answer

    def restore(self, member: str, curve: Curve) -> bool:
        return bool(self._ask("restore", member, curve))

    def release(self, members: Sequence[str]) -> None:
        self._ask("release", members)

    def defer(self, members: Sequence[str]) -> None:
        self._ask("defer", members)

    def mark_done_elsewhere(self, members: Sequence[str]) -> None:
        self._ask("mark_done_elsewhere", members)

    def open_members(self, lane: str, like: str) -> tuple[Training, ...]:
        found: tuple[Training, ...] = self._ask("open_members", lane, like)
        return found

    def _ask(self, question: str, *about: Any) -> Any:

        return ray.get(self.actor.ask.remote(question, *about))


class _Holder:
    """The class of the actor."""

    def __init__(self, judge: LocalJudge) -> None:
        self._judge = judge

    def ask(self, question: str, *about: Any) -> Any:
        return getattr(self._judge, question)(*about)
