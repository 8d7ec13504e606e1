"""The GPUs of this machine, as the CUDA driver describes them.

Uses the driver's library and not torch, which takes seconds to import, so that a driver process can plan without it.
Imports the standard library alone: `make gpu` looks for a GPU before anything is installed.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

LIBRARY = "libcuda.so.1"

# CUdevice_attribute of cuda.h
_MULTIPROCESSORS, _L2_BYTES, _MAJOR, _MINOR = 16, 38, 75, 76


@dataclass(frozen=True)
class Gpu:
    """A GPU that CUDA_VISIBLE_DEVICES does not hide.

    Attributes:
        multiprocessors: the number of its streaming multiprocessors, which a kernel needs as many blocks to fill.
        bytes: all of its memory.
        capability: the compute capability: (8, 0) is Ampere, (9, 0) Hopper.
        cuda: the newest version of CUDA that the driver runs.
    """

    name: str
    multiprocessors: int
    bytes: int
    l2_bytes: int
    capability: tuple[int, int]
    cuda: str


def visible_gpus(library: Any = None) -> list[Gpu]:
    """Return the visible GPUs; none if there is no driver.

    Args:
        library: the driver's library, by default that of this machine.
    """
    if library is None:
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError:
            return []
    try:
        _check(library.cuInit(0))
        version, count = ctypes.c_int(), ctypes.c_int()
        _check(library.cuDriverGetVersion(ctypes.byref(version)))
        _check(library.cuDeviceGetCount(ctypes.byref(count)))
        cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return [_described(library, index, cuda) for index in range(count.value)]
    except _DriverError:  # such as 100, no device, or 999 without the kernel module
        return []


class _DriverError(Exception):
    pass


def _check(result: int) -> None:
    if result:
        raise _DriverError(f"CUDA driver error {result}")


def _described(library: Any, index: int, cuda: str) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    _check(library.cuDeviceGet(ctypes.byref(device), index))
    _check(library.cuDeviceGetName(name, len(name), device))
    _check(library.cuDeviceTotalMem_v2(ctypes.byref(memory), device))

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        _check(library.cuDeviceGetAttribute(ctypes.byref(value), number, device))
        return value.value

    return Gpu(
        name.value.decode(errors="replace"), attribute(_MULTIPROCESSORS), memory.value, attribute(_L2_BYTES),
        (attribute(_MAJOR), attribute(_MINOR)), cuda,
    )  # fmt: skip
