"""Measured times of stacks, which this machine remembers in its cache folder and which correct its estimates.

Trainings are measured as they run: a worker notes when each epoch of a stack ends, which costs nothing, and the driver
adds the times to the table of their device when a run ends. A table that cannot be read counts as empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from lightning_modules.cache import cache_folder, write_to_cache
from sweeps.planning.work import Work

VERSION = 3
"""The version of the format of a table, and of the program that trained. A step that becomes faster raises it."""

LARGEST_TABLE = 1000
"""The number of stacks in a table, the latest ones."""


@dataclass(frozen=True)
class Measured:
    """The times of a stack, in seconds. A time that could not be measured is None.

    Attributes:
        work: the work of a member.
        members: the number of members.
        fixed: the time of everything but epochs: building the stack and storing its results.
        epoch: an epoch without an evaluation.
        evaluated_epoch: an epoch with the evaluation at its end.
        measures: the names of the measures on demand, sorted.
        effort: the measurements, per epoch that they were estimated to take as long as (`work.effort_of_measures`).
    """

    work: Work
    members: int
    fixed: float | None = None
    epoch: float | None = None
    evaluated_epoch: float | None = None
    measures: tuple[str, ...] = ()
    effort: float | None = None


@dataclass(frozen=True)
class Throughput:
    """A table of measured times.

    Attributes:
        device: the name of the processor or GPU.
        stacks: the measured stacks, the latest last.
        startups: the seconds from the start of a run to its first training, by the name of the executor.
        core_rate: the operations per second of a matrix product on one core, or None if not measured yet.
        call_seconds: the time of a call that computes almost nothing, or None if not measured yet.
    """

    device: str = ""
    stacks: tuple[Measured, ...] = ()
    startups: Mapping[str, float] = field(default_factory=dict)
    core_rate: float | None = None
    call_seconds: float | None = None

    def with_stacks(self, measured: Iterable[Measured]) -> Throughput:
        """Add measured stacks. A stack that was measured before gets the geometric means of its old and new times."""
        stacks = {_key(stack): stack for stack in self.stacks}
        for new in measured:
            old = stacks.pop(_key(new), None)
            stacks[_key(new)] = new if old is None else _mean(old, new)
        return replace(self, stacks=tuple([*stacks.values()][-LARGEST_TABLE:]))

    def with_startup(self, executor: str, seconds: float) -> Throughput:
        """Add the startup of a run."""
        mean = _middle(self.startups.get(executor), seconds)
        return replace(self, startups={**self.startups, executor: mean}) if mean else self

    def save(self) -> None:
        """Write the table to the cache folder. Of two runs that save at once, the last one's new times are kept."""
        content = {"version": VERSION, **asdict(self)}
        write_to_cache(_path(self.device), json.dumps(content).encode())


def remembered(device: str) -> Throughput:
    """Return the table of a device, which is empty if there is none that can be read."""
    try:
        content = json.loads(_path(device).read_bytes())
        if content.pop("version") != VERSION:
            return Throughput(device)
        stacks = [Measured(Work(**stack.pop("work")), **stack) for stack in content.pop("stacks")]
        table = Throughput(**content, stacks=tuple(_valid(stacks)))
        possible = _possible(table.core_rate, table.call_seconds, *table.startups.values())
        return table if possible else Throughput(device)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Throughput(device)


def _valid(stacks: Iterable[Measured]) -> Iterable[Measured]:
    for stack in stacks:
        if stack.members >= 1 and _possible(stack.fixed, stack.epoch, stack.evaluated_epoch, stack.effort):
            yield replace(stack, work=replace(stack.work, on=tuple(stack.work.on)), measures=tuple(stack.measures))


def _possible(*measured: float | None) -> bool:
    return all(number is None or 0 < number < math.inf for number in measured)


def _path(device: str) -> Path:
    return cache_folder() / f"throughput-{blake2b(device.encode(), digest_size=6).hexdigest()}.json"


def _key(stack: Measured) -> tuple[Work, int, tuple[str, ...]]:
    return stack.work, stack.members, stack.measures


def _mean(old: Measured, new: Measured) -> Measured:
    return replace(
        new,
        fixed=_middle(old.fixed, new.fixed),
        epoch=_middle(old.epoch, new.epoch),
        evaluated_epoch=_middle(old.evaluated_epoch, new.evaluated_epoch),
        effort=_middle(old.effort, new.effort),
    )


def _middle(old: float | None, new: float | None) -> float | None:
    return math.sqrt(old * new) if old and new else new or old
