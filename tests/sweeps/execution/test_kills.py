"""If processes of a run are killed at random moments, no point is lost or stored twice, and no bit differs.

The processes are drivers, workers, servers of Ray, and the first workers while Ray starts. A run that cannot go on ends
with one sentence.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
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
LONG = 40
"""So many epochs that many processes of a run can be killed. Starting Ray takes most of a short run."""


class Kills:
    """The kills of a soak test, as many as the option --kills says, and what they left in the stores of their sweeps.

    With the option --kills-log, each kill becomes a line of JSON once its sweep is done.
    """

    def __init__(self, number: int, log: Path | None) -> None:
        self._left = number
        self._log = log
        self._unchecked: list[dict[str, Any]] = []

    @property
    def are_left(self) -> bool:
        return self._left > 0

    def note(self, kind: str, seconds: float, code: int | None = None, sentence: str = "") -> None:
        """Note a kill after some seconds, and how the run ended if the kill ended it."""
        self._left -= 1
        self._unchecked.append({"kind": kind, "after": round(seconds, 2), "code": code, "sentence": sentence})

    def check(self, study: Any) -> None:
        """Check that no point is lost or stored twice and that no bit differs, once the sweep is done."""
        table = study.table()
        left = {"lost": POINTS - table["outcome"].to_pylist().count("finished"), "doubled": len(study.twice()),
                "equal": table.equals(study.whole)}  # fmt: skip
        if self._log:
            with self._log.open("a") as file:
                file.writelines(json.dumps({**kill, **left}) + "\n" for kill in self._unchecked)
        self._unchecked = []
        assert left == {"lost": 0, "doubled": 0, "equal": True}
        assert study.is_whole()


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> Kills:
    return Kills(request.config.getoption("--kills"), request.config.getoption("--kills-log"))


@pytest.fixture
def studies(make_study: Callable[..., Any]) -> Iterator[Any]:
    """Return an iterator of new studies. A test takes studies until it has killed at all its random moments."""
    return (make_study(epochs=LONG, name=f"study{number}") for number in count())


def the_sentence(output: str) -> str:
    """Return the sentence with which a run ended, after a check that nothing else tells of the end."""
    (sentence,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert output.endswith(f"{sentence}\n"), output
    assert "Traceback" not in output, output
    return sentence


def kill_drivers(study: Any, processes: Any, kills: Kills, chance: random.Random, longest: float) -> None:
    """Run the sweep until it is done, killing drivers or their supervisors after up to `longest` seconds."""
    points = 0
    while True:
        process = study.started("--workers", "2", *ALWAYS)
        seconds, kind = chance.uniform(0, longest), chance.choice(["driver", "supervisor"])
        if kills.are_left:
            time.sleep(seconds)
            family = processes.family(process)
            if kind == "driver" and family:
                with suppress(psutil.NoSuchProcess):
                    min(family, key=lambda each: each.create_time()).kill()
            else:
                process.kill()
        output, _ = process.communicate(timeout=240)
        if process.returncode == 0:
            assert study.points() == POINTS
            return
        assert study.points() >= points
        points = study.points()
        if process.returncode < 0:
            kills.note("supervisor", seconds, process.returncode)
            continue
        assert process.returncode == 2, output
        sentence = the_sentence(output)
        assert "signal 9" in sentence
        assert not psutil.wait_procs(family, timeout=10)[1]
        kills.note("driver", seconds, 2, sentence)


@pytest.mark.soak
def test_drivers_at_random_moments(studies, processes, kills):
    chance = random.Random(1)
    begin = time.monotonic()
    processes.ended(next(studies).started("--workers", "2", *ALWAYS))
    longest = time.monotonic() - begin
    while kills.are_left:
        study = next(studies)
        kill_drivers(study, processes, kills, chance, longest)
        kills.check(study)


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


def kill_workers(study: Any, processes: Any, kills: Kills, chance: random.Random, pause: float) -> None:
    begin, process = time.monotonic(), study.started("--workers", "2", *OFTEN)
    study.wait_for_parts(process, 1)
    while kills.are_left and process.poll() is None:
        time.sleep(chance.uniform(0, pause))
        workers = processes.workers(process)
        if workers:
            chance.choice(workers).kill()
            kills.note("worker", time.monotonic() - begin)
    processes.ended(process)


@pytest.mark.soak
def test_workers_at_random_moments(studies, processes, kills):
    chance = random.Random(2)
    while kills.are_left:
        study = next(studies)
        kill_workers(study, processes, kills, chance, 3.0)
        kills.check(study)


@pytest.mark.slow
def test_a_worker(study, processes):
    """If the worker dies while it writes checkpoints, its two members are at different epochs and train one by one."""
    kill_workers(study, processes, kills := Kills(1, None), random.Random(3), 0.1)
    assert not kills.are_left
    assert study.is_whole()
    sizes = study.stack_sizes()
    assert sizes in ([2] * COHORTS, [1, 1] + [2] * (COHORTS - 1))


def kill_raylets(study: Any, nodes: Any, processes: Any, kills: Kills, chance: random.Random, pause: float) -> None:
    """Kill the raylet of one of two nodes and add another node, repeatedly."""
    nodes.add(), nodes.add()
    begin, process = time.monotonic(), study.started("--address", nodes.address, *OFTEN)
    study.wait_for_parts(process, 1)
    while kills.are_left and process.poll() is None:
        time.sleep(chance.uniform(0, pause))
        nodes.kill_raylet(chance.choice(nodes.all))
        kills.note("raylet of a node", time.monotonic() - begin)
        nodes.add()
    processes.ended(process)
    nodes.kill_all()


@pytest.mark.soak
def test_raylets_of_nodes_at_random_moments(studies, nodes, processes, kills):
    chance = random.Random(4)
    while kills.are_left:
        study = next(studies)
        kill_raylets(study, nodes, processes, kills, chance, 3.0)
        kills.check(study)


def victim(processes: Any, process: Any, kind: str) -> Any:
    """Wait for a process of a run, and return it, or None if the run ends before."""
    while process.poll() is None:
        for each in processes.family(process):
            if processes.is_kind(each, kind):
                return each
        time.sleep(0.02)
    return None


def kill_servers(study: Any, processes: Any, kills: Kills, chance: random.Random, longest: float, kinds: Any) -> None:
    """Run the sweep until it is done, killing a process of one of these kinds up to `longest` seconds after it started.

    Check that each killed run ends with one sentence and leaves no process.
    """
    while True:
        process = study.started("--workers", "2", *ALWAYS)
        kind, seconds = chance.choice(kinds), chance.uniform(0, longest)
        if kills.are_left and (target := victim(processes, process, kind)):
            time.sleep(seconds)
            family = processes.family(process)
            with suppress(psutil.NoSuchProcess):
                target.kill()
        output, _ = process.communicate(timeout=240)
        if process.returncode == 0:  # it ended before the kill, or it did not need the process any more
            assert study.points() == POINTS, output
            return
        assert process.returncode == 2, output
        sentence = the_sentence(output)
        assert "Ray" in sentence, output
        assert not psutil.wait_procs(family, timeout=10)[1]
        kills.note(kind, seconds, 2, sentence)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("kinds", "longest"),
    [(["gcs_server"], 2.0), (["raylet"], 2.0), (["gcs_server", "raylet"], 20.0), (["first worker"], 0.5)],
)
def test_processes_of_a_ray_of_its_own_at_random_moments(studies, processes, kills, kinds, longest):
    """The first two kill while Ray starts."""
    chance = random.Random(f"{kinds} {longest}")
    while kills.are_left:
        study = next(studies)
        kill_servers(study, processes, kills, chance, longest, kinds)
        kills.check(study)


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


IN_A_NOTEBOOK = """
import memsweep
memsweep.run("sweep.yaml", "store", workers=2, max_cohort=2)
"""


@pytest.mark.slow
def test_first_workers_that_die_without_a_supervisor_are_replaced(study, processes, monkeypatch):
    monkeypatch.setenv("RAY_worker_register_timeout_seconds", "20")  # for such workers, Ray waits for a minute
    process = study.process([sys.executable, "-c", IN_A_NOTEBOOK])
    for _ in range(2):
        victim(processes, process, "first worker").kill()
    processes.ended(process)
    assert study.is_whole()


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
