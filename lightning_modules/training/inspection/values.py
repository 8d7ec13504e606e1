"""The values that networks keep in Python, besides their parameters and buffers, in a form that can be compared."""

from __future__ import annotations

import hashlib
import itertools
import pickle
import random
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MOST_BYTES = 2**26
"""Larger arrays outside of a network, such as a data set of its module, are not compared."""

_OWN = {*vars(nn.Module())}
"""The attributes of every module, such as `_parameters` and `training`."""
_NUMBERS = (int, float, complex, str, bytes, type(None), Enum, torch.dtype, torch.Size, np.generic, slice, range)
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
_ITERATORS = (itertools.count, itertools.cycle)


@dataclass(frozen=True)
class Value:
    """A value as it can be compared. `kind` is the word for it in messages."""

    kind: str
    content: Any


Values = Mapping[str, Value]
"""Values by where they are, such as "self.blocks[0].weight"."""


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and the buffers."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def plain_values(network: nn.Module) -> dict[str, Value]:
    """Return what the user's modules keep besides parameters, buffers and modules. torch's modules are trusted."""
    values: dict[str, Value] = {}
    seen = {id(module) for module in network.modules()}  # in a list too, a registered module is in the stack
    for name, module in network.named_modules():
        if not is_of_torch(type(module)):
            for key, value in _attributes(module):
                values.update(_walk(f"self.{name}.{key}" if name else f"self.{key}", value, seen))
    return values


def plain_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors among the plain values, those of modules in lists included."""
    found: list[tuple[str, Tensor]] = []
    seen = {id(module) for module in network.modules()}
    for name, module in network.named_modules():
        if not is_of_torch(type(module)):
            for key, value in _attributes(module):
                deque(_walk(f"self.{name}.{key}" if name else f"self.{key}", value, seen, found), maxlen=0)
    yield from found


def outer_values(network: nn.Module, module_name: str) -> dict[str, Value]:
    """Return the values of the classes of a network and of the files that define them, as far as they are data."""
    classes = {kind for part in network.modules() for kind in type(part).__mro__ if not is_of_torch(kind)}
    classes -= {object}
    values: dict[str, Value] = {}
    for kind in sorted(classes, key=lambda kind: kind.__qualname__):
        values |= _data(vars(kind), f"{kind.__name__}.{{}}")
    for name in sorted({module_name, *(kind.__module__ for kind in classes)}):
        if name in sys.modules:
            values |= _data(vars(sys.modules[name]), f"{{}} of {name}")
    return values


def differing(before: Values, after: Values) -> str | None:
    """Return where the first difference is, or None."""
    for where in (*before, *after):
        if before.get(where) != after.get(where):
            return where
    return None


def kind_at(where: str, *several: Values) -> str:
    """Return the word for the value at a place, with its article."""
    kind = next(values[where].kind for values in several if where in values)
    return f"{'an' if kind[0] in 'aio' else 'a'} {kind}"


def is_of_torch(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "torch"


def digest(tensor: Tensor) -> tuple[object, ...]:
    """Return the type, the shape and a hash of the bits."""
    plain = tensor.detach().cpu().contiguous()
    data = plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b""
    return str(tensor.dtype), tuple(tensor.shape), hashlib.blake2b(data, digest_size=16).digest()


def _attributes(module: nn.Module) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in vars(module).items() if key not in _OWN]


def _data(namespace: Mapping[str, Any], pattern: str) -> dict[str, Value]:
    """Return the numbers, arrays and containers of a namespace."""
    kinds = (int, float, complex, Tensor, np.ndarray, list, dict, set, deque, *_GENERATORS, *_ITERATORS)
    values: dict[str, Value] = {}
    for key, value in namespace.items():
        large = isinstance(value, Tensor | np.ndarray) and value.nbytes > MOST_BYTES
        if isinstance(value, kinds) and not large and not (key.startswith("__") and key.endswith("__")):
            values.update(_walk(pattern.format(key), value, set()))
    return values


def _walk(where: str, value: Any, seen: set[int], found: list[tuple[str, Tensor]] | None = None) -> Any:
    """Yield the values below an object, each with its place. Tensors are appended to `found`."""
    if isinstance(value, Tensor):
        if found is not None:
            found.append((where, value))
        yield where, Value("tensor", digest(value) if value.device.type != "meta" else tuple(value.shape))
    elif isinstance(value, _NUMBERS):
        kind = "number" if isinstance(value, int | float | complex | np.generic) else "value"
        yield where, Value(kind, (type(value).__name__, repr(value)))
    elif isinstance(value, np.ndarray):
        yield where, Value("array", (str(value.dtype), value.shape, value.tobytes() if value.dtype != object else ""))
    elif isinstance(value, _GENERATORS):
        yield where, Value("generator", _state(value))
    elif isinstance(value, _ITERATORS):
        yield where, Value("iterator", repr(value))
    elif id(value) in seen:
        yield where, Value("object", type(value).__name__)
    else:
        seen.add(id(value))
        yield where, Value("object", (type(value).__name__, len(value) if _is_container(value) else 0))
        for key, inner in _inside(value):
            yield from _walk(f"{where}{key}", inner, seen, found)


def _is_container(value: Any) -> bool:
    return isinstance(value, list | tuple | deque | set | frozenset | dict)


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", inner) for key, inner in value.items())
    elif isinstance(value, set | frozenset):
        yield from (("{...}", inner) for inner in sorted(value, key=repr))
    elif isinstance(value, list | tuple | deque):
        yield from ((f"[{index}]", inner) for index, inner in enumerate(value))
    elif isinstance(value, nn.Module):
        yield from ((f".{name}", tensor) for name, tensor in (*value.named_parameters(), *value.named_buffers()))
        for name, part in value.named_modules():
            if not is_of_torch(type(part)):
                yield from ((f".{name}.{key}" if name else f".{key}", inner) for key, inner in _attributes(part))
    elif hasattr(value, "__dict__") and not callable(value) and not isinstance(value, type(sys)):
        yield from ((f".{key}", inner) for key, inner in vars(value).items())


def _state(generator: Any) -> bytes:
    if isinstance(generator, torch.Generator):
        return generator.get_state().numpy().tobytes()
    return pickle.dumps(generator)
