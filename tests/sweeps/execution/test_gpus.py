from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from sweeps.execution import gpus
from sweeps.execution.gpus import Gpu, visible_gpus


class Driver:
    """A CUDA driver with two GPUs. As in a real one, every function returns 0 or the number of an error."""

    ATTRIBUTES = {16: 132, 38: 50 * 2**20, 75: 9, 76: 0}  # noqa: RUF012

    def __init__(self, failing: str = "") -> None:
        self.failing = failing

    def __getattr__(self, name):
        values = {"cuDriverGetVersion": lambda: 13000, "cuDeviceGetCount": lambda: 2,
                  "cuDeviceGet": lambda index: 10 + index,
                  "cuDeviceTotalMem_v2": lambda device: 80 * 2**30 + device.value,
                  "cuDeviceGetAttribute": lambda number, device: self.ATTRIBUTES[number]}  # fmt: skip

        def call(*arguments):
            if name == self.failing:
                return 100
            if name == "cuDeviceGetName":
                buffer, size, device = arguments
                assert ctypes.sizeof(buffer) == size
                buffer.value = f"NVIDIA H{device.value}0".encode()
            elif name != "cuInit":
                arguments[0]._obj.value = values[name](*arguments[1:])
            return 0

        return call


def test_gpus_are_described_as_the_driver_describes_them():
    first, second = visible_gpus(Driver())
    assert first == Gpu("NVIDIA H100", 132, 80 * 2**30 + 10, 50 * 2**20, (9, 0), "13.0")
    assert (second.name, second.bytes) == ("NVIDIA H110", 80 * 2**30 + 11)


@pytest.mark.parametrize("failing", ["cuInit", "cuDeviceGetCount", "cuDeviceGetAttribute"])
def test_a_driver_that_reports_an_error_has_no_gpus(failing):
    assert visible_gpus(Driver(failing)) == []


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch):
    monkeypatch.setattr(gpus, "LIBRARY", "libno_such_driver.so")
    assert visible_gpus() == []


def test_only_the_standard_library_is_imported():
    """`make gpu` looks for a GPU with a Python in which nothing is installed."""
    code = "import sys; sys.path.insert(0, '.'); from sweeps.execution.gpus import visible_gpus; visible_gpus()"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
