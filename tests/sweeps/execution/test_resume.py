"""A lost cohort resumes from its checkpoints, also in another packing, with another executor, or on another machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis.tables.points import points_table
from lightning_modules.training.checkpoint import _version, _warn_of
from sweeps.execution.inline import Inline
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import CohortEnded, Progress
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.store import Store

SWEEP = """
name: resumed
fixed: {data: digits, dataset_size: 60, depth: 1, batch_size: 20, precision: float64, dropout: 0.2, label_noise: 0.4}
grid: {width: [6, 9], seed: [0, 1, 2], epochs: [4, 12]}
measure: [forgetting]
"""
EPOCHS, LOST = 12, 7
OLD_CHECKPOINT = Path(__file__).parents[2] / "data" / "checkpoints" / "version-2.pt"


def planned(max_cohort: int = 64) -> Plan:
    return Plan.of(parse_sweep(SWEEP, "resumed.yaml"), Packing(max_cohort=max_cohort))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("whole"))
    Inline().execute(planned(), store, lambda event: None)
    return points_table(planned(), store.read())


@pytest.fixture
def lost(tmp_path: Path) -> Store:
    """Return a store whose run was interrupted in the middle of the first of two cohorts."""
    store = Store(tmp_path / "store")

    def interrupt(event: object) -> None:
        if isinstance(event, Progress) and event.epochs == LOST:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Inline(checkpoint_seconds=0).execute(planned(), store, interrupt)
    assert len(Checkpoints(store.location).ids()) == 3
    assert store.read().table.num_rows == 0
    return store


def epochs_of(executor, plan: Plan, store: Store) -> list[list[int]]:
    """Run a plan, and return the epochs that each cohort reports to the listener."""
    heard: list[list[int]] = [[] for _ in plan.cohorts]

    def listen(event: Progress | CohortEnded) -> None:
        if isinstance(event, Progress):
            heard[event.cohort].append(event.epochs)

    executor.execute(plan, store, listen)
    return heard


# The checkpoint of an epoch is written before the next epoch is reported: epoch 7 was reported, 6 was written.
GOES_ON = list(range(LOST, EPOCHS + 1))
ALL = list(range(1, EPOCHS + 1))


@pytest.mark.parametrize(("max_cohort", "again"), [(64, 1), (2, 2), (1, 3)])
def test_the_next_run_does_not_repeat_the_epochs_that_were_kept(lost, whole, max_cohort, again):
    plan = planned(max_cohort)
    heard = epochs_of(Inline(), plan, lost)
    assert sorted(heard) == sorted([GOES_ON] * again + [ALL] * (len(plan.cohorts) - again))
    assert points_table(plan, lost.read()).equals(whole)
    assert Checkpoints(lost.location).ids() == set()


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_another_executor_goes_on_too(lost, whole, ray_on_two_cores):
    plan = planned()
    RayTune().execute(plan, lost, lambda event: None)
    assert points_table(plan, lost.read()).equals(whole)
    assert Checkpoints(lost.location).ids() == set()


def test_the_time_before_the_loss_is_counted(lost):
    Inline().execute(planned(), lost, lambda event: None)
    seconds = lost.read(["wall_seconds", "width"]).table.group_by("width").aggregate([("wall_seconds", "min")])
    assert min(seconds["wall_seconds_min"].to_pylist()) > 0


def test_a_cohort_whose_members_stand_at_different_epochs_is_trained_in_parts(lost, whole):
    plan = planned()
    kept = Checkpoints(lost.location)
    kept.delete([sorted(kept.ids())[0]])
    heard = epochs_of(Inline(), plan, lost)
    assert sorted(heard) == sorted([ALL + GOES_ON, ALL])
    assert points_table(plan, lost.read()).equals(whole)


def test_a_damaged_checkpoint_costs_its_epochs_and_nothing_else(lost, whole):
    for path in sorted((Path(lost.uri) / "checkpoints").iterdir()):
        path.write_bytes(path.read_bytes()[:-1])
    plan = planned()
    assert epochs_of(Inline(), plan, lost) == [ALL, ALL]
    assert points_table(plan, lost.read()).equals(whole)


def test_checkpoints_of_an_older_version_cost_their_epochs_and_one_warning(lost, whole, caplog):
    """The stored checkpoint contains the states of generators, which memsweep 0.1.0 drew dropout masks from."""
    checkpoints = Checkpoints(lost.location)
    checkpoints.write(dict.fromkeys(checkpoints.ids(), OLD_CHECKPOINT.read_bytes()))
    _warn_of.cache_clear()
    plan = planned()
    assert epochs_of(Inline(), plan, lost) == [ALL, ALL]
    assert points_table(plan, lost.read()).equals(whole)
    (message,) = caplog.messages
    assert message == (
        f"checkpoints of version 2, memsweep 0.1.0, torch 2.13.0+cpu are not used by version {_version()}: "
        "their trainings begin anew"
    )


def test_a_sweep_that_asks_for_more_on_the_way_begins_again(lost, whole):
    plan = Plan.of(parse_sweep(SWEEP.replace("[4, 12]", "[3, 4, 12]"), "resumed.yaml"))
    assert epochs_of(Inline(), plan, lost) == [ALL, ALL]
    assert points_table(planned(), lost.read()).equals(whole)


def test_a_longer_training_goes_on_from_a_shorter_ones_checkpoint(lost, tmp_path):
    longer = Plan.of(parse_sweep(SWEEP.replace("[4, 12]", "[4, 12, 15]"), "resumed.yaml"))
    heard = epochs_of(Inline(), longer, lost)
    assert sorted(heard) == sorted([[*GOES_ON, 13, 14, 15], [*ALL, 13, 14, 15]])
    other = Store(tmp_path / "other")
    Inline().execute(longer, other, lambda event: None)
    assert points_table(longer, lost.read()).equals(points_table(longer, other.read()))


def test_without_room_for_a_checkpoint_the_run_ends_with_a_clear_error(tmp_path, monkeypatch):
    from sweeps.errors import StoreError
    from sweeps.store.atomic_files import Location

    write = Location.write

    def full(self: Location, path: str, content: bytes) -> None:
        if path.startswith("checkpoints/"):
            raise StoreError(f"store {self}: {path} cannot be written: No space left on device")
        write(self, path, content)

    monkeypatch.setattr(Location, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        Inline(checkpoint_seconds=0).execute(planned(), Store(tmp_path / "store"), lambda event: None)
    shutil.rmtree(tmp_path / "store")
