"""However a supervised run ends, it says one sentence and leaves no process behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sweeps.execution.supervision import GO_ON, INTERRUPTED, is_supervised, stage

PROGRAM = """
import os, signal, subprocess, sys, time
from sweeps.execution.supervision import stage, supervise

def body():
    print("begun", os.getpid(), flush=True)
    {body}

supervise(body)
"""
FOREVER = "time.sleep(60)"
DEAF = f"signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); {FOREVER}"
"""What a library that waits in its own code looks like to signals."""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Return a function that starts a supervised program, and waits until its body has begun."""
    shutil.copy("/bin/sleep", tmp_path / "raylet")  # a process with the name of a server

    def started(*lines: str) -> subprocess.Popen[str]:
        program = PROGRAM.replace("{body}", "\n    ".join(lines))
        command = [sys.executable, "-c", program, str(tmp_path / "raylet")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline().startswith("begun")
        return process

    return started


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def left(family: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def in_stage(body: str, arguments: str = "") -> list[str]:
    return [f"with stage('it failed: {{}}; do that'{arguments}):", f"    {body}"]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("print('my words', file=sys.stderr)", 0, "my words\n"),
    ],
)
def test_what_ends_by_itself_ends_as_without_supervision(start: Start, body, code, said):
    process = start(body)
    assert process.communicate(timeout=60) == ("", said)
    assert process.returncode == code


def test_an_exception_is_shown_as_without_supervision(start: Start):
    process = start("raise ValueError('mine')")
    assert process.communicate(timeout=60)[1].endswith("ValueError: mine\n")
    assert process.returncode == 1


SERVER = "server = subprocess.Popen([sys.argv[1], '60'])"
WORKER = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep({})', 'default_worker.py'])"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (in_stage("os._exit(1)"), "it failed: the library ended the process; do that"),
        (in_stage("os._exit(0)"), "it failed: the library ended the process; do that"),
        (
            in_stage("os.kill(os.getpid(), signal.SIGKILL)"),
            "it failed: the process was killed by signal 9, perhaps for lack of memory; do that",
        ),
        (in_stage(DEAF, ", seconds=0.5"), "it failed: no answer within 0 s; do that"),
        (
            in_stage(f"{SERVER}; time.sleep(1); server.kill(); {DEAF}"),
            "it failed: its process raylet died; do that",
        ),
        (
            ["os.kill(os.getpid(), signal.SIGSEGV)"],
            f"the run ended: the process was killed by signal 11, perhaps for lack of memory; {GO_ON}",
        ),
    ],
)
def test_what_is_lost_says_one_sentence(start: Start, lines, said):
    process = start(*lines)
    others = family(process)
    assert process.communicate(timeout=60) == ("", f"error: {said}\n")
    assert process.returncode == 2
    assert left(others) == []


@pytest.mark.parametrize("starts", [True, False])
def test_a_first_worker_that_dies_ends_the_start_and_no_later_stage(start: Start, tmp_path: Path, starts):
    (tmp_path / "raylet").unlink()
    (tmp_path / "raylet").write_text(
        f"#!{sys.executable}\nimport subprocess, sys, time\nopen('/proc/self/comm', 'w').write('raylet')\n"
        f"{WORKER.format(1)}\ntime.sleep(60)\n"
    )
    (tmp_path / "raylet").chmod(0o755)
    process = start(*in_stage(f"{SERVER}; time.sleep(3)", f", starts_ray={starts}"))
    _, said = process.communicate(timeout=60)
    reason = "one of its first workers died, perhaps for lack of memory"
    assert said == (f"error: it failed: {reason}; do that\n" if starts else "")
    assert process.returncode == (2 if starts else 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("body", [FOREVER, DEAF])
def test_an_interruption_ends_a_run_and_a_second_one_ends_it_at_once(start: Start, number, body):
    """An orphan of the run, such as an agent of Ray, ends with it."""
    orphan = "subprocess.Popen(['sh', '-c', 'sleep 60 & sleep 0.1'])"
    process = start(*in_stage(f"{orphan}.wait(); print('ready', flush=True); {body}"))
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    others = family(process)
    assert len(others) == 2
    process.send_signal(number)
    if body == DEAF:
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(number)
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert said == f"{INTERRUPTED}\n"
    assert process.returncode == 128 + number
    assert left(others) == []


def test_an_interruption_while_ray_starts_ends_the_run_at_once(start: Start):
    process = start(*in_stage(DEAF, ", starts_ray=True"))
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=5) == ("", f"{INTERRUPTED}\n")
    assert process.returncode == 130


def test_a_run_ends_with_a_killed_supervisor(start: Start):
    process = start(FOREVER)
    (child,) = family(process)
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs([child], timeout=10)[1] == []


def test_a_library_that_hangs_or_crashes_at_the_exit_changes_nothing(start: Start):
    process = start("import atexit; atexit.register(os.kill, os.getpid(), signal.SIGSEGV); sys.exit(1)")
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 1


def test_what_a_library_writes_is_hidden_and_what_python_writes_is_not(start: Start):
    write = "os.write(2, b'a line of a library'); print('a line of mine', file=sys.stderr)"
    assert start(*in_stage(write)).communicate(timeout=60)[1] == "a line of mine\n"
    shown = start(*in_stage(write, ", mute=False")).communicate(timeout=60)[1]
    assert "a line of a library" in shown


def test_without_a_supervisor_a_stage_does_nothing():
    assert not is_supervised()
    with stage("{}", seconds=0.001):
        time.sleep(0.01)
    assert not is_supervised()
