"""With an S3 that returns 500 and 503, is slow, drops connections or truncates, all is stored or the error is clear."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from analysis.tables.points import points_table
from sweeps.errors import StoreError
from sweeps.execution.inline import Inline
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store import atomic_files
from sweeps.store.compaction import compact
from sweeps.store.store import Store

pytestmark = pytest.mark.xdist_group("s3")

FAULTS = ("500", "503", "slow", "dropped", "dropped after", "truncated", "truncated as whole")
SWEEP = """
name: faulty
fixed: {data: digits, dataset_size: 100, depth: 1, batch_size: 50, precision: float64}
grid: {label_noise: [0, 0.5], width: [4, 9], seed: [0, 1], epochs: [1, 2]}
"""


@pytest.fixture(autouse=True)
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the retries of the client library, which waits about a second first, so that only the store retries."""
    monkeypatch.setattr(atomic_files, "SDK_ATTEMPTS", 1)


def first_of_each(kind: str):
    """Return a function that gives every request the fault the first time that it is made."""
    seen: set[tuple[str, str]] = set()

    def fault(command: str, path: str) -> str | None:
        request = command, re.sub("uploadId=.*|[0-9a-f]{32}", "", path)
        if request in seen:
            return None
        seen.add(request)
        return kind

    return fault


@pytest.mark.parametrize("kind", FAULTS)
def test_a_request_that_fails_once_is_made_again(faulty, make_record, kind):
    store = Store(faulty.uri)
    for use in (
        store.prepare,
        lambda: store.append([make_record("a", (1, 2)), make_record("b", (1,))]),
        lambda: store.append([make_record("c", (1,))]),
        store.read,
        lambda: compact(store),
        store.read,
    ):
        faulty.fault = first_of_each(kind)
        use()
    assert faulty.done[kind] >= 12
    contents = store.read()
    assert contents.damaged == {}
    assert contents.table["trajectory_id"].to_pylist() == ["a", "a", "b", "c"]
    faulty.behave()
    assert store.read() == contents
    assert len(store.location.list("parts")) == 1


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_objects_survive_random_faults(faulty, seed):
    objects = Store(faulty.uri).location
    faulty.misbehave(seed, 0.25, FAULTS[:-1])
    written = {f"checkpoints/{i}": bytes([i]) * 1000 * i for i in range(8)}
    for path, content in written.items():
        objects.write(path, content)
    assert {path: objects.read(path) for path in written} == written
    assert len(objects.list("checkpoints")) == 8
    for path in written:
        objects.delete(path)
    assert objects.list("checkpoints") == []
    assert sum(faulty.done[kind] for kind in FAULTS) >= 8


def test_what_cannot_be_read_is_no_damage(faulty, make_record):
    """If the network cannot deliver a part, the command ends, and the part's members are not trained again."""
    store = Store(faulty.uri)
    store.prepare()
    store.append([make_record("a", (1,))])
    faulty.fault = lambda command, path: "dropped" if path.endswith(".parquet") else None
    with pytest.raises(StoreError, match=r"^store s3://bucket/.*: parts/[0-9a-f]{20}\.parquet cannot be read: .*reply"):
        store.done()
    assert faulty.done["dropped"] >= 1 + len(atomic_files.WAITS)
    faulty.behave()
    assert store.done().rows == {("a", 1)}


@pytest.mark.parametrize("use", ["prepare", "done", "append"])
def test_what_will_never_succeed_is_said_at_once(faulty, make_record, use):
    faulty.fault = lambda command, path: "403"
    store = Store(faulty.uri.replace("s3://", "s3://key:very%2Fsecret@"))
    with pytest.raises(StoreError, match=r"^store s3://bucket/.* cannot be (read|written): .*ACCESS_DENIED") as caught:
        {"prepare": store.prepare, "done": store.done, "append": lambda: store.append([make_record("a", (1,))])}[use]()
    assert faulty.done.total() <= 2
    assert "secret" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_said_at_once(faulty, make_record):
    store = Store(faulty.uri.replace("s3://bucket", "s3://nowhere"))
    with pytest.raises(StoreError, match=r"^store s3://nowhere/.*: there is no bucket nowhere; valid: "):
        store.read()
    with pytest.raises(StoreError, match="Bucket 'nowhere' not found"):
        store.prepare()
    before = faulty.done["none"]
    with pytest.raises(StoreError, match="NO_SUCH_BUCKET"):
        store.append([make_record("a", (1,))])
    assert faulty.done["none"] == before + 1


def planned() -> Plan:
    return Plan.of(parse_sweep(SWEEP, "test.yaml"), Packing(workers=1, max_cohort=2))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    store = Store(tmp_path_factory.mktemp("whole"))
    Inline().execute(planned(), store, lambda event: None)
    return points_table(planned(), store.read())


def run_until_done(store: Store, faulty, seed: int, chance: float) -> int:
    """Return the number of runs until the sweep is done. The faults differ between runs; the last run has none."""
    for attempt in range(4):
        faulty.misbehave(10 * seed + attempt, chance if attempt < 3 else 0.0)
        said = ""
        try:
            Inline().execute(planned().without(store.done()), store, lambda event: None)
        except StoreError as error:
            said = str(error)
        if not said:
            return attempt + 1
        assert re.match(r"store s3://bucket/.* cannot be (read|written|deleted): .*AWS Error", said)
    raise AssertionError("not even without faults")


@pytest.mark.parametrize(("seed", "chance"), [(0, 0.1), pytest.param(1, 0.1, marks=pytest.mark.slow), (2, 0.6)])
def test_a_sweep_ends_as_if_nothing_had_been(faulty, undisturbed, seed, chance):
    store = Store(faulty.uri)
    runs = run_until_done(store, faulty, seed, chance)
    assert sum(faulty.done[kind] for kind in FAULTS) >= 1
    assert runs == 1 if chance < 0.5 else runs > 1
    faulty.behave()
    assert planned().without(store.done()).missing == ()
    assert store.read().damaged == {}
    assert points_table(planned(), store.read()).equals(undisturbed)
    assert compact(store).left_alone == {}
    assert points_table(planned(), store.read()).equals(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 13))
def test_a_sweep_with_the_librarys_own_attempts(
    faulty, undisturbed, seed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(atomic_files, "SDK_ATTEMPTS", 3)
    store = Store(faulty.uri)
    run_until_done(store, faulty, seed, 0.4)
    faulty.behave()
    assert points_table(planned(), store.read()).equals(undisturbed)
