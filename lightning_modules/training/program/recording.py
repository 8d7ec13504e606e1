"""Record the calls of torch operators that a function makes.

A `TorchDispatchMode` sees the calls that remain below autograd and vmap: operators of ATen on ordinary tensors. Every
tensor is described as a strided view of its storage. Views therefore need no call of their own, and a program is a
sequence of calls that read and write storages. (`make_fx` of torch.fx records the same calls, but it imports
torch._dynamo, which takes longer than a short training.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class NotRecordable(Exception):
    """A function whose calls cannot be replayed, because they depend on values or on state outside the function."""


aten = torch.ops.aten
FILLED: Mapping[torch._ops.OpOverload, float] = {
    aten.zeros.default: 0, aten.zeros_like.default: 0, aten.new_zeros.default: 0,
    aten.ones.default: 1, aten.ones_like.default: 1, aten.new_ones.default: 1,
}  # fmt: skip
"""Operators that take only the shape from their arguments -> the value of all elements of their result."""


@dataclass(frozen=True)
class View:
    """A strided view of a storage. `offset` is in elements of `dtype`."""

    storage: int
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, memory: Tensor) -> Tensor:
        """Return this view as a tensor. `memory` contains the bytes of the storage."""
        whole = memory[: memory.numel() // self.dtype.itemsize * self.dtype.itemsize].view(self.dtype)
        return whole.as_strided(self.size, self.stride, whole.storage_offset() + self.offset)


@dataclass(frozen=True)
class Call:
    """A call of an operator. `args`, `kwargs` and `outputs` contain views in place of tensors."""

    operator: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[View | None, ...]
    written: tuple[View, ...] = ()
    """The arguments that the operator changes in place."""

    @cached_property
    def inputs(self) -> list[View]:
        """The views among the arguments, those that are changed in place included."""
        return views_in((self.args, self.kwargs))

    @cached_property
    def reads(self) -> set[int]:
        """The storages on which the results depend."""
        if self.operator in FILLED:
            return set()
        return {view.storage for view in self.inputs}

    @cached_property
    def results(self) -> tuple[View, ...]:
        """The views that the call changes or creates."""
        return tuple(view for view in (*self.written, *self.outputs) if view is not None)

    @cached_property
    def writes(self) -> set[int]:
        """The storages that the call changes or creates."""
        return {view.storage for view in self.results}

    @cached_property
    def uses(self) -> tuple[View, ...]:
        """The views that the call reads, changes or creates."""
        return (*self.inputs, *(view for view in self.outputs if view is not None))

    @cached_property
    def touched(self) -> set[int]:
        """The storages that the call reads, changes or creates."""
        return {view.storage for view in self.uses}


@dataclass(frozen=True)
class Recording:
    """The calls of a function.

    Attributes:
        calls: the calls in order, without those that only create views.
        bytes: the size of each storage.
        external: storage -> the name of the function's input or state that it belongs to.
        captured: storage -> a tensor that existed before, or that was made from a Python number, and that the function
            uses although it is not an input.
        outputs: the tensors that the function returned; None for other values.
        device: the device of all storages.
        literal: whether all captured tensors were made from Python numbers, so that other inputs of the same shapes
            would capture the same values.
    """

    calls: tuple[Call, ...]
    bytes: Mapping[int, int]
    external: Mapping[int, str]
    captured: Mapping[int, Tensor]
    outputs: tuple[View | None, ...]
    device: torch.device
    literal: bool = True

    def with_calls(self, calls: Sequence[Call]) -> Recording:
        return replace(self, calls=tuple(calls))


def record(
    function: Callable[[], Sequence[Tensor | None]], external: Mapping[str, Tensor], changed: Sequence[Tensor] = ()
) -> tuple[Recording, Sequence[Tensor | None]]:
    """Call a function once, and return its calls and its results. The call has the same effects as any other.

    Args:
        function: takes its inputs from `external`, and returns tensors.
        external: the tensors that the function reads or changes, by name, one per storage.
        changed: tensors that share a storage with those that it may change.

    Raises:
        NotRecordable: the function reads the value of a tensor, draws random numbers, moves tensors between devices,
            or would change another tensor than those in `changed`, which stays as it is.
    """
    with _Recorder(external, changed) as recorder:
        results = function()
    outputs = tuple(None if result is None else recorder.view(result) for result in results)
    return recorder.finish(outputs), results


def views_in(tree: Any) -> list[View]:
    """Return the views in nested tuples, lists and mappings, in order."""
    views: list[View] = []
    map_views(tree, lambda view: views.append(view) or view)  # type: ignore[func-returns-value]
    return views


def map_views(tree: Any, change: Callable[[View], Any]) -> Any:
    """Return a copy of nested tuples, lists and mappings in which every view is replaced."""
    return _map(tree, View, change)


def _map(tree: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, kind):
        return change(tree)
    if isinstance(tree, tuple | list):
        return type(tree)(_map(item, kind, change) for item in tree)
    if isinstance(tree, Mapping):
        return {key: _map(value, kind, change) for key, value in tree.items()}
    return tree


@dataclass
class _Storages:
    """Numbers the storages. Keeps a tensor of each, because a freed storage's address may be used again."""

    numbers: dict[int, int] = field(default_factory=dict)
    kept: dict[int, Tensor] = field(default_factory=dict)

    def number(self, tensor: Tensor) -> int:
        address = tensor.untyped_storage()._cdata
        if address not in self.numbers:
            self.numbers[address] = len(self.numbers)
            self.kept[self.numbers[address]] = tensor
        return self.numbers[address]

    def knows(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.numbers


class _Recorder(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing torch._dynamo, which takes seconds, only to exempt this mode from compilation."""
        return False

    def __init__(self, external: Mapping[str, Tensor], changed: Sequence[Tensor]) -> None:
        super().__init__()
        self._storages = _Storages()
        self._external = {self._storages.number(tensor): name for name, tensor in external.items()}
        self._device = next(iter(external.values())).device
        self._fixed = {*self._external} - {self._storages.number(tensor) for tensor in changed}
        self._captured: dict[int, Tensor] = {}
        self._literal = True
        self._calls: list[Call] = []

    def view(self, tensor: Tensor) -> View:
        if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.layout != torch.strided or tensor.is_conj():
            raise NotRecordable(f"a tensor of type {type(tensor).__name__} and layout {tensor.layout}")
        number = self._storages.number(tensor)
        return View(number, tensor.dtype, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))

    def finish(self, outputs: tuple[View | None, ...]) -> Recording:
        sizes = {number: tensor.untyped_storage().nbytes() for number, tensor in self._storages.kept.items()}
        return Recording(
            tuple(self._calls), sizes, self._external, self._captured, outputs, self._device, self._literal
        )

    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "profiler":
            return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            raise NotRecordable("the value of a tensor is read")
        if torch.Tag.nondeterministic_seeded in func.tags and _argument(func, args, kwargs, "dropout_p") != 0:
            raise NotRecordable(f"{func} draws random numbers")
        if torch.Tag.dynamic_output_shape in func.tags and not _indexed_by_numbers(func, args):
            raise NotRecordable(f"the shape of the result of {func} depends on values")
        for tensor in _overwritten(func, kwargs):
            self._storages.number(tensor)  # memory that is written before it is read belongs to the program
        inputs = _map((args, kwargs), Tensor, self._viewed(func))
        written = _written(func, inputs)
        if any(view.storage in self._captured or view.storage in self._fixed for view in written):
            raise NotRecordable("a tensor that should only be read is changed in place")
        result = func(*args, **kwargs)
        results = list(result) if isinstance(result, tuple | list) else [result]
        fresh = [isinstance(each, Tensor) and not self._storages.knows(each) for each in results]
        outputs = tuple(self.view(each) if isinstance(each, Tensor) else None for each in results)
        if any(view is not None and self._storages.kept[view.storage].device != self._device for view in outputs):
            raise NotRecordable(f"{func} makes a tensor on another device")
        if written or any(fresh):
            new = tuple(view if is_new else None for view, is_new in zip(outputs, fresh, strict=True))
            self._calls.append(Call(func, inputs[0], inputs[1], new if any(fresh) else (), written))
        return result

    def _viewed(self, func: torch._ops.OpOverload) -> Callable[[Tensor], View]:
        def view(tensor: Tensor) -> View:
            known = self._storages.knows(tensor)
            result = self.view(tensor)
            if not known:
                if tensor.device != self._device and tensor.dim():
                    raise NotRecordable(f"{func} takes a tensor from another device")
                self._captured[result.storage] = tensor
                self._literal &= func is aten.lift_fresh.default
            return result

        return view


def _argument(func: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> Any:
    """Return the value of the argument with this name, which may be its default; None if there is no such argument."""
    for index, argument in enumerate(func._schema.arguments):
        if argument.name == name:
            return args[index] if index < len(args) else kwargs.get(name, argument.default_value)
    return None


def _indexed_by_numbers(func: torch._ops.OpOverload, args: Sequence[Any]) -> bool:
    """Return whether a call selects elements by their positions, and not by a mask."""
    return func is aten.index.Tensor and all(
        index is None or index.dtype in (torch.int64, torch.int32) for index in args[1]
    )


def _overwritten(func: torch._ops.OpOverload, kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Return the arguments that only receive results."""
    names = [a.name for a in func._schema.arguments if a.kwarg_only and a.alias_info is not None]
    return [kwargs[name] for name in names if isinstance(kwargs.get(name), Tensor)]


_UNDECLARED = {aten.native_batch_norm.default: 5, aten.cudnn_batch_norm.default: 5}
"""Operators that change `running_mean` and `running_var` in place, although their schema does not say so, if the
argument at this position, `training`, is true."""


def _written(func: torch._ops.OpOverload, inputs: tuple[Any, Any]) -> tuple[View, ...]:
    args, kwargs = inputs
    written: list[View] = []
    for index, argument in enumerate(func._schema.arguments):
        declared = argument.alias_info is not None and argument.alias_info.is_write
        updated = argument.name in ("running_mean", "running_var") and func in _UNDECLARED and args[_UNDECLARED[func]]
        if declared or updated:
            written += views_in(
                kwargs[argument.name] if argument.kwarg_only else args[index] if index < len(args) else ()
            )
    return tuple(written)
