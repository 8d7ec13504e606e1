"""Launch the calls of a program together, as one CUDA graph.

Launching a kernel takes the host about as long as a small kernel runs. A graph launches all kernels of a program at
once. All memory of a program has been assigned before, as a graph requires; what an operator allocates besides comes
from memory that the graph owns. On a GPU, a program is called in this order:

    1. WARM_UPS calls on another stream, because libraries initialise themselves at their first use on a stream, which
       cannot be captured. Each is a call like any other, such as an update: none is repeated, and none is left out.
    2. The program is captured on that stream, which computes nothing. The next call is then made twice from the same
       state, with the graph and without it, and the graph is used only if both give the same numbers (`Comparison`).
    3. Every further call launches the graph.

Where the program cannot be captured, or where its graph gives other numbers, it is called as on a CPU, and a log line
says so once per model. A lack of memory is an error as elsewhere, because a cohort that does not fit is halved.

There is one graph per program, so one per update. A graph of an epoch would save the five copies of the inputs of each
update. It would have to read them through a counter on the device, for two sizes of a batch, and hand results to
measures on demand from within. The host probably makes these copies faster than the GPU runs an update, so that they
would not show; they have not been measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

from lightning_modules.training.program.comparison import Comparison, Results
from lightning_modules.training.program.program import Program

_log = logging.getLogger("memsweep.training")

DEVICES = frozenset({"cuda"})
"""The types of devices on which programs are captured."""
WARM_UPS = 2
"""The number of calls on the stream of the capture before it."""
TORCH = (2, 13)
"""The first torch whose allocator can be used after a capture that failed."""

_told: set[str] = set()
_stuck: set[torch.device] = set()
"""The devices on whose stream a capture failed and did not end."""


def launched(program: Program, comparison: Comparison, name: str) -> Callable[[], Results]:
    """Return a function that makes the calls of a program, by a CUDA graph where one can be captured.

    Its results are valid until the next call.

    Args:
        comparison: compares the program with its graph.
        name: what the program is, for a log line.
    """
    if comparison.device.type not in DEVICES:
        return program
    if _version() < TORCH:
        _say(name, f"they need torch {TORCH[0]}.{TORCH[1]}")
        return program
    return _Graphed(program, comparison, name)


class _Graphed:
    """A program that is captured after its first calls. The graph is freed together with this object."""

    def __init__(self, program: Program, comparison: Comparison, name: str) -> None:
        self._program = program
        self._comparison = comparison
        self._device = comparison.device
        self._name = name
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager = False
        """Whether the graph was given up."""

    def __call__(self) -> Results:
        if self._graph is not None:
            return self._launch(self._graph)
        if self._eager or self._device in _stuck:
            return self._program()
        self._calls += 1
        if self._calls > WARM_UPS:
            return self._first_launch()
        with _other_stream(self._device):
            return self._program()

    def _launch(self, graph: torch.cuda.CUDAGraph) -> Results:
        graph.replay()
        return self._program.outputs

    def _first_launch(self) -> Results:
        graph = self._captured()
        if graph is None:
            return self._program()
        before = self._comparison.state()
        # With the graph first: then results of the program, still in memory, cannot pass for results of the graph.
        launched = self._comparison.outcome(self._launch(graph))
        if self._comparison.agrees(self._program, before, launched):
            self._graph = graph
        else:
            self._give_up("its graph gives other numbers")
        return self._program.outputs

    def _captured(self) -> torch.cuda.CUDAGraph | None:
        """Return the program as a graph, or None if it cannot be captured.

        Raises:
            torch.OutOfMemoryError: the memory was not enough.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the GPU meanwhile. torch.cuda.graph leaves its stream the current one if it fails.
            with (
                _other_stream(self._device) as stream,
                torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
            ):
                self._program()
        except Exception as error:
            self._give_up(_reason(error))
            return None
        return graph

    def _give_up(self, reason: str) -> None:
        self._eager = True
        _say(self._name, reason)


def _say(name: str, reason: str) -> None:
    if name not in _told:
        _told.add(name)
        _log.info("%s runs without CUDA graphs: %s", name, reason)


@contextmanager
def _other_stream(device: torch.device) -> Iterator[torch.cuda.Stream]:
    """Launch on the stream of captures, after what was launched before, and before what is launched afterwards."""
    current, other = torch.cuda.current_stream(device), _stream(device)
    other.wait_stream(current)
    try:
        with torch.cuda.stream(other):
            yield other
    finally:
        with torch.cuda.stream(other):
            stuck = torch.cuda.is_current_stream_capturing()
        if stuck:  # to wait for that stream would make the current one part of the capture
            _stuck.add(device)
        else:
            current.wait_stream(other)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of captures. It is always the same, because libraries keep memory for each stream."""
    return torch.cuda.Stream(device)


@cache
def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in torch.__version__.split(".")[:2])


def _reason(error: Exception) -> str:
    """Return why a capture failed.

    The end of a failed capture raises an error of its own, which hides the first one.

    Raises:
        BaseException: the capture failed for a lack of memory, or because it was interrupted.
    """
    chain: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop()
        if cause is None or cause in chain:
            continue
        if isinstance(cause, torch.OutOfMemoryError) or not isinstance(cause, Exception):
            raise cause
        chain.append(cause)
        pending += [cause.__cause__, cause.__context__]
    return str(chain[-1]).partition("\n")[0]
