"""The dispatcher of a running sweep as a Ray actor, which lanes on all nodes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.execution.lane import dispatcher_of
from sweeps.planning.plan import Plan, Training
from sweeps.stopping.dispatcher import Answer, Curve, LocalDispatcher, Report
from sweeps.store.store import Store


@dataclass(frozen=True)
class RemoteDispatcher:
    """A handle to a `LocalDispatcher` in an actor on the driver's node. The handle is cheap to pickle."""

    actor: Any

    @classmethod
    def of(cls, plan: Plan, store: Store) -> RemoteDispatcher | None:
        """Start the dispatcher of a plan, or return None if the plan has no early stopping. Raises StoreError."""

        dispatcher = dispatcher_of(plan, store)
        if dispatcher is None:
            return None
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        remote: Any = ray.remote(_Holder)
        return cls(remote.options(num_cpus=0, scheduling_strategy=here).remote(dispatcher))

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

    def mark_done_elsewhere(self, curves: Mapping[str, Curve]) -> None:
        self._ask("mark_done_elsewhere", curves)

    def open_members(self, lane: str, like: str) -> tuple[Training, ...]:
        found: tuple[Training, ...] = self._ask("open_members", lane, like)
        return found

    def _ask(self, question: str, *about: Any) -> Any:

        return ray.get(self.actor.ask.remote(question, *about))


class _Holder:
    """The class of the actor, which calls methods of its dispatcher by name."""

    def __init__(self, dispatcher: LocalDispatcher) -> None:
        self._dispatcher = dispatcher

    def ask(self, question: str, *about: Any) -> Any:
        return getattr(self._dispatcher, question)(*about)
