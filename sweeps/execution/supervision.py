"""Supervision of a run by a process of its own, which says how the run ended and leaves no process of Ray behind.

Ray waits in its own code, which no signal interrupts, may end the whole process if one of its servers dies, and leaves
agents behind if it is interrupted. The command line therefore forks before it imports anything. The child runs the
command, and tells the parent by a pipe in which stage it is. The parent handles all signals, and ends the child if a
stage takes too long or if a server of Ray dies. Every such end is one sentence. Nothing is lost, because workers write
what is trained to the store.

Without a supervisor, such as in a notebook, a stage has no effect. The module imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any, NoReturn

SERVERS = ("gcs_server", "raylet")
"""The names of Ray's processes without which no run can go on."""

FIRST_WORKER = "default_worker.py"
"""A part of the command of a worker that has not registered yet. `ray.init` waits for the first ones without end."""

TICK_SECONDS = 0.25
GRACE_SECONDS = 10.0
"""How long an interrupted run may take to end by itself."""

GO_ON = "what was trained is in the store, and the same command goes on from there"
INTERRUPTED = f"interrupted; {GO_ON}"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_pipe: int | None = None
"""The pipe to the supervisor of this process, if there is one."""


def is_supervised() -> bool:
    return _pipe is not None


@contextmanager
def stage(
    sentence: str, seconds: float | None = None, starts_ray: bool = False, has_servers: bool = True, mute: bool = True
) -> Iterator[None]:
    """Tell the supervisor what the process does inside the context.

    Args:
        sentence: what the supervisor says if the process ends unexpectedly. "{}" stands for the reason.
        seconds: the time after which the supervisor ends the process, or None for no limit.
        starts_ray: whether the process waits for the first workers of Ray.
        has_servers: whether the stage ends with Ray's servers, if this process has started them.
        mute: whether to hide what libraries write to the standard error of the process other than through Python.
    """
    if _pipe is None:
        yield
        return
    _tell({"begin": {"sentence": sentence, "seconds": seconds, "starts_ray": starts_ray, "has_servers": has_servers}})
    try:
        with _muted() if mute else nullcontext():
            yield
    finally:
        _tell({"end": True})


def _tell(message: Any) -> None:
    if _pipe is not None:
        with suppress(OSError):
            os.write(_pipe, json.dumps(message).encode() + b"\n")


@contextmanager
def _muted() -> Iterator[None]:
    """Discard what is written to file descriptor 2. Python's own stream writes to another one."""
    saved, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def supervise(body: Callable[[], None]) -> NoReturn:
    """Run `body` in a child process, and exit as it does. If it is lost, print one sentence and exit with code 2."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # so that processes which lose their parent become children of this process
    reading, writing = os.pipe()
    handled = {number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}  # nohup ignores SIGHUP
    signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    child = os.fork()
    if child:
        os.close(writing)
        supervisor = _Supervisor(child, reading)
        for number in handled:
            signal.signal(number, supervisor.on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
        sys.exit(supervisor.run())
    os.close(reading)
    _be_supervised(writing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
    code: int | str | None = 0
    try:
        body()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    except KeyboardInterrupt:
        code = 130
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(code)
    except BaseException:
        code = 1
        raise
    finally:
        _tell({"bye": code})
    sys.exit(0)


def _be_supervised(writing: int) -> None:
    """Prepare the child: it dies with its parent, hears only the first interruption, and keeps its own messages."""
    global _pipe
    _pipe = writing
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the parent has died before the line above
        os._exit(2)
    heard = False

    def on_interruption(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if not heard:  # a terminal sends the signal to the child too, and the parent passes it on
            heard = True
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interruption)
    if sys.stderr is not None:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="replace")


class _Supervisor:
    def __init__(self, child: int, reading: int) -> None:
        self._child = child
        self._pipe = reading
        self._heard = b""
        self._stages: list[dict[str, Any]] = []
        self._uses_ray = False
        self._servers: dict[int, str] = {}
        self._first_workers: set[int] = set()
        self._bye: int | None = None
        self._signal: int | None = None
        self._until = float("inf")
        """When the child is killed after an interruption."""

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Pass an interruption on. A second one, or one while Ray starts, ends the run at once."""
        at_once = self._signal is not None or any(stage["starts_ray"] for stage in self._stages)
        self._signal = number
        self._until = time.monotonic() + (0 if at_once else GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGINT)

    def run(self) -> int:
        """Wait for the end of the child, and return the exit code."""
        status = None
        while status is None:
            self._listen()
            status = self._ended()
            if status is None and (reason := self._trouble()):
                return self._lost(reason)
            if status is None and time.monotonic() >= self._until and self._bye is None:
                self._kill_family()
                return self._interrupted(say=True)
        self._listen()
        if self._uses_ray:
            self._kill_family()  # agents of Ray may outlive it by half a minute
        if self._signal is not None:
            return self._interrupted(say=self._bye is None)
        if self._bye is not None:
            return self._bye if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
        if os.WIFSIGNALED(status):
            return self._lost(f"the process was killed by signal {os.WTERMSIG(status)}, perhaps for lack of memory")
        return self._lost("the library ended the process")

    def _listen(self) -> None:
        """Read the messages of the child, and wait for one for up to a tick."""
        if not select.select([self._pipe], [], [], TICK_SECONDS)[0]:
            return
        received = os.read(self._pipe, 65536)
        if not received:  # the pipe is closed, and stays readable
            time.sleep(0.01)
            return
        *lines, self._heard = (self._heard + received).split(b"\n")
        for message in map(json.loads, lines):
            if "begin" in message:
                seconds = message["begin"]["seconds"]
                until = time.monotonic() + seconds if seconds else float("inf")
                self._stages.append({**message["begin"], "until": until})
                self._uses_ray = True
            elif "end" in message:
                self._stages.pop()
                self._servers, self._first_workers = {}, set()
            else:
                self._bye = message["bye"]
                self._until = time.monotonic() + GRACE_SECONDS

    def _ended(self) -> int | None:
        """Reap processes that have ended, and return the status of the child if it is one of them."""
        ended = None
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid == self._child:
                    ended = status
        if ended is None and self._bye is not None and time.monotonic() >= self._until:
            os.kill(self._child, signal.SIGKILL)  # it has said everything, and hangs in a library
            _, ended = os.waitpid(self._child, 0)
        return ended

    def _trouble(self) -> str | None:
        """Return why the child must be ended, or None if nothing is wrong."""
        if not self._stages or self._signal is not None:
            return None
        stage = self._stages[-1]
        if time.monotonic() >= stage["until"]:
            return f"no answer within {stage['seconds']:.0f} s"
        if not stage["has_servers"]:
            return None
        for pid, name in self._servers.items():
            if not _is_alive(pid):
                return f"its process {name} died"
        if stage["starts_ray"] and any(not _is_alive(pid) for pid in self._first_workers):
            return "one of its first workers died, perhaps for lack of memory"
        for pid in _children(self._child):
            if (name := _name(pid)) in SERVERS:
                self._servers[pid] = name
                if name == "raylet" and stage["starts_ray"]:
                    self._first_workers |= {worker for worker in _children(pid) if FIRST_WORKER in _command(worker)}
        return None

    def _lost(self, reason: str) -> int:
        self._kill_family()
        sentence = self._stages[-1]["sentence"] if self._stages else f"the run ended: {{}}; {GO_ON}"
        self._say(f"error: {sentence.replace('{}', reason)}")
        return 2

    def _interrupted(self, say: bool) -> int:
        assert self._signal is not None
        if say:
            self._say(INTERRUPTED)
        return 128 + self._signal

    def _say(self, sentence: str) -> None:
        with suppress(OSError, ValueError):
            if sys.stdout.isatty():
                print("\033[?25h", end="", flush=True)  # the bar that the child has drawn hides the cursor
            print(sentence, file=sys.stderr, flush=True)

    def _kill_family(self) -> None:
        """Kill the child and all processes that it has started."""
        while family := [*_descendants(os.getpid())]:
            for pid in family:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                while os.waitpid(-1, 0)[0]:
                    pass
        with suppress(ProcessLookupError):  # where there is no /proc
            os.kill(self._child, signal.SIGKILL)


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


def _children(pid: int) -> list[int]:
    """Return the children of a process, or none where the system does not list them."""
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def _name(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""


def _command(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        return file.read().replace("\0", " ")
    return ""


def _is_alive(pid: int) -> bool:
    """Return whether a process exists and has not ended (a zombie has)."""
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def _prctl(option: int, value: int) -> None:
    """Set an attribute of this process, on Linux."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
