"""Tests of the tables of measured times: what is kept, and what damage costs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.planning import machine, throughput
from sweeps.planning.machine import cache_share  # the real one: `machine.cache_share` is replaced in tests
from sweeps.planning.plan import resolved
from sweeps.planning.speed import CACHE_BYTES, REFERENCE_CALL, REFERENCE_RATE
from sweeps.planning.throughput import VERSION, Measured, Throughput, remembered
from sweeps.planning.work import Work, work_of
from sweeps.spec.point import Point


def work(width: int = 8) -> Work:
    return work_of(resolved(Point(data="digits", width=width, dropout=0.1)))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def table() -> Throughput:
    stacks = (
        Measured(work(), 4, 0.1, 0.2, 0.3),
        Measured(work(16), 1, None, 0.2, None, ("critical_sample_ratio", "forgetting"), 0.4),
    )
    return Throughput("EPYC", stacks, {"ray": 9.5}, 6e10, 4e-7)


def test_a_table_is_read_as_it_was_saved(folder):
    assert remembered("EPYC") == Throughput("EPYC")
    table().save()
    assert remembered("EPYC") == table()
    assert remembered("another device") == Throughput("another device")
    assert len([*folder.iterdir()]) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: "",
        lambda content: content[:100],
        lambda content: "[]",
        lambda content: content.replace(f'"version": {VERSION}', '"version": 0'),
        lambda content: content.replace('"batch"', '"bitch"'),
        lambda content: content.replace('"stacks"', '"stocks"'),
        lambda content: content.replace('"startups": {"ray": 9.5}', '"startups": null'),
        lambda content: content.replace('"startups": {"ray": 9.5}', '"startups": {"ray": "soon"}'),
        lambda content: content.replace('"core_rate": 60000000000.0', '"core_rate": -1'),
        lambda content: content.replace('"call_seconds": 4e-07', '"call_seconds": NaN'),
    ],
)
def test_a_damaged_table_counts_as_empty_and_is_measured_anew(damage, folder):
    table().save()
    (path,) = folder.iterdir()
    path.write_text(damage(path.read_text()))
    assert remembered("EPYC") == Throughput("EPYC")
    table().save()
    assert remembered("EPYC") == table()


def test_stacks_with_and_without_measures_on_demand_are_kept_apart():
    searched = Measured(work(), 4, epoch=0.2, measures=("critical_sample_ratio",), effort=0.1)
    more = table().with_stacks([searched, replace(searched, effort=0.4)])
    assert len(more.stacks) == 3
    assert more.stacks[-1].effort == pytest.approx(0.2)


@pytest.mark.parametrize("time", [0.0, -1.0, math.inf, math.nan])
def test_times_that_cannot_be_are_dropped(time, folder):
    table().save()
    (path,) = folder.iterdir()
    content = json.loads(path.read_text())
    content["stacks"][0]["epoch"] = time
    path.write_text(json.dumps(content))
    assert remembered("EPYC").stacks == table().stacks[1:]


def test_a_stack_that_is_measured_again_keeps_the_mean():
    again = table().with_stacks([Measured(work(), 4, None, 0.8, 0.3), Measured(work(), 5, None, 1.0, None)])
    assert [(stack.members, stack.fixed, stack.epoch) for stack in again.stacks] == [
        (1, None, 0.2), (4, 0.1, pytest.approx(0.4)), (5, None, 1.0),
    ]  # fmt: skip


def test_the_latest_stacks_are_kept(monkeypatch):
    monkeypatch.setattr(throughput, "LARGEST_TABLE", 3)
    more = table().with_stacks(Measured(work(), members, None, 1.0, None) for members in (5, 6))
    assert [stack.members for stack in more.stacks] == [1, 5, 6]


def test_startups_are_kept_per_executor():
    more = table().with_startup("inline", 2.0).with_startup("ray", 9.5)
    assert more.startups == {"ray": pytest.approx(9.5), "inline": 2.0}


def test_a_core_is_timed_once(monkeypatch):
    rates = iter([1e10, 2e10, 3e10])
    monkeypatch.setattr(machine, "core_rate", lambda: next(rates))
    monkeypatch.setattr(machine, "call_seconds", lambda: next(rates))
    tables = [machine.local_speed().table for _ in range(2)]
    assert [(table.core_rate, table.call_seconds) for table in tables] == [(1e10, 2e10)] * 2


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEMSWEEP_CACHE", str(tmp_path / "file" / "cache"))
    assert machine.local_speed().table.device == machine.processor() != ""


def test_a_core_has_a_share_of_the_cache():
    assert 2**16 < cache_share() < 2**40


@pytest.mark.parametrize(
    ("size", "sharing", "share"), [("8M", "0-3", 4 * 2**20), ("512K", "0", 2**19), (None, "0", CACHE_BYTES)]
)
def test_the_share_is_of_the_last_cache_or_typical(size, sharing, share, tmp_path, monkeypatch):
    """A first cache of 32 KB must not stand for a last one of unknown size, as on some virtual machines."""
    for number, files in enumerate(({"size": "32K", "shared_cpu_list": "0"}, {"shared_cpu_list": sharing})):
        (tmp_path / f"index{number}").mkdir()
        for name, text in ({**files, "size": size} if number and size else files).items():
            (tmp_path / f"index{number}" / name).write_text(f"{text}\n")
    monkeypatch.setattr(machine, "_CACHES", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    assert cache_share.__wrapped__() == share


def test_the_tests_plan_as_on_the_machine_of_the_cost_model():
    """The measured rate of a core depends on what else runs there, and cohorts and predicted times depend on it."""
    speed = machine.local_speed()
    assert (speed.table.core_rate, speed.table.call_seconds) == (REFERENCE_RATE, REFERENCE_CALL)
    assert speed.cache_bytes == CACHE_BYTES
