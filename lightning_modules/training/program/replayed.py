"""Replayed: a function of tensors that is recorded at its first call and replayed from then on.

The first two calls for each shape of the inputs run both ways, and every result and every changed tensor is compared
bit by bit (on a GPU, see `comparison`). Where they differ, as in a network that counts its own calls in Python, or
where a recording is impossible, the function is called as it is. Recordings are kept per process, so that another stack
of the same shapes needs none. On a GPU, a replay is the launch of a CUDA graph (see `graphs`).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.training.program.comparison import Comparison, Outcome, Results, copies, restore
from lightning_modules.training.program.graphs import launched
from lightning_modules.training.program.lowering import lowered
from lightning_modules.training.program.program import Program
from lightning_modules.training.program.recording import NotRecordable, Recording, record

_log = logging.getLogger("memsweep.training")

Function = Callable[..., Results]

RECORDINGS = 256
"""The number of recordings that a process keeps; those that were not used for longest are dropped."""
COMPARISONS = 2
"""The number of calls for which a new recording is compared with the function."""

_recordings: OrderedDict[Hashable, Recording] = OrderedDict()
_told: set[str] = set()


@dataclass
class _Shape:
    """What is known for one shape of the inputs."""

    inputs: tuple[Tensor, ...]
    """The tensors from which a replay reads its inputs."""
    key: Hashable
    program: Program | None = None
    recording: Recording | None = None
    compared: int = 0
    """The number of calls that were compared so far."""
    launch: Callable[[], Results] | None = None
    """Replays the program, on a GPU as a graph, once it need not be compared with the function any more."""


class Replayed:
    """A function of tensors, replayed from a recording where that gives the same bits.

    Args:
        function: takes tensors of the shapes of its inputs, and returns tensors.
        state: the other tensors that it reads or changes, by name.
        changed: the names of those that it changes.
        key: determines, with the shapes, which calls the function makes; None if nothing does.
        name: what the function is, for a log line.
        constants: returns further tensors that the function reads, by name, for inputs of some shapes.
    """

    def __init__(
        self,
        function: Function,
        state: Mapping[str, Tensor],
        changed: Sequence[str],
        key: Hashable | None,
        name: str,
        constants: Callable[[Sequence[Tensor]], Mapping[str, Tensor]] = lambda inputs: {},
    ) -> None:
        self._function = function
        self._state = state
        self._constants = constants
        self._changed = [state[name] for name in changed]
        self._key = key
        self._name = name
        self._shapes: dict[tuple[torch.Size, ...], _Shape] = {}
        self._plain = False

    @property
    def replays(self) -> bool:
        """Whether the calls so far have shown no reason to call the function as it is."""
        return not self._plain

    def __call__(self, *inputs: Tensor) -> Results:
        """Call the function, or replay it. The results of a replay are valid until the next one."""
        if self._plain:
            return self._function(*inputs)
        shapes = tuple(tensor.shape for tensor in inputs)
        shape = self._shapes.get(shapes)
        if shape is None:
            shape = self._shapes[shapes] = self._prepare(inputs)
        for memory, tensor in zip(shape.inputs, inputs, strict=True):
            memory.copy_(tensor)
        if shape.program is None:
            return self._first(shape)
        if shape.compared < COMPARISONS:
            return self._compared(shape)
        if shape.launch is None:
            shape.launch = launched(shape.program, self._comparison(shape), self._name)
        return shape.launch()

    def _prepare(self, inputs: Sequence[Tensor]) -> _Shape:
        memory = tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in inputs)
        external = self._external(memory)
        key = (self._key, tuple((name, _layout(tensor)) for name, tensor in external.items()))
        recording = _recordings.get(key)
        if recording is None or self._key is None:
            return _Shape(memory, key)
        _recordings.move_to_end(key)
        return _Shape(memory, key, Program(recording, external), recording, COMPARISONS)

    def _external(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        numbered = {f"input {index}": tensor for index, tensor in enumerate(inputs)}
        return _by_storage({**self._state, **self._constants(inputs), **numbered})

    def _first(self, shape: _Shape) -> Results:
        before = copies(self._changed)
        external = self._external(shape.inputs)
        try:
            recording, results = record(lambda: self._function(*shape.inputs), external, self._changed)
        except NotRecordable as reason:
            restore(self._changed, before)
            self._give_up(str(reason))
            return self._function(*shape.inputs)
        shape.recording = lowered(recording)
        shape.program = Program(shape.recording, external)
        return self._replay_and_compare(shape, before, results)

    def _compared(self, shape: _Shape) -> Results:
        before = copies(self._changed)
        return self._replay_and_compare(shape, before, self._function(*shape.inputs))

    def _replay_and_compare(self, shape: _Shape, before: Sequence[Tensor], results: Results) -> Results:
        """Replay from the state `before` the call that gave `results`, and compare."""
        assert shape.program is not None
        assert shape.recording is not None
        expected = Outcome(results, copies(self._changed))
        if not self._comparison(shape).agrees(shape.program, before, expected):
            restore(self._changed, expected.changed)
            self._give_up("a replay gives other numbers; the network depends on something besides its tensors")
            return results
        shape.compared += 1
        if shape.compared == COMPARISONS and self._key is not None and shape.recording.literal:
            _recordings[shape.key] = shape.recording
            while len(_recordings) > RECORDINGS:
                _recordings.popitem(last=False)
        return shape.program.outputs

    def _comparison(self, shape: _Shape) -> Comparison:
        assert shape.program is not None
        assert shape.recording is not None
        return Comparison(shape.program, self._changed, shape.recording, self._name)

    def _give_up(self, reason: str) -> None:
        self._plain = True
        self._shapes.clear()
        if self._name not in _told:
            _told.add(self._name)
            _log.info("%s is not replayed from a recording, and takes longer: %s", self._name, reason)


def forget() -> None:
    """Drop the recordings of this process."""
    _recordings.clear()


def _by_storage(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keep one tensor per storage."""
    first: dict[int, str] = {}
    for name, tensor in tensors.items():
        first.setdefault(tensor.untyped_storage()._cdata, name)
    return {name: tensors[name] for name in first.values()}


def _layout(tensor: Tensor) -> Hashable:
    return (
        tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.storage_offset(), tensor.untyped_storage().nbytes(),
        tensor.device,
    )  # fmt: skip
