"""Tests of the local Ray that a run starts: which processes it has, and which process trains."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from ray._private import node, utils
from ray.tune.execution import class_cache

from sweeps.execution.on_ray.connection import ENVIRONMENT, PRELOADED
from sweeps.execution.on_ray.lean import _replaced, actors_in_any_worker, few_processes

PROGRAM = """
import json, os, sys, tempfile
from sweeps.execution.on_ray.connection import started_here, started_while_importing
assert not started_here()
with started_while_importing(1, False):
    assert started_here()
    import psutil
    from ray import tune
    from sweeps.execution.on_ray.lean import actors_in_any_worker

    def trial(config):
        variables = {name: os.environ.get(name) for name in ("PL_DISABLE_FORK", "RAY_CHDIR_TO_TRIAL_DIR")}
        tune.report({"pid": os.getpid(), "torch": "torch" in sys.modules, "folder": os.getcwd(), **variables})

    tree = psutil.Process().children(recursive=True)
    started = [" ".join(process.cmdline()) for process in tree]
    ports = [each for process in (psutil.Process(), *tree) for each in process.net_connections()]
    listens = sorted({each.laddr.ip for each in ports if each.status == psutil.CONN_LISTEN})
    with actors_in_any_worker(), tempfile.TemporaryDirectory() as scratch:
        tuner = tune.Tuner(trial, run_config=tune.RunConfig(storage_path=scratch, verbose=0))
        metrics = tuner.fit()[0].metrics
print(json.dumps({
    "processes": started, "listens": listens, "before": [process.pid for process in tree], "here": started_here(),
    **{name: metrics[name] for name in ("pid", "torch", "folder", "PL_DISABLE_FORK", "RAY_CHDIR_TO_TRIAL_DIR")},
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what a trial tells that runs on a local Ray in a process of its own."""
    folder = tmp_path_factory.mktemp("run")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=folder)
    return {**json.loads(done.stdout.splitlines()[-1]), "started in": str(folder)}


@pytest.mark.slow
def test_a_trial_runs_in_the_worker_that_was_started_with_ray_and_has_imported_torch(told):
    assert told["pid"] in told["before"]
    assert told["torch"]
    assert not told["here"]


@pytest.mark.slow
def test_a_local_ray_has_no_dashboard_autoscaler_and_reader_of_logs(told):
    names = " ".join(told["processes"])
    assert "raylet" in names
    assert not [name for name in ("dashboard.py", "monitor.py", "log_monitor.py") if name in names]


@pytest.mark.slow
def test_a_local_ray_listens_on_the_loopback_address_alone(told):
    assert told["listens"]
    assert {*told["listens"]} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


@pytest.mark.slow
def test_a_trial_has_the_variables_that_tune_would_set(told):
    assert told["PL_DISABLE_FORK"] == "1"
    assert told["RAY_CHDIR_TO_TRIAL_DIR"] == "0"
    assert told["folder"] == told["started in"]


def test_this_version_of_ray_has_what_is_replaced():
    kept = node.Node.start_monitor, node.Node.start_log_monitor, utils.get_dashboard_dependency_error
    with few_processes(verbose=False):
        inside = node.Node.start_monitor, node.Node.start_log_monitor, utils.get_dashboard_dependency_error
        assert not {*kept} & {*inside}
    with few_processes(verbose=True):
        assert node.Node.start_monitor is not kept[0]
        assert node.Node.start_log_monitor is kept[1]
    assert kept == (node.Node.start_monitor, node.Node.start_log_monitor, utils.get_dashboard_dependency_error)


def test_a_ray_with_more_workers_than_cohorts_preloads_nothing():
    """A run on GPUs starts Ray with a CPU per core, of which few train."""
    assert not {*PRELOADED} & {*ENVIRONMENT}


def test_workers_inherit_every_variable_that_tune_sets_for_its_actors():
    assert {*class_cache.DEFAULT_ENV_VARS} <= {*ENVIRONMENT}
    before = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    with actors_in_any_worker():
        assert not class_cache.DEFAULT_ENV_VARS
        assert not {*class_cache.ENV_VARS_TO_PROPAGATE}
    assert before == (class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE)


@pytest.mark.parametrize(("module", "owner"), [("no_such_module", ""), ("ray._private.node", "NoSuchClass")])
def test_nothing_is_replaced_in_a_ray_of_another_version(module, owner):
    with _replaced(module, owner, {"start_monitor": None}):
        pass
    with _replaced("ray._private.node", "Node", {"start_monitor": None, "no_such_method": None}):
        assert node.Node.start_monitor


def test_what_is_replaced_comes_back_after_an_error():
    kept = node.Node.start_monitor
    with pytest.raises(KeyError), few_processes(verbose=False):
        raise KeyError
    assert node.Node.start_monitor is kept
