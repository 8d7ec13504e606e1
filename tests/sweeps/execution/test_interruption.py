"""Nothing is trained twice or lost in runs that are interrupted, repeated, or extended."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

pytestmark = pytest.mark.xdist_group("forks")

COHORTS, POINTS = 8, 32


@pytest.fixture
def study(make_study):
    """Make a study with a fifth of the examples, which still runs long enough to be interrupted."""
    return make_study(shorten=5)


def test_interrupted_and_killed_in_one_process_and_run_again(study, processes, fork):
    """Ctrl-C leaves a valid store and a message. A kill leaves no message, but loses no more than Ctrl-C."""
    process = study.forked(fork)
    study.wait_for_parts(process, 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert "Traceback" not in output
    interrupted = study.parts()
    assert 2 <= interrupted < COHORTS - 1, "the moment does not test an interruption"
    process = study.forked(fork)
    study.wait_for_parts(process, interrupted + 1)
    processes.kill_all(process)
    before = study.parts()
    assert interrupted < before < COHORTS, "the moment does not test a kill"
    assert f"{POINTS} points, {4 * before} done, {POINTS - 4 * before} to train" in study.run()
    assert study.parts() == COHORTS
    assert study.is_whole()
    assert "nothing to train" in study.run()
    assert study.parts() == COHORTS


@pytest.mark.slow
@pytest.mark.parametrize("parts", [0, 1])
@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 3), (signal.SIGHUP, 2), (signal.SIGTERM, 1)])
def test_an_interrupted_run_on_ray_leaves_no_process(study, processes, number, times, parts):
    """With 0 parts, the signals come while Ray starts."""
    process = study.started("--workers", "2", "--checkpoint-every", "0")
    study.wait_for_parts(process, parts)
    while process.poll() is None and not any(processes.is_kind(each, "raylet") for each in processes.family(process)):
        time.sleep(0.01)
    family = processes.family(process)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    assert output.count("interrupted; what was trained is in the store") == 1
    assert "Traceback" not in output
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert study.store.read().damaged == {}


def test_two_runs_at_once_share_the_work(study, processes, fork):
    """One run has its own process. The other run starts in this process when the first one has stored a part."""
    other = study.forked(fork)
    study.wait_for_parts(other, 1)
    before = study.parts()
    outputs = [study.run(), processes.ended(other)]
    assert before < COHORTS - 1, "they did not run at once"
    assert f"({POINTS} points)" in outputs[1], "it saw all of its plan done"
    assert study.is_whole()
    assert study.parts() == COHORTS


@pytest.mark.slow
def test_two_runs_at_once_share_the_work_on_ray_too(study, processes):
    both = [study.started("--workers", "2") for _ in range(2)]
    for process in both:
        processes.ended(process)
    assert study.is_whole()
    assert study.parts() == COHORTS


def test_what_is_new_is_trained_and_nothing_else(make_study):
    """The new points are from a longer axis, more epochs, and another sweep that shares points with the first."""
    study = make_study(shorten=5, max_cohort=64)
    study.run()
    assert "48 points, 32 done, 16 to train" in study.run("--set", "seed=[0, 1, 2]")
    assert "12 points, 8 done, 4 to train" in study.run("--set", "epochs=[4, 12, 16]", "--set", "width=6")
    text = (study.folder / "sweep.yaml").read_text()
    (study.folder / "other.yaml").write_text(text.replace("disturbed", "other").replace("[6, 8, 10, 12]", "[12, 14]"))
    assert "16 points, 8 done, 8 to train" in study.run(sweep="other.yaml")
