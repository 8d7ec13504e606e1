"""Checkpoint: the state of a training after some epochs. Resuming from it does not change any bit.

A checkpoint belongs to one member, not to a cohort. Members do not depend on each other, so the members of one cohort
may resume in different cohorts. Checkpoints are written with `torch.save` and contain only tensors, numbers and
strings, so that `torch.load` can read them with `weights_only`. What is read is checked before a training resumes from
it: by itself in `load`, and against the network, the optimizer and the measures in `check_tensors`.
"""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
)
from torch import Tensor

from lightning_modules.errors import CheckpointError
from lightning_modules.measures.catalogue import MEASURES
from lightning_modules.measures.values import PerExample

_log = logging.getLogger(f"memsweep.{__name__}")

VERSION = 3
"""Version of the checkpoint format and of the code that resumes from a checkpoint."""

Rows = list[tuple[int, dict[str, float | None]]]


@dataclass(frozen=True)
class Checkpoint:
    """The state of one member after `epoch` epochs."""

    epoch: int
    device: str
    """cpu or cuda. The state of a generator cannot be moved between the two."""
    parameters: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    """Buffers and frozen parameters."""
    optimizer: Mapping[str, Mapping[str, Tensor]]
    """The optimizer's state by parameter name; empty before the first update."""
    probes: Mapping[str, Mapping[str, Tensor]]
    """The accumulated sums of each on-demand measure, by measure name."""
    rows: Rows
    examples: list[tuple[int, PerExample]]
    measured: Mapping[int, Sequence[str]]
    """The names of the on-demand measures requested at each epoch so far."""
    diverged: int | None
    seconds: float = 0.0
    """The member's share of the wall time of its stacks so far."""

    @property
    def count(self) -> int:
        """The number of trainable parameters."""
        return sum(value.numel() for value in self.parameters.values())

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers, by name."""
        return {**self.parameters, **self.constants}

    def serves(self, epochs: int, evaluated: Collection[int], measured: Mapping[int, Collection[str]]) -> bool:
        """Return whether a training with these epochs, evaluations and on-demand measures can use this checkpoint."""
        if self.epoch >= epochs:
            return False
        seen = {epoch for epoch, _ in self.rows}
        end = self.epoch if self.diverged is None else self.diverged - 1
        taken = all(set(measured[epoch]) <= set(self.measured.get(epoch, ())) for epoch in measured if epoch <= end)
        added_up = {name for names in measured.values() for name in names} <= self.probes.keys()
        return taken and added_up and {epoch for epoch in evaluated if epoch <= end} <= seen


def encode(checkpoint: Checkpoint) -> bytes:
    """Serialize a checkpoint. `decode` is the inverse."""
    examples = [
        (epoch, each.measure, each.split, torch.from_numpy(each.example_ids), torch.from_numpy(each.values))
        for epoch, each in checkpoint.examples
    ]
    content = io.BytesIO()
    torch.save({"version": _version(), **checkpoint.__dict__, "examples": examples}, content)
    return content.getvalue()


def decode(content: bytes) -> Checkpoint | None:
    """Deserialize a checkpoint. Return None if no training can resume from it with this version of memsweep."""
    try:
        return load(content)
    except CheckpointError:
        return None


def load(content: bytes) -> Checkpoint | None:
    """Deserialize a checkpoint and check its content. Return None if it is from another version of memsweep or torch.

    Logs a warning for each other version, once per process. Raises CheckpointError for anything else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:  # a compressed file could fill the memory
            if any(file.compress_type != zipfile.ZIP_STORED for file in archive.infolist()):
                raise ValueError("compressed")
        fields: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler may raise anything
        raise CheckpointError(f"it cannot be read ({type(error).__name__})") from None
    if not isinstance(fields, dict) or not isinstance(version := fields.pop("version", None), str):
        raise CheckpointError("it is not a checkpoint of memsweep")
    if version != _version():
        _warn_of(version[:100], _version())
        return None
    try:
        stored = _Stored.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part)[:40] for part in first["loc"][:3])
        raise CheckpointError(f"its content is not valid ({field}: {first['msg'][:100]})") from None
    given = {name: getattr(stored, name) for name in _Stored.model_fields}
    examples = [
        (epoch, PerExample(measure, split, ids.numpy(), values.numpy()))
        for epoch, measure, split, ids, values in stored.examples
    ]
    checkpoint = Checkpoint(**{**given, "examples": examples})
    if problem := _contradiction(checkpoint):
        raise CheckpointError(f"its content is not valid ({problem})")
    return checkpoint


def check_tensors(given: Iterable[tuple[str, Mapping[str, Tensor]]], expected: Mapping[str, Tensor], what: str) -> None:
    """Raise CheckpointError for the trainings whose tensors differ in name, shape or type.

    Args:
        given: the id of each training, and tensors of its checkpoint.
        expected: tensors of the expected shapes. Their values are not used.
        what: what the tensors are, in the plural, for the message.
    """
    wanted = _shapes(expected)
    wrong = [id_ for id_, tensors in given if _shapes(tensors) != wanted]
    if wrong:
        raise CheckpointError(f"its {what} are not those of its training", wrong)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}


def _dense(tensor: Tensor) -> Tensor:
    """Refuse tensors that take more memory than their file: sparse, quantized and expanded ones."""
    if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise ValueError("not a dense tensor")
    if tensor.is_quantized or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise ValueError("not a dense tensor")
    return tensor


def _vector(kind: torch.dtype) -> Callable[[Tensor], Tensor]:
    def check(tensor: Tensor) -> Tensor:
        if tensor.ndim != 1 or tensor.dtype != kind:
            raise ValueError(f"not a vector of {kind}")
        return tensor

    return check


def _listed(value: object) -> object:
    """Refuse everything else that has elements, such as a tensor, which pydantic would read one by one."""
    if not isinstance(value, list | tuple):
        raise ValueError("not a list or tuple")
    return value


_LISTED = BeforeValidator(_listed)
_Tensors = dict[StrictStr, Annotated[Tensor, AfterValidator(_dense)]]
_Ids = Annotated[Tensor, AfterValidator(_dense), AfterValidator(_vector(torch.int64))]
_Values = Annotated[Tensor, AfterValidator(_dense), AfterValidator(_vector(torch.float64))]
_Number = Annotated[float, Field(strict=True)]
_Epoch = Annotated[StrictInt, Field(ge=0)]
_Row = Annotated[tuple[_Epoch, dict[StrictStr, _Number | None]], _LISTED]
_Split = Literal["train", "left_out", "validation", "test"]
_Example = Annotated[tuple[_Epoch, StrictStr, _Split, _Ids, _Values], _LISTED]


class _Stored(BaseModel):
    """The types and ranges of the fields of a `Checkpoint` in a file."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    epoch: _Epoch
    device: Literal["cpu", "cuda"]
    parameters: Annotated[_Tensors, Field(min_length=1)]
    constants: _Tensors
    optimizer: dict[StrictStr, _Tensors]
    probes: dict[StrictStr, _Tensors]
    rows: Annotated[list[_Row], _LISTED]
    examples: Annotated[list[_Example], _LISTED]
    measured: dict[_Epoch, Annotated[tuple[StrictStr, ...], _LISTED]]
    diverged: Annotated[StrictInt, Field(ge=1)] | None
    seconds: Annotated[_Number, Field(ge=0, allow_inf_nan=False)]


def _contradiction(checkpoint: Checkpoint) -> str | None:
    """Check what no training leaves behind, although every field by itself is valid."""
    epochs = [epoch for epoch, _ in checkpoint.rows]
    last = checkpoint.epoch if checkpoint.diverged is None else checkpoint.diverged - 1
    if epochs != sorted(set(epochs)) or (epochs and epochs[-1] > last) or last > checkpoint.epoch:
        return "rows: not in the order of epochs that it reached"
    always = {name for name, measure in MEASURES.items() if measure.needs != "held_out"}
    if not all(always <= measures.keys() for _, measures in checkpoint.rows):
        return "rows: a measure is missing"
    if any(epoch not in epochs or len(each.example_ids) != len(each.values) for epoch, each in checkpoint.examples):
        return "examples: not of its rows"
    if not checkpoint.optimizer and checkpoint.epoch:
        return "optimizer: empty"
    if checkpoint.diverged is None and not all(value.isfinite().all() for value in checkpoint.state.values()):
        return "parameters: not finite"
    return None


def _version() -> str:
    return f"{VERSION}, {_software()}"


@cache
def _warn_of(other: object, own: str) -> None:
    _log.warning("checkpoints of version %s are not used by version %s: their trainings begin anew", other, own)


@cache
def _software() -> str:
    """Return the versions of memsweep and torch. Cached, because the lookup is slower than the rest of `encode`."""
    return f"memsweep {metadata.version('memsweep')}, torch {metadata.version('torch')}"
