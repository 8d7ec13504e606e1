"""No reader sees missing or duplicate rows during compactions, whichever processes are killed or run concurrently."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.spec.point import Point
from sweeps.store.atomic_files import Location
from sweeps.store.compaction import compact
from sweeps.store.records import Record, Row
from sweeps.store.store import Contents, Store
from tests.sweeps.store.contents import parts, seen

steps = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("crash"), st.integers(0, 8)),
    st.tuples(st.just("another"), st.integers(0, 8)),
)


class Crash(BaseException):
    pass


@given(st.lists(steps, min_size=2, max_size=8), st.data())
def test_whatever_is_appended_compacted_or_broken_off_the_rows_are_those_appended(make_record, sequence, data):
    """The rows are read before each write and deletion of every compaction. At each of these moments, the compaction
    may be interrupted, or another compaction may run completely."""
    with tempfile.TemporaryDirectory() as compacted, tempfile.TemporaryDirectory() as other:
        store, untouched = Store(compacted), Store(other)
        for either in (store, untouched):
            either.prepare()
        written = 0

        def same() -> None:
            assert seen(store) == Contents(seen(untouched).table, {})

        def step_by_step(at: int, do: Callable[[], Any]) -> None:
            real, taken, busy = {name: getattr(Location, name) for name in ("write", "delete")}, 0, False

            def watched(name: str) -> Callable[..., None]:
                def act(place: Location, *args: Any) -> None:
                    nonlocal taken, busy
                    if not busy:
                        busy = True
                        same()
                        if taken == at:
                            do()
                        taken += 1
                        busy = False
                    real[name](place, *args)

                return act

            with (
                mock.patch.object(Location, "write", watched("write")),
                mock.patch.object(Location, "delete", watched("delete")),
            ):
                compact(store, large=data.draw(st.sampled_from([1, 60_000, 2**20]), label="large"))

        def crash() -> None:
            raise Crash

        for what, more in sequence:
            if what == "append":
                written += 1
                records = [make_record(f"{i}", (1, 2), wall_seconds=written + i / 7) for i in more]
                records.append(make_record("broken", failed=5, wall_seconds=float(written)))
                for either in (store, untouched):
                    either.append(records)
            elif what == "compact":
                step_by_step(-1, lambda: None)
            else:
                with suppress(Crash):
                    step_by_step(more, crash if what == "crash" else lambda: compact(store))
            same()
        compact(store)
        assert len(parts(store)) <= 1
        same()


CHURN = """
import random, sys
from pathlib import Path
from sweeps.store.compaction import compact
from sweeps.store.records import Record, Row
from sweeps.spec.point import Point
from sweeps.store.store import Store

store, task, seed = Store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
draws = random.Random(seed)
records = [Record(f"{i}", Point(seed=i), (Row(1, "finished", {"test_loss": i / 3}), Row(2, "finished", {})), {})
           for i in range(40)]
print("ready", flush=True)
while True:
    if "append" in task:
        for _ in range(5):
            store.append(draws.sample(records, 3))
    if "compact" in task:
        compact(store, small=draws.choice([2**23, 40_000]), large=draws.choice([2**20, 100_000]))
        print("compacted", flush=True)
"""


@pytest.fixture
def churning(fork: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that starts a process that appends the same rows in new parts, compacts, or both, forever."""

    def start(store: Store, task: str, seed: int) -> Any:
        process = fork(CHURN, ["churn", str(store), task, str(seed)], tmp_path)
        process.wait_for("ready")
        return process

    return start


@pytest.fixture
def forty(store: Store) -> Store:
    """Fill a store with forty trainings in twenty parts."""
    store.prepare()
    records = [Record(f"{i}", Point(seed=i), (Row(1, "finished", {"test_loss": i / 3}), Row(2, "finished", {})), {})
               for i in range(40)]  # fmt: skip
    for i in range(0, 40, 2):
        store.append(records[i : i + 2])
    assert len(parts(store)) == 20
    return store


@pytest.mark.xdist_group("forks")
@pytest.mark.parametrize(("seconds", "least"), [(1, 3), pytest.param(4, 5, marks=pytest.mark.slow)])
def test_readers_writers_and_compactions_at_once(seconds, least, forty, churning, monkeypatch):
    monkeypatch.setattr(
        "sweeps.store.store.ROUNDS", 200
    )  # three processes that never pause, on a machine that may be busy
    expected = seen(forty)
    processes = [churning(forty, task, seed) for seed, task in enumerate(("append", "compact", "compact"))]
    moments: set[frozenset[str]] = set()
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(moments) < least:
            assert seen(forty) == expected
            moments.add(frozenset(parts(forty)))
            assert all(process.poll() is None for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert seen(forty) == expected


def killed_compactions(store: Store, churning: Callable[..., Any], seed: int, kills: int) -> None:
    expected, draws = seen(store), random.Random(seed)
    for kill in range(kills):
        process = churning(store, "append and compact", draws.randrange(1000))
        time.sleep(draws.uniform(0, 0.4))
        process.kill()
        process.communicate()
        assert seen(store) == expected, f"kill {kill}"
    done = compact(store)
    assert (done.parts_after, done.left_alone) == (1, {})
    assert seen(store) == expected


@pytest.mark.xdist_group("forks")
def test_a_killed_compaction_loses_nothing(forty, churning):
    killed_compactions(forty, churning, 0, 1)


@pytest.mark.slow
@pytest.mark.xdist_group("forks")
def test_compactions_killed_at_20_random_moments_lose_nothing(forty, churning):
    killed_compactions(forty, churning, 1, 20)
