"""Program: a recording bound to memory, which replays as a flat list of operator calls.

All memory is assigned once. A storage takes the memory of storages that nobody uses any more, and an elementwise
operator writes over an operand that nobody uses afterwards, so that a replay allocates nothing and stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_modules.training.program.lowering import constant_calls, last_uses
from lightning_modules.training.program.recording import FILLED, Call, Recording, View, map_views

aten = torch.ops.aten
ALIGNMENT = 64
"""Storages begin at multiples of this number of bytes, as those of torch's allocator."""


class Program:
    """A lowered recording on the tensors of one stack.

    Args:
        recording: what to replay.
        external: the tensors of the stack by name, with the layout of those that were recorded.
    """

    def __init__(self, recording: Recording, external: Mapping[str, Tensor]) -> None:
        memory = _Memory(recording, external)
        constant = constant_calls(recording)
        self._calls: list[Callable[[], object]] = []
        with torch.no_grad():
            for call, is_constant in zip(recording.calls, constant, strict=True):
                if is_constant:
                    _bound(call, memory)()
            for call, is_constant in zip(recording.calls, constant, strict=True):
                if not is_constant:
                    self._calls.append(_bound(call, memory))
        self.outputs = tuple(None if view is None else memory.tensor(view) for view in recording.outputs)
        """The results of the last replay. The next replay overwrites them."""

    def __len__(self) -> int:
        return len(self._calls)

    def __call__(self) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            for call in self._calls:
                call()
        return self.outputs


class _Memory:
    """Assigns memory to the storages of a recording."""

    def __init__(self, recording: Recording, external: Mapping[str, Tensor]) -> None:
        self._external = {
            storage: _bytes(external[name]) for storage, name in recording.external.items()
        } | {storage: _bytes(tensor) for storage, tensor in recording.captured.items()}  # fmt: skip
        self._places = _places(recording)
        total = max((place + recording.bytes[s] for s, place in self._places.items()), default=0)
        self._arena = torch.zeros(total, dtype=torch.uint8, device=recording.device)
        self._bytes = recording.bytes

    def tensor(self, view: View) -> Tensor:
        memory = self._external.get(view.storage)
        if memory is None:
            place = self._places[view.storage]
            memory = self._arena[place : place + self._bytes[view.storage]]
        return view.of(memory)


def _bytes(tensor: Tensor) -> Tensor:
    """Return the whole storage of a tensor as bytes."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


def _places(recording: Recording) -> dict[int, int]:
    """Return the first byte of each internal storage.

    Storages of constants keep their memory for ever. Any other storage lives from the first call to the last call that
    uses it.
    """
    uses, constant = last_uses(recording), constant_calls(recording)
    known = {*recording.external, *recording.captured}
    arena = _Arena()
    for call, is_constant in zip(recording.calls, constant, strict=True):
        if is_constant:
            for storage in call.writes - known:
                arena.take(storage, recording.bytes[storage])
                uses[storage] = len(recording.calls)
    for index, call in enumerate(recording.calls):
        if constant[index]:
            continue
        dying = [s for s in sorted(call.reads | call.writes) if uses[s] == index and s not in known]
        for view in call.outputs:
            if view is None or view.storage in arena.places or view.storage in known:
                continue
            operand = _overwritable(call, view, dying, recording)
            if operand is not None and operand in arena.places:
                arena.hand_over(operand, view.storage)
                dying.remove(operand)
            else:
                arena.take(view.storage, recording.bytes[view.storage])
        for storage in sorted(call.writes - known - arena.places.keys()):
            arena.take(storage, recording.bytes[storage])
        for storage in dying:
            arena.free(storage)
    return arena.places


def _overwritable(call: Call, output: View, dying: Sequence[int], recording: Recording) -> int | None:
    """Return the storage of an operand that the output may overwrite."""
    if torch.Tag.pointwise not in call.operator.tags or len(call.outputs) != 1:
        return None
    for view in call.inputs:
        same = (view.dtype, view.size, view.stride, view.offset) == (
            output.dtype, output.size, output.stride, output.offset
        )  # fmt: skip
        others = [other for other in call.inputs if other.storage == view.storage and other != view]
        if (
            same
            and view.storage in dying
            and not others
            and recording.bytes[view.storage] == recording.bytes[output.storage]
        ):
            return view.storage
    return None


class _Arena:
    """A first-fit allocator in one block of memory."""

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self._live: dict[int, tuple[int, int]] = {}

    def take(self, storage: int, size: int) -> None:
        size = -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
        place = 0
        for start, stop in sorted(self._live.values()):
            if start - place >= size:
                break
            place = max(place, stop)
        self.places[storage] = place
        self._live[storage] = (place, place + size)

    def hand_over(self, before: int, after: int) -> None:
        self.places[after] = self.places[before]
        self._live[after] = self._live.pop(before)

    def free(self, storage: int) -> None:
        self._live.pop(storage, None)


_FAST: dict[torch._ops.OpOverload, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.sub.Tensor: torch.sub,
    aten.mul.Tensor: torch.mul,
    aten.mul.Scalar: torch.mul,
    aten.div.Tensor: torch.div,
    aten.div.Scalar: torch.div,
    aten.bmm.default: torch.bmm,
    aten.index_select.default: torch.index_select,
    aten.gather.default: torch.gather,
    aten.mean.dim: torch.mean,
    aten.sum.dim_IntList: torch.sum,
    aten.ge.Tensor: torch.ge,
    aten.eq.Tensor: torch.eq,
}
"""Operators whose Python binding takes `out`. It is called in half the time of the operator itself."""

_FAST_IN_PLACE: dict[torch._ops.OpOverload, Callable[..., Any]] = {
    aten.add_.Tensor: Tensor.add_,
    aten.sub_.Tensor: Tensor.sub_,
    aten.mul_.Tensor: Tensor.mul_,
    aten.div_.Tensor: Tensor.div_,
    aten.copy_.default: Tensor.copy_,
    aten.ge_.Tensor: Tensor.ge_,
    aten.mul.out: torch.mul,
    aten.addcmul.out: torch.addcmul,
    aten.index_select.out: torch.index_select,
    aten.relu.default: Tensor.relu_,
}


def _bound(call: Call, memory: _Memory) -> Callable[[], object]:
    """Return a function without arguments that makes the call."""
    if call.operator in FILLED and call.outputs[0] is not None:
        return partial(memory.tensor(call.outputs[0]).fill_, FILLED[call.operator])
    args, kwargs = map_views((call.args, dict(call.kwargs)), memory.tensor)
    if not call.outputs:
        return partial(_FAST_IN_PLACE.get(call.operator, call.operator), *args, **kwargs)
    outputs = [None if view is None else memory.tensor(view) for view in call.outputs]
    first = outputs[0]
    if call.operator is aten._to_copy.default and first is not None:
        return partial(first.copy_, args[0])
    if call.operator in _FAST:
        return partial(_FAST[call.operator], *args, **kwargs, out=first)
    in_place = _FAST_IN_PLACE.get(call.operator) or _in_place(call.operator)
    if in_place is not None and first is not None and isinstance(args[0], Tensor) and _same(first, args[0]):
        return partial(in_place, *args, **kwargs)
    variant = _out_variant(call)
    if variant is not None and all(output is not None for output in outputs):
        overload, names = variant
        return partial(overload, *args, **kwargs, **dict(zip(names, outputs, strict=True)))
    return partial(_copied, outputs, call.operator, args, kwargs)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype


def _in_place(operator: torch._ops.OpOverload) -> Callable[..., Any] | None:
    """Return the operator that overwrites its first argument, such as relu_ for relu."""
    packet = getattr(torch.ops.aten, f"{operator._schema.name.removeprefix('aten::')}_", None)
    name = operator._overloadname
    return getattr(packet, name, None) if packet is not None else None


def _out_variant(call: Call) -> tuple[torch._ops.OpOverload, list[str]] | None:
    """Return the overload with arguments for the results, and the names of these arguments."""
    own = [(argument.name, str(argument.type)) for argument in call.operator._schema.arguments]
    packet = call.operator.overloadpacket
    for name in packet.overloads():
        overload = getattr(packet, name)
        theirs = [(argument.name, str(argument.type)) for argument in overload._schema.arguments]
        extra = [argument for argument in theirs if argument not in own]
        if [argument for argument in theirs if argument in own] == own and len(extra) == len(call.outputs):
            names = [name for name, _ in extra]
            writes = {a.name for a in overload._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
            if {*names} <= writes:
                return overload, names
    return None


def _copied(
    outputs: Sequence[Tensor | None], operator: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Call an operator that has no variant with arguments for its results."""
    results = operator(*args, **kwargs)
    results = results if isinstance(results, tuple | list) else [results]
    for output, result in zip(outputs, results, strict=True):
        if output is not None:
            output.copy_(result)
