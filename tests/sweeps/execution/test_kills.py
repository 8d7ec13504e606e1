"""If processes of a run are killed at random moments, no point is lost or stored twice, and no bit differs.

The processes are drivers, workers, servers of Ray, and the first workers while Ray starts. A run that cannot go on ends
with one sentence.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import psutil
import pytest

from analysis.tables.points import points_table
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import CohortEnded
from sweeps.execution.supervision import GO_ON
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

pytestmark = pytest.mark.xdist_group("ray")

POINTS, COHORTS = 32, 8
ALWAYS = ("--checkpoint-every", "0")
OFTEN = (*ALWAYS, "--retries", "1000")
"""Options for cohorts that are killed often, so that they are not recorded as failed."""


@pytest.fixture
def studies(make_study: Callable[..., Any]) -> Iterator[Any]:
    """Return an iterator of new studies. A test takes studies until it has killed at all its random moments."""
    return (make_study(name=f"study{number}") for number in count())


def kill_drivers(study: Any, moments: int, chance: random.Random, longest: float) -> int:
    """Run the sweep until it is done, killing drivers after up to `longest` seconds. Return the number of kills."""
    killed = 0
    while True:
        process = study.started("--workers", "2", *ALWAYS)
        if killed < moments:
            time.sleep(chance.uniform(0, longest))
            if process.poll() is None:
                process.kill()
                process.communicate()
                killed += 1
                points = study.points()
                continue
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        assert killed == 0 or study.points() >= points
        assert study.points() == POINTS
        return killed


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """Return how many processes of each kind a soak test kills: the option --kills."""
    return int(request.config.getoption("--kills"))


@pytest.mark.soak
def test_drivers_at_random_moments(studies, kills):
    chance = random.Random(1)
    begin = time.monotonic()
    undisturbed = next(studies)
    assert kill_drivers(undisturbed, 0, chance, 0) == 0
    longest = time.monotonic() - begin
    killed = 0
    while killed < kills:
        study = next(studies)
        killed += kill_drivers(study, kills - killed, chance, longest)
        assert study.is_whole()


@pytest.mark.slow
def test_a_driver(study, processes):
    """The workers of a killed driver end at once, and Ray's agents within a minute. The next driver does not wait."""
    process = study.started("--workers", "2", *ALWAYS)
    study.wait_for_parts(process, 2)
    workers = processes.workers(process)
    process.kill()
    process.communicate()
    stored = study.parts()
    assert 0 < stored < COHORTS
    output, _ = (again := study.started("--workers", "2")).communicate(timeout=240)
    assert again.returncode == 0, output
    assert study.is_whole()
    assert workers
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in workers)
    assert "nothing to train" in study.run()


def kill_workers(study: Any, processes: Any, moments: int, chance: random.Random, pause: float) -> int:
    process = study.started("--workers", "2", *OFTEN)
    study.wait_for_parts(process, 1)
    killed = 0
    while killed < moments and process.poll() is None:
        time.sleep(chance.uniform(0, pause))
        workers = processes.workers(process)
        if workers:
            chance.choice(workers).kill()
            killed += 1
    processes.ended(process)
    return killed


@pytest.mark.soak
def test_workers_at_random_moments(studies, processes, kills):
    chance, killed = random.Random(2), 0
    while killed < kills:
        study = next(studies)
        killed += kill_workers(study, processes, kills - killed, chance, 3.0)
        assert study.is_whole()


@pytest.mark.slow
def test_a_worker(study, processes):
    assert kill_workers(study, processes, 1, random.Random(3), 0.1) == 1
    assert study.is_whole()
    assert study.parts() == COHORTS


def kill_raylets(study: Any, nodes: Any, processes: Any, moments: int, chance: random.Random, pause: float) -> int:
    """Kill the raylet of one of two nodes and add another node, repeatedly. Return the number of kills."""
    nodes.add(), nodes.add()
    process = study.started("--address", nodes.address, *OFTEN)
    study.wait_for_parts(process, 1)
    killed = 0
    while killed < moments and process.poll() is None:
        time.sleep(chance.uniform(0, pause))
        nodes.kill_raylet(chance.choice(nodes.all))
        killed += 1
        nodes.add()
    processes.ended(process)
    nodes.kill_all()
    return killed


@pytest.mark.soak
def test_raylets_of_nodes_at_random_moments(studies, nodes, processes, kills):
    chance, killed = random.Random(4), 0
    while killed < kills:
        study = next(studies)
        killed += kill_raylets(study, nodes, processes, kills - killed, chance, 3.0)
        assert study.is_whole()


def victim(processes: Any, process: Any, kind: str) -> Any:
    """Wait for a process of a run, and return it, or None if the run ends before."""
    while process.poll() is None:
        for each in processes.family(process):
            if processes.is_kind(each, kind):
                return each
        time.sleep(0.005)
    return None


def kill_servers(study: Any, processes: Any, moments: int, chance: random.Random, longest: float, kinds: Any) -> int:
    """Run the sweep until it is done, killing a process of one of these kinds up to `longest` seconds after it started.

    Return the number of kills, after a check that each killed run ended with one sentence and left no process.
    """
    killed = 0
    while True:
        process = study.started("--workers", "2", *ALWAYS)
        kind = chance.choice(kinds)
        if killed < moments and (target := victim(processes, process, kind)):
            time.sleep(chance.uniform(0, longest))
            family = processes.family(process)
            with suppress(psutil.NoSuchProcess):
                target.kill()
        output, _ = process.communicate(timeout=240)
        if process.returncode == 0:  # it ended before the kill, or it did not need the process any more
            assert study.points() == POINTS, output
            return killed
        killed += 1
        assert process.returncode == 2, output
        (sentence,) = [line for line in output.splitlines() if line.startswith("error: ")]
        assert "Ray" in sentence, output
        assert output.endswith(f"{sentence}\n"), output
        assert "Traceback" not in output, output
        assert not psutil.wait_procs(family, timeout=10)[1]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("kinds", "longest"),
    [(["gcs_server"], 2.0), (["raylet"], 2.0), (["gcs_server", "raylet"], 20.0), (["first worker"], 0.5)],
)
def test_processes_of_a_ray_of_its_own_at_random_moments(studies, processes, kills, kinds, longest):
    """The first two kill while Ray starts."""
    chance, killed = random.Random(f"{kinds} {longest}"), 0
    while killed < kills:
        study = next(studies)
        killed += kill_servers(study, processes, kills - killed, chance, longest, kinds)
        assert study.is_whole()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gcs_server", "raylet"])
def test_a_server_of_a_ray_of_its_own(study, processes, kind):
    """The run ends with a sentence at once, and the next run resumes the sweep."""
    process = study.started("--workers", "2", *ALWAYS)
    study.wait_for_parts(process, 2)
    family = processes.family(process)
    victim(processes, process, kind).kill()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert output.endswith(f"error: --address local: Ray ended during the run: its process {kind} died; {GO_ON}\n")
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert 0 < study.parts() < COHORTS
    processes.ended(study.started("--workers", "2"))
    assert study.is_whole()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["first worker", "gcs_server", "raylet"])
def test_what_dies_while_ray_starts_is_one_sentence(study, processes, kind):
    process = study.started("--workers", "2")
    victim(processes, process, kind).kill()
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 2, output
    assert output.splitlines()[-1].startswith("error: --address local: Ray cannot be "), output
    assert output.count("error: ") == 1, output
    assert "Traceback" not in output


HALF_WAY = """
name: half-way
fixed: {data: digits, dataset_size: 100, batch_size: 100, precision: float64, model: MODEL, epochs: 20}
grid: {seed: [0, 1, 2]}
"""


@pytest.mark.slow
def test_a_cohort_that_loses_its_worker_half_way_repeats_at_most_one_epoch(make_study, processes):
    study = make_study(HALF_WAY, max_cohort=3, sleep=0.1)  # one cohort, one update per epoch
    process = study.started("--workers", "2", *ALWAYS)
    while process.poll() is None and len(study.updates()) < 10:
        time.sleep(0.01)
    psutil.Process(study.updates()[0]["pid"]).kill()
    processes.ended(process)
    assert study.is_whole()
    by = Counter(update["pid"] for update in study.updates())
    first, second = by.values()
    assert first >= 10
    # The unfinished update and the epochs after the last checkpoint, at most one, are lost.
    assert 20 <= first + second <= 22


DYING_MODEL = """
import math, os
from torch import nn
from sweeps.store.store import Store

append = Store.append

def append_and_die(self, records):
    append(self, records)
    if not os.path.exists({died!r}):
        open({died!r}, "w").close()
        os._exit(1)

if os.getpid() != {driver}:
    Store.append = append_and_die

def make(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
"""


@pytest.mark.slow
def test_a_worker_that_dies_when_it_has_stored_its_part_leaves_one(ray_on_two_cores, tmp_path, monkeypatch):
    text = DYING_MODEL.format(died=str(tmp_path / "died"), driver=os.getpid())
    (tmp_path / "dying_model.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    sweep = parse_sweep(HALF_WAY.replace("MODEL", '"dying_model:make"'), "dying.yaml")
    plan, store, events = Plan.of(sweep), Store(tmp_path / "store"), []
    RayTune().execute(plan, store, events.append)
    assert (tmp_path / "died").exists()
    assert points_table(plan, store.read())["outcome"].to_pylist() == ["finished"] * 3
    assert len(list((tmp_path / "store" / "parts").glob("*.parquet"))) == 1
    assert [event for event in events if isinstance(event, CohortEnded)] == [CohortEnded(0, ())]
