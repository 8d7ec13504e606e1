"""Stack: members that are trained together and may leave or join between epochs.

When members leave or join, the stack is rebuilt, so that memory and time depend only on the current members. Rebuilding
does not affect any member's results: a training that resumes from its checkpoint gives the same bits in any stack.
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

import torch

from lightning_modules.data.datamodule import Chances, CohortData
from lightning_modules.data.sources import Dataset
from lightning_modules.lightning import pl
from lightning_modules.measures.values import PerExample
from lightning_modules.training.checkpoint import Checkpoint
from lightning_modules.training.cohort import CohortModule
from lightning_modules.training.entry import Entry
from lightning_modules.training.network import rounds_differently_alone
from lightning_modules.training.precision import DTYPES, set_products

_log = logging.getLogger("memsweep.training")


@dataclass(frozen=True)
class MemberResult:
    """The results of a member so far."""

    rows: tuple[tuple[int, Mapping[str, float | None]], ...]
    """(epoch, measures) for each evaluated epoch."""
    diverged: int | None
    """The epoch in which the member diverged, or None."""
    examples: tuple[tuple[int, PerExample], ...] = ()
    """(epoch, per-example values of a measure) for each such measure and epoch."""
    epoch: int = field(default=0, compare=False)
    """The number of epochs trained. A diverged member is trained as long as the other members of its stack."""
    seconds: float = field(default=0.0, compare=False)
    """The member's share of the wall time of its stacks."""

    @classmethod
    def of(cls, state: Checkpoint) -> MemberResult:
        """Return the results that a checkpoint contains."""
        return cls(tuple(state.rows), state.diverged, tuple(state.examples), state.epoch, state.seconds)


class Keeper:
    """Calls a function that stores the state of a stack, at most once per interval.

    Args:
        keep: called with the entries of all members, each with its checkpoint.
        seconds: the minimum time between the end of one call of `keep` and the start of the next.
    """

    def __init__(self, keep: Callable[[list[Entry]], None], seconds: float) -> None:
        self._keep = keep
        self._seconds = seconds
        self._last = time.monotonic()

    def offer(self, entries: Callable[[], list[Entry]]) -> None:
        """Call `keep` if the interval has passed. Only then is `entries` called to create its argument."""
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
        keeper: is offered the entries of all members after every epoch, unless all have reached their horizon.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: str = "cpu",
        on_epoch: Callable[[], None] = lambda: None,
        keeper: Keeper | None = None,
    ) -> None:
        reproducible(device)
        self._dataset = dataset
        self._device = torch.device(device)
        self._on_epoch = on_epoch
        self._keeper = keeper
        self._entries: list[Entry] = []
        self._seconds: list[float] = []
        """Each member's share of the wall time up to `_since`."""
        self._since = time.perf_counter()
        self._module: CohortModule | None = None
        self._chances: Chances = {}

    def __len__(self) -> int:
        return len(self._entries)

    def change(self, leaving: Collection[int] = (), joining: Sequence[Entry] = ()) -> None:
        """Remove the members with the indices `leaving`, and append the entries `joining`.

        Raises:
            ValueError: on-demand measures are requested for members that are at different epochs.
            Exception: any error that occurs while a network is built.
        """
        staying = [k for k in range(len(self)) if k not in leaving]
        entries = [*(self.entries(staying) if staying else ()), *joining]
        if any(entry.measured for entry in entries) and len({entry.epoch for entry in entries}) > 1:
            raise ValueError("measures on demand are taken of members that stand at the same epoch")
        self._seconds = [entry.checkpoint.seconds if entry.checkpoint else 0.0 for entry in entries]
        self._since = time.perf_counter()
        self._release()
        self._entries = entries
        if entries:
            self._build()
        self._share_time()

    @property
    def results(self) -> tuple[MemberResult, ...]:
        """One result per member, in order."""
        self._share_time()
        module = self._built
        return tuple(
            MemberResult(tuple(module.rows[k]), diverged, tuple(module.examples[k]), module.epochs[k], seconds)
            for k, (diverged, seconds) in enumerate(zip(module.diverged, self._seconds, strict=False))
        )

    @property
    def parameters(self) -> int:
        """The number of trainable parameters of one member."""
        return self._built.network.size

    @property
    def horizon(self) -> int:
        return self._entries[0].settings.epochs

    def entries(self, members: Collection[int]) -> list[Entry]:
        """Return the entries of the members with these indices, each with a checkpoint of its current state."""
        self._share_time()
        return [
            replace(self._entries[k], checkpoint=replace(state, seconds=self._seconds[k]))
            for k, state in zip(members, self._built.checkpoints(members), strict=True)
        ]

    def until_evaluated(self) -> int:
        """Return the number of epochs until the next one at which any member is evaluated or reaches its horizon."""
        return min(
            min((at for at in (*entry.evaluated, self.horizon) if at > epoch), default=epoch) - epoch
            for entry, epoch in zip(self._entries, self._built.epochs, strict=False)
        )

    def advance(self, epochs: int) -> None:
        """Train every member for `epochs` epochs, or until all have diverged. Errors of a network are propagated."""
        if not epochs:
            return
        set_products(self._entries[0].settings.precision, self._device)
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
        set_products(entries[0].settings.precision, self._device)
        with _quiet():
            data = self._data_of(entries)
            if len(entries) == 1 and self._device.type == "cpu" and rounds_differently_alone(data):
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

    def _release(self) -> None:
        """Free the tensors of the present members.

        Lightning's objects refer to each other, so Python would keep the module and the data until its collector looks
        for such circles, which it seldom does. Stacks that nobody uses would take the memory of ten living ones.
        """
        if self._module is not None:
            vars(self._module).clear()
            vars(self._data).clear()
            self._module = None

    def _data_of(self, entries: Sequence[Entry]) -> CohortData:
        members = [entry.settings for entry in entries]
        return CohortData(members, self._dataset, self._device, DTYPES[members[0].precision], self._chances)

    def _after_epoch(self) -> None:
        self._on_epoch()
        if self._keeper and min(self._built.epochs) < self.horizon:
            self._keeper.offer(lambda: self.entries(range(len(self))))

    def _share_time(self) -> None:
        """Divide the time since the last call equally among the members."""
        now = time.perf_counter()
        share = (now - self._since) / max(1, len(self))
        self._seconds, self._since = [seconds + share for seconds in self._seconds], now


def reproducible(device: str = "cpu") -> None:
    """Make the results of a member on a CPU bit-identical in every stack, and on a GPU nearly equal.

    MKL selects kernels by the alignment of its operands, which depends on a member's position in the stack. MKL_CBWR
    prevents this, at no measurable cost for MLPs of width 16 to 100. MKL reads MKL_CBWR at its first matrix product, so
    call this function before that. torch uses one thread, because the number of threads determines how sums are split,
    and because one single-threaded worker per core is faster than one worker on all cores. torch's default type is the
    type of new tensors. What the user has set otherwise is replaced, with a warning.

    On a GPU, the kernels that torch calls deterministic are slower, and they do not make bits independent of the size
    of the stack, because cuBLAS and cuDNN choose kernels by size. So they are not requested there.
    """
    _set_environment("MKL_CBWR", "AUTO,STRICT")
    if (given := torch.get_default_dtype()) != torch.float32:
        _log.warning("torch's default type %s is replaced by torch.float32: numbers depend on it", given)
        torch.set_default_dtype(torch.float32)
    torch.set_num_threads(1)
    # As use_deterministic_algorithms does, which imports torch._inductor.
    torch.set_deterministic_debug_mode("warn" if torch.device(device).type == "cpu" else "default")


def _set_environment(name: str, value: str) -> None:
    given = os.environ.get(name, value)
    if given != value:
        _log.warning("%s=%s is replaced by %s: numbers depend on it", name, given, value)
    os.environ[name] = value


def _fit(trainer: pl.Trainer, module: CohortModule, data: CohortData) -> None:
    """Run Lightning's fit, and raise KeyboardInterrupt on Ctrl-C.

    Lightning itself would exit with code 1. If that exit is caught, the process ignores the next Ctrl-C.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit as end:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from end


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's warnings about data loaders and loggers, which a cohort does not use."""
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
