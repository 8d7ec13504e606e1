"""Stack: members in training, which may leave and join between two epochs.

When the members change, the others are stacked again, so that memory and time are those of the present members. The
numbers of a member do not depend on this: its training resumes from its checkpoint to the same bits in any stack.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytorch_lightning as pl
import torch

from lightning_modules.data.datamodule import Chances, CohortData
from lightning_modules.data.sources import Dataset
from lightning_modules.measures.chunks import chunk_size
from lightning_modules.measures.values import PerExample
from lightning_modules.models.seeded import build_member
from lightning_modules.training.checkpoint import Checkpoint
from lightning_modules.training.cohort import CohortModule
from lightning_modules.training.entry import Entry

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class MemberResult:
    """The measures of a member so far."""

    rows: tuple[tuple[int, Mapping[str, float | None]], ...]
    """(epoch, measures) per evaluated epoch."""
    diverged: int | None
    """The epoch in which it diverged."""
    examples: tuple[tuple[int, PerExample], ...] = ()
    """(epoch, the values of a measure per example)."""
    epoch: int = field(default=0, compare=False)
    """The epochs that it is trained by; one that diverged is trained as long as the others of its stack."""
    seconds: float = field(default=0.0, compare=False)
    """Its share of the wall time of its stacks."""

    @classmethod
    def of(cls, state: Checkpoint) -> MemberResult:
        """Return the measures up to a checkpoint."""
        return cls(tuple(state.rows), state.diverged, tuple(state.examples), state.epoch, state.seconds)


class Keeper:
    """Has the state of a stack kept from time to time.

    Args:
        keep: called with the entries of all members, each with its checkpoint.
        seconds: between two calls, from the end of one to the start of the next.
    """

    def __init__(self, keep: Callable[[list[Entry]], None], seconds: float) -> None:
        self._keep = keep
        self._seconds = seconds
        self._last = time.monotonic()

    def offer(self, entries: Callable[[], list[Entry]]) -> None:
        """Keep the entries, which are made only if it is time."""
        if time.monotonic() - self._last >= self._seconds:
            self._keep(entries())
            self._last = time.monotonic()


class Stack:
    """Members that agree in data, dataset_size, validation_fraction, model, width, depth, batch_size, optimizer,
    precision, subset_fraction and epochs.

    Args:
        dataset: the examples of all members.
        device: torch's name of the device.
        on_epoch: called after every epoch.
        keeper: is offered the entries of all members after every epoch in which not all reach their horizon.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: str = "cpu",
        on_epoch: Callable[[], None] = lambda: None,
        keeper: Keeper | None = None,
    ) -> None:
        reproducible()
        self._dataset = dataset
        self._device = torch.device(device)
        self._on_epoch = on_epoch
        self._keeper = keeper
        self._entries: list[Entry] = []
        self._seconds: list[float] = []
        """Each member's share of the wall time until `_since`."""
        self._since = time.perf_counter()
        self._module: CohortModule | None = None
        self._chances: Chances = {}

    def __len__(self) -> int:
        return len(self._entries)

    def change(self, leaving: Collection[int] = (), joining: Sequence[Entry] = ()) -> None:
        """Remove members, by their numbers, and append others.

        Raises:
            ValueError: measures on demand are to be computed for members that are at different epochs.
            Exception: whatever building a network raises.
        """
        staying = [k for k in range(len(self)) if k not in leaving]
        entries = [*(self.entries(staying) if staying else ()), *joining]
        if any(entry.measured for entry in entries) and len({entry.epoch for entry in entries}) > 1:
            raise ValueError("measures on demand are taken of members that stand at the same epoch")
        self._seconds = [entry.checkpoint.seconds if entry.checkpoint else 0.0 for entry in entries]
        self._since = time.perf_counter()
        self._entries, self._module = entries, None
        if entries:
            self._build()
        self._share_time()

    @property
    def results(self) -> tuple[MemberResult, ...]:
        """One result per member, in order."""
        self._share_time()
        module = self._built
        return tuple(
            MemberResult(
                tuple(module.rows[k]), module.diverged[k], tuple(module.examples[k]), module.epochs[k], seconds
            )
            for k, seconds in enumerate(self._seconds)
        )

    @property
    def parameters(self) -> int:
        """The number of trainable parameters of one member."""
        return self._built.parameters_per_member

    @property
    def horizon(self) -> int:
        return self._entries[0].settings.epochs

    def entries(self, members: Collection[int]) -> list[Entry]:
        """Return the entries of members, by their numbers, each with a checkpoint of its present state."""
        self._share_time()
        return [
            replace(self._entries[k], checkpoint=replace(state, seconds=self._seconds[k]))
            for k, state in zip(members, self._built.checkpoints(members), strict=True)
        ]

    def until_evaluated(self) -> int:
        """Return the number of epochs until a member is evaluated or reaches its horizon."""
        return min(
            min((at for at in (*entry.evaluated, self.horizon) if at > epoch), default=epoch) - epoch
            for entry, epoch in zip(self._entries, self._built.epochs, strict=False)
        )

    def advance(self, epochs: int) -> None:
        """Train every member for so many epochs, or until all have diverged. Raises what running a network raises."""
        if not epochs:
            return
        self._trainer.fit_loop.max_epochs = self._trainer.current_epoch + epochs
        with _quiet():
            _fit(self._trainer, self._built, self._data)

    @property
    def _built(self) -> CohortModule:
        if self._module is None:
            raise ValueError("the stack has no members")
        return self._module

    def _build(self) -> None:
        entries = self._entries
        with _quiet():
            data = self._data_of(entries)
            if len(entries) == 1 and self._device.type == "cpu" and _rounds_differently_alone(data):
                entries = [entries[0], replace(entries[0], evaluated=(), measured={})]
                data = self._data_of(entries)
            self._data = data
            self._module = CohortModule(entries, data, self._after_epoch)
            self._module.measure()
            self._trainer = pl.Trainer(
                max_epochs=0,
                accelerator="gpu" if self._device.type == "cuda" else "cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                inference_mode=False,
            )

    def _data_of(self, entries: Sequence[Entry]) -> CohortData:
        members = [entry.settings for entry in entries]
        return CohortData(members, self._dataset, self._device, DTYPES[members[0].precision], self._chances)

    def _after_epoch(self) -> None:
        self._on_epoch()
        if self._keeper and min(self._built.epochs) < self.horizon:
            self._keeper.offer(lambda: self.entries(range(len(self))))

    def _share_time(self) -> None:
        """Divide the time since the last call among the members."""
        now = time.perf_counter()
        share = (now - self._since) / max(1, len(self))
        self._seconds, self._since = [seconds + share for seconds in self._seconds], now


def reproducible() -> None:
    """Make a member's bits independent of the stack it is in, on a CPU.

    MKL selects kernels by the alignment of its operands, which in a stack depends on the member's position; its
    conditional numerical reproducibility mode does not (no measurable cost on MLPs of width 16 to 100). It reads the
    variable at its first product, so call this before. One thread is used, because several split sums by their number,
    and because one single-threaded worker per core is faster than one worker on all cores.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


def _fit(trainer: pl.Trainer, module: CohortModule, data: CohortData) -> None:
    """Run Lightning's fit, and raise KeyboardInterrupt on Ctrl-C.

    Lightning itself exits with code 1, and leaves a process that ignores the next Ctrl-C.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit as end:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from end


def _rounds_differently_alone(data: CohortData) -> bool:
    """Return whether a single member on a CPU would get other last bits than it gets in a stack.

    oneDNN has one float32 kernel for a plain convolution and another for a grouped one, which a stack uses (they differ
    by 2e-8 per product). And for one member with a batch of one example, torch turns matrix products into products with
    a vector (1e-16 in float64). Such a member trains beside a copy of itself, which doubles the cost and gives the bits
    of any larger cohort.
    """
    member, train = data.members[0], data.train
    batches = [(train.size, data.batch_size)]
    batches += [
        (part.size, chunk_size(part)) for part in (train, data.left_out, data.validation, data.test) if part is not None
    ]
    if any(size == 1 or step == 1 or size % step == 1 for size, step in batches):
        return True
    network = build_member(member, data.dataset.shape, data.dataset.classes)
    convolves = any(isinstance(module, torch.nn.modules.conv._ConvNd) for module in network.modules())
    return member.precision == "float32" and convolves


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice about loaders and loggers, which a cohort does not have."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pytorch_lightning.*")
        warnings.filterwarnings("ignore", message=".*pytorch_lightning.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
