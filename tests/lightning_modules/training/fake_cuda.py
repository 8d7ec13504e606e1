"""A GPU made of the CPU: streams that must wait for each other, and graphs that record calls and really replay them.

Every operator that is called on a tensor of the CPU counts as a kernel on the current stream, and runs at once. What
would go wrong on a GPU is an error here:

    - Two streams use a storage, at least one of them writes it, and the later one has not waited for the earlier one.
    - A value is read, or an operator is used for the first time on its stream, while the stream is captured. Such a
      capture is invalid, and its end raises an error of its own.

As on a GPU, what is captured is not computed: tensors that a kernel would change keep their values, and tensors that it
would create contain NaN until a replay.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.training.program import comparison, graphs

aten = torch.ops.aten


class Race(AssertionError):
    """Two streams use a storage at the same time."""


@dataclass(eq=False)
class Stream:
    device: torch.device | None = None
    seen: dict[Stream, int] = field(default_factory=dict)
    """The number of kernels of each stream that were launched before what is launched on this stream now."""
    capture: Graph | None = None
    used: set[torch._ops.OpOverload] = field(default_factory=set)
    """The operators that ran on this stream."""

    def wait_stream(self, other: Stream) -> None:
        assert other.capture is None, "a stream that waits for a captured one becomes part of the capture"
        for stream, count in other.seen.items():
            self.seen[stream] = max(count, self.seen.get(stream, 0))


@dataclass
class Uses:
    """The last uses of a storage: (stream, number of the kernel)."""

    write: tuple[Stream, int] | None = None
    reads: list[tuple[Stream, int]] = field(default_factory=list)


class Graph:
    """Stands in for torch.cuda.CUDAGraph."""

    def __init__(self, gpu: FakeCuda) -> None:
        self._gpu = gpu
        self._stream: Stream | None = None
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self.valid = True
        gpu.graphs.append(weakref.ref(self))

    def capture_begin(self, capture_error_mode: str = "global", check_input_liveness: bool = False) -> None:
        stream = self._gpu.current
        assert stream is not self._gpu.default, "the default stream cannot be captured"
        assert capture_error_mode == "thread_local", "other threads would break the capture"
        self._stream, stream.capture = stream, self

    def capture_end(self) -> None:
        assert self._stream is not None
        if self._gpu.never_ends:
            raise RuntimeError("CUDA error: the capture does not end")
        self._stream.capture = None
        assert self._gpu.current is self._stream, "a capture ends on its stream"
        if not self.valid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self._gpu.change_graph(self._calls)

    def add(self, operator: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record a call. What it would create has the right shape and no values, and no argument changes."""
        _, written = storages_of(operator, args, kwargs)
        aliases = [each.alias_info for each in operator._schema.returns]
        if written:
            assert all(alias is not None and alias.is_write for alias in aliases), (
                f"{operator} returns other results too"
            )
            self._calls.append((operator, args, kwargs, []))
            return written[0] if len(aliases) == 1 else tuple(written)
        if any(alias is not None for alias in aliases):
            return operator(*args, **kwargs)  # views
        zeros = pytree.tree_map_only(Tensor, torch.zeros_like, (args, kwargs))  # as indices they are valid
        results = operator(*zeros[0], **zeros[1])
        fresh = fresh_results(results, args, kwargs)
        for tensor in fresh:
            tensor.fill_(torch.nan if tensor.is_floating_point() else 0)
        self._calls.append((operator, args, kwargs, fresh))
        return results

    def replay(self) -> None:
        assert self.valid
        assert self._stream is not None
        assert self._stream.capture is None
        self._gpu.launches += 1
        with torch.no_grad():
            for operator, args, kwargs, fresh in self._calls:
                results = operator(*args, **kwargs)
                for tensor, values in zip(fresh, fresh_results(results, args, kwargs), strict=True):
                    tensor.copy_(values)


class FakeCuda(TorchDispatchMode):
    """The fake, as a mode in which all operators run.

    Attributes:
        graphs: references to all graphs, dead when a graph was freed.
        launches: the number of launches of graphs.
        fails: called with the operator before each captured call; may raise an error, which makes the capture invalid.
        change_graph: called with the calls of each captured graph; may change them.
        noise: added, relative to its value, to one element of each result of a product. Differs in every call.
        never_ends: whether the end of a capture fails and leaves its stream captured.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self) -> None:
        super().__init__()
        self.default = self.current = Stream()
        self.streams: list[Stream] = [self.default]
        self.graphs: list[weakref.ref[Graph]] = []
        self.launches = 0
        self.fails: Callable[[torch._ops.OpOverload], None] = lambda operator: None
        self.change_graph: Callable[[list[Any]], None] = lambda calls: None
        self.noise = 0.0
        self.never_ends = False
        self._count = 0
        self._uses: dict[int, Uses] = {}

    @property
    def living(self) -> list[Graph]:
        return [graph for graph in (reference() for reference in self.graphs) if graph is not None]

    def new_stream(self, device: torch.device | None = None) -> Stream:
        self.streams.append(Stream(device))
        return self.streams[-1]

    def stream(self, stream: Stream) -> CurrentStream:
        return CurrentStream(self, stream)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        stream = self.current
        if func.namespace == "profiler":
            return func(*args, **kwargs)
        if stream.capture is not None:
            try:
                if func is aten._local_scalar_dense.default:
                    raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
                if func not in stream.used:
                    raise RuntimeError(f"CUDA error: {func} initialises itself while the stream is capturing")
                self.fails(func)
            except BaseException:
                stream.capture.valid = False
                raise
            return stream.capture.add(func, args, kwargs)
        stream.used.add(func)
        read, written = storages_of(func, args, kwargs)
        results = func(*args, **kwargs)
        fresh = fresh_results(results, args, kwargs)
        for tensor in fresh:  # an earlier storage may have had the same address
            self._uses.pop(tensor.untyped_storage()._cdata, None)
        is_view = not written and not fresh and func is not aten._local_scalar_dense.default
        if not is_view:
            self._use(stream, read, [*written, *fresh])
        if self.noise and func in PRODUCTS:
            self._disturb(results)
        return results

    def _use(self, stream: Stream, read: list[Tensor], written: list[Tensor]) -> None:
        self._count += 1
        stream.seen[stream] = self._count
        for tensors, writes in ((read, False), (written, True)):
            for storage in {tensor.untyped_storage()._cdata for tensor in tensors}:
                uses = self._uses.setdefault(storage, Uses())
                earlier = [uses.write] if uses.write else []
                for other, count in [*earlier, *(uses.reads if writes else ())]:
                    if stream.seen.get(other, 0) < count:
                        raise Race("two streams use the same memory at the same time")
                if writes:
                    uses.write, uses.reads = (stream, self._count), []
                else:
                    uses.reads.append((stream, self._count))

    def _disturb(self, result: Tensor) -> None:
        flat = result.view(-1) if result.is_contiguous() else result.diagonal()
        flat[self._count % len(flat)].mul_(1 + self.noise * (1 + self._count % 7))


@dataclass
class CurrentStream:
    """Stands in for torch.cuda.StreamContext. (A generator would restore the stream when it is collected.)"""

    gpu: FakeCuda
    stream: Stream
    before: Stream | None = None

    def __enter__(self) -> None:
        self.before, self.gpu.current = self.gpu.current, self.stream

    def __exit__(self, *error: object) -> None:
        assert self.before is not None
        self.gpu.current = self.before


PRODUCTS = {aten.bmm.default, aten.bmm.out, aten.mm.default, aten.mm.out}


def storages_of(
    operator: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors that a call reads, and those that it changes."""
    read: list[Tensor] = []
    written: list[Tensor] = []
    for index, argument in enumerate(operator._schema.arguments):
        value = kwargs.get(argument.name, args[index] if index < len(args) else None)
        writes = argument.alias_info is not None and argument.alias_info.is_write
        tensors = [each for each in pytree.tree_leaves(value) if isinstance(each, Tensor)]
        (written if writes else read).extend(tensors)
    return read, written


def fresh_results(results: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Return the results that are not views of arguments."""
    known = {t.untyped_storage()._cdata for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
    tensors = [each for each in pytree.tree_leaves(results) if isinstance(each, Tensor)]
    return [each for each in tensors if each.untyped_storage()._cdata not in known]


@contextmanager
def fake_cuda(monkeypatch: Any) -> Iterator[FakeCuda]:
    """Let tensors of the CPU be on a GPU, as far as `graphs` and `comparison` can tell."""
    gpu = FakeCuda()
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "DEVICES", frozenset({"cpu"}))
        patch.setattr(comparison, "UNORDERED", frozenset({"cpu"}))
        for told in (graphs._told, comparison._told, graphs._stuck):
            told.clear()
        graphs._stream.cache_clear()
        patch.setattr("torch.cuda.CUDAGraph", lambda: Graph(gpu))
        patch.setattr("torch.cuda.Stream", gpu.new_stream)
        patch.setattr("torch.cuda.stream", gpu.stream)
        patch.setattr("torch.cuda.current_stream", lambda device: gpu.current)
        patch.setattr("torch.cuda.is_current_stream_capturing", lambda: gpu.current.capture is not None)
        patch.setattr("torch.cuda.synchronize", lambda device=None: None)
        patch.setattr("torch.cuda.empty_cache", lambda: None)
        patch.setattr("torch._C._host_emptyCache", lambda: None, raising=False)
        with gpu:
            yield gpu
    graphs._stream.cache_clear()
    graphs._stuck.clear()
