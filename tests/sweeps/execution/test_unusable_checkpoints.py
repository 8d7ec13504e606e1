"""A checkpoint from which its training cannot resume is deleted with a log line, and the training begins anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from analysis.tables.points import points_table
from sweeps.execution.inline import Inline
from sweeps.execution.protocol import Progress
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.store import Store
from tests.lightning_modules.training.wrong_checkpoints import BESIDE_ITS_TRAINING, BY_ITSELF, wrong

CHECKED = ("a parameter of another shape", "parameters in a list", "momentum that would broadcast")
KINDS = {**BY_ITSELF, **BESIDE_ITS_TRAINING}
SWEEP = f"""
name: resumed
fixed: {{data: digits, dataset_size: 40, depth: 1, width: 6, batch_size: 20, precision: float64, epochs: 3}}
grid: {{seed: {[*range(len(KINDS) + 2)]}}}
measure: [forgetting]
"""
STOPPED = """
name: lanes
fixed: {data: digits, dataset_size: 40, depth: 1, width: 6, batch_size: 20, precision: float64, epochs: 3}
grid: {seed: [0, 1]}
early_stopping: {scheduler: median, metric: test_accuracy}
"""


def planned(text: str = SWEEP) -> Plan:
    return Plan.of(parse_sweep(text, "resumed.yaml"), Packing(workers=1))


def interrupted(folder: Path, text: str) -> Store:
    store = Store(folder)

    def interrupt(event: object) -> None:
        if isinstance(event, Progress) and event.epochs == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Inline(checkpoint_seconds=0).execute(planned(text), store, interrupt)
    return store


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the checkpoint of each training of an interrupted run."""
    checkpoints = Checkpoints(interrupted(tmp_path_factory.mktemp("lost"), SWEEP).location)
    return {each: checkpoints.read(each) for each in sorted(checkpoints.ids())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], pa.Table]:
    def trained(text: str) -> pa.Table:
        store = Store(tmp_path_factory.mktemp("whole"))
        Inline().execute(planned(text), store, lambda event: None)
        return points_table(planned(text), store.read())

    return trained


@pytest.fixture(scope="module")
def undisturbed(whole) -> pa.Table:
    return whole(SWEEP)


def test_one_with_wrong_content_costs_its_epochs_alone(kept, undisturbed, tmp_path, caplog):
    """Every training but two of a run has a checkpoint with a right hash and another wrong content."""
    store = Store(tmp_path / "store")
    kind_of = dict(zip(kept, KINDS, strict=False))
    Checkpoints(store.location).write({**kept, **{each: wrong(kept[each], kind) for each, kind in kind_of.items()}})
    Inline().execute(planned(), store, lambda event: None)
    assert points_table(planned(), store.read()).equals(undisturbed)
    assert Checkpoints(store.location).ids() == set()
    assert all("the training begins anew" in message for message in caplog.messages)
    for each in kept:
        told = [message for message in caplog.messages if each in message]
        assert len(told) == (each in kind_of), kind_of.get(each)


@pytest.mark.parametrize("kind", [CHECKED[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in CHECKED[1:])])
def test_lanes_begin_anew_too(kind, whole, tmp_path, caplog):
    text = STOPPED
    store = interrupted(tmp_path / "store", text)
    checkpoints = Checkpoints(store.location)
    first = min(checkpoints.ids())
    checkpoints.write({first: wrong(checkpoints.read(first), kind)})
    Inline().execute(planned(text), store, lambda event: None)
    assert points_table(planned(text), store.read()).equals(whole(text))
    assert any(first in message and "the training begins anew" in message for message in caplog.messages)


def test_a_retry_is_without_the_checkpoint_that_made_it_fail(kept, undisturbed, tmp_path, make_record):
    store = Store(tmp_path / "store")
    bad = {each: wrong(kept[each], "a parameter of another shape") for each in kept}
    store.append([make_record(each, failed=3) for each in kept])
    Checkpoints(store.location).write(bad)
    plan = planned()
    assert plan.without(store.done()).missing == ()
    Inline().execute(plan.without(store.done().without_failed()), store, lambda event: None)
    assert points_table(planned(), store.read()).equals(undisturbed)
    assert Checkpoints(store.location).ids() == set()
