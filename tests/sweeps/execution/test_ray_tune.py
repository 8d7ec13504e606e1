"""Tests of failures that can occur only in the Ray executor."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import cloudpickle

from analysis.tables.points import failures
from sweeps.errors import ExecutionError
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.on_ray.trials import Experiments
from sweeps.execution.on_ray.watching import Piece, Watcher
from sweeps.execution.protocol import Announcer, Event
from sweeps.execution.resources import Grant
from sweeps.execution.worker import Worker
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Cohort, Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.leases import Run
from sweeps.store.store import Store

pytestmark = pytest.mark.xdist_group("ray")

DEADLY = """
name: deadly
fixed: {data: digits, dataset_size: 100, epochs: 1}
grid:
  - {model: ["deadly_model:make"], seed: [0]}
  - {model: [mlp], width: [4], seed: [0, 1]}
"""

DEADLY_MODEL = """
import os
from torch import nn

class Deadly(nn.Linear):
    def forward(self, x):
        if x.device.type != "meta":
            os._exit(1)
        return super().forward(x.flatten(1))

def make(shape, classes):
    return Deadly(64, classes)
"""


@pytest.mark.slow
def test_a_cohort_that_kills_its_worker_fails_alone(ray_on_two_cores, tmp_path: Path, monkeypatch):
    (tmp_path / "deadly_model.py").write_text(DEADLY_MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    plan, store = Plan.of(parse_sweep(DEADLY, "deadly.yaml"), Packing(workers=2)), Store(tmp_path / "store")
    RayTune().execute(plan, store, lambda event: None)
    (failure,) = failures(plan, store.read(["reason"]))
    assert failure["outcome"] == "failed"
    assert "died" in failure["reason"]
    assert plan.without(store.done()).missing == ()
    assert len(plan.without(store.done().without_failed()).missing) == 1


def harmless() -> Plan:
    return Plan.of(parse_sweep(DEADLY.replace('"deadly_model:make"', "linear"), "harmless.yaml"))


@pytest.mark.parametrize("name", ["sweeps", "lightning_modules"])
def test_a_package_of_our_name_that_workers_would_import_is_refused(ray_on_two_cores, tmp_path, monkeypatch, name):
    """A worker's Python searches the folder in which the driver was started before the installed packages."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExecutionError, match=f"package '{name}': .* {tmp_path / name}, which is not memsweep's"):
        RayTune().execute(harmless(), Store(tmp_path / "store"), lambda event: None)
    assert not (tmp_path / "store").exists()


def test_an_address_where_no_ray_is_is_one_sentence(tmp_path: Path):
    with pytest.raises(ExecutionError, match=r"--address 127\.0\.0\.1:1: Ray cannot be reached"):
        RayTune(address="127.0.0.1:1").execute(harmless(), Store(tmp_path / "store"), lambda event: None)


@pytest.mark.parametrize("by", ["RAY_ADDRESS", "file"])
def test_the_address_of_a_cluster_that_has_ended_is_one_sentence(tmp_path: Path, monkeypatch, by):
    """Ray itself logs for minutes that it cannot connect to the cluster that was started last on this machine."""
    if by == "file":
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setattr("ray._private.services.find_gcs_addresses", functools.cache(set))
        monkeypatch.setattr("ray._private.utils.read_ray_address", lambda folder: "127.0.0.1:1")
    else:
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    said = r"^--address auto: Ray cannot be reached: .*refused; valid: the address of a running cluster$"
    with pytest.raises(ExecutionError, match=said):
        RayTune(address="auto").execute(harmless(), Store(tmp_path / "store"), lambda event: None)


def test_a_failed_connection_leaves_the_ray_that_the_process_uses(ray_on_two_cores, tmp_path):
    import ray

    with pytest.raises(ExecutionError, match="cannot be reached"):
        RayTune(address="127.0.0.1:1").execute(harmless(), Store(tmp_path / "store"), lambda event: None)
    assert ray.is_initialized()


def lost(cohort: Cohort, rounds: int, store: Store, events: list[Event]) -> list[Piece]:
    """Return the pieces that are tried again after a piece was lost in a round."""
    experiments = Experiments({}, store, Worker(Run("a")), "cuda", retries=0, concurrent=1)
    piece = Piece(cohort, Grant({"CPU": 1.0}, 0), lane="0", rounds=rounds)
    return RayTune()._again(piece, "ActorDiedError: killed\nat length", experiments, Announcer(events.append, 9))


def test_a_lost_cohort_is_tried_again_in_halves_and_a_lone_training_as_it_is(tmp_path, caplog):
    plan = Plan.of(parse_sweep(DEADLY.replace('- {model: ["deadly_model:make"], seed: [0]}\n  ', ""), "x.yaml"))
    (cohort,), store, events = plan.cohorts, Store(tmp_path / "store"), []
    first, second = cohort.members
    pieces = lost(cohort, 1, store, events)
    assert [(piece.cohort.members, piece.lane) for piece in pieces] == [((first,), "0.0"), ((second,), "0.1")]
    assert [piece.rounds for piece in lost(pieces[0].cohort, 1, store, events)] == [2]
    assert events == []
    assert lost(pieces[0].cohort, 2, store, events) == []
    (event,) = events
    assert event.failures[0].reason == "ActorDiedError: killed\nat length"
    why = "lost with its worker (ActorDiedError: killed)"
    assert caplog.messages == [
        f"cohort 0 ({first.id} and 1 more): {why}; training it again as two halves",
        f"cohort 0 ({first.id}): {why}; trying it again",
        f"cohort 0 ({first.id}): {why}; recording it as failed",
    ]


def test_a_cohort_that_ray_starts_again_is_logged(caplog):
    cohort, terminal = harmless().cohorts[0], threading.RLock()
    watcher = Watcher(
        [Piece(cohort, Grant({"CPU": 1.0}, 0))], lambda place, event: terminal.acquire(), terminal.acquire
    )
    assert cloudpickle.dumps(watcher), "Tune pickles its callbacks, and a listener may hold what cannot be pickled"
    trial = SimpleNamespace(config={"piece": 0})
    watcher.on_trial_recover(iteration=1, trials=[trial], trial=trial)
    assert trial.config["again"]
    assert caplog.messages == [f"{cohort}: lost with its worker; Ray starts it again"]


SAYING_MODEL = """
import logging, math
from torch import nn

def make(shape, classes):
    logging.getLogger("memsweep.test").warning("a line of a worker")
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
"""


def test_what_a_worker_logs_is_in_its_log(ray_on_two_cores, tmp_path, monkeypatch):
    import ray

    (tmp_path / "saying_model.py").write_text(SAYING_MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = Plan.of(
        parse_sweep('name: x\nfixed: {data: digits, dataset_size: 20, epochs: 1, model: "saying_model:make"}', "")
    )
    RayTune().execute(plan, Store(tmp_path / "store"), lambda event: None)
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    assert any("a line of a worker" in path.read_text() for path in logs.glob("worker-*.err"))
