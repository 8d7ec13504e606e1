"""train_cohort: members in, their measures out. The one way a network is trained here."""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytorch_lightning as pl
import torch

from lightning_modules.checkpoint import Checkpoint, Keeper
from lightning_modules.cohort import CohortModule, build_member
from lightning_modules.data.datamodule import CohortData
from lightning_modules.data.sources import Dataset
from lightning_modules.metrics import chunk_size
from lightning_modules.probes.registry import PerExample
from lightning_modules.settings import Settings

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class MemberResult:
    """What one member left: measures at its evaluated epochs and, where it diverged, the epoch in which it did."""

    rows: tuple[tuple[int, Mapping[str, float | None]], ...]
    diverged: int | None
    examples: tuple[tuple[int, PerExample], ...] = ()
    """(epoch, a measure of single examples)."""


@dataclass(frozen=True)
class CohortResult:
    members: tuple[MemberResult, ...]
    parameters: int
    """Trainable parameters of one member."""
    wall_seconds: float
    device: str


def reproducible() -> None:
    """Make a member's bits independent of the stack it is in, on a CPU.

    MKL picks kernels by the alignment of its operands, which in a stack depends on the member's place; its conditional
    numerical reproducibility mode does not (no measurable cost on MLPs of width 16 to 100). It reads the variable at
    its first product, so this has to come before. One thread, because more split sums by their number, and because
    single-thread workers, one a core, are faster than one worker on all cores.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


def train_cohort(
    members: Sequence[Settings],
    dataset: Dataset,
    evaluated: Sequence[Sequence[int]],
    measured: Sequence[Mapping[int, Sequence[str]]] = (),
    *,
    device: str = "cpu",
    on_epoch: Callable[[int], None] = lambda epoch: None,
    keeper: Keeper | None = None,
    checkpoints: Sequence[Checkpoint] = (),
) -> CohortResult:
    """Train the members as one stacked model for `members[0].epochs` epochs.

    The members agree in data, dataset_size, validation_fraction, model, width, depth, batch_size, optimizer, precision
    subset_fraction and epochs. Member k is evaluated at the epochs `evaluated[k]`, where 0 is before training, and the
    measures on demand `measured[k][epoch]` are taken too; neither changes what is trained. `on_epoch` hears of every
    finished epoch. `keeper` is offered a checkpoint a member after every epoch but the last; `checkpoints`, one a
    member and all of one epoch, are what training goes on from, to the same bits. Raises what building or running the
    network raises; a member that diverges is no error.
    """
    reproducible()
    start, count = time.perf_counter(), len(members)
    place = torch.device(device)
    with _quiet():
        data = CohortData(members, dataset, place, DTYPES[members[0].precision])
        if count == 1 and place.type == "cpu" and _rounds_differently_alone(data):
            members, evaluated, checkpoints = [*members] * 2, [*evaluated, ()], [*checkpoints] * 2
            data = CohortData(members, dataset, place, DTYPES[members[0].precision])
        module = CohortModule(members, data, evaluated, measured, on_epoch, keeper, checkpoints)
        if not checkpoints:
            module.measure(0)
        if members[0].epochs:
            trainer = pl.Trainer(
                max_epochs=members[0].epochs - module.first_epoch,
                accelerator="gpu" if place.type == "cuda" else "cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                inference_mode=False,
            )
            _fit(trainer, module, data)
    return CohortResult(
        members=tuple(
            MemberResult(tuple(module.rows[k]), module.diverged[k], tuple(module.examples[k])) for k in range(count)
        ),
        parameters=module.parameters_per_member,
        wall_seconds=time.perf_counter() - start,
        device=torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu",
    )


def _fit(trainer: pl.Trainer, module: CohortModule, data: CohortData) -> None:
    """Lightning answers Ctrl-C with exit code 1 and a process that ignores the next one; here it stays what it is."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit as end:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from end


def _rounds_differently_alone(data: CohortData) -> bool:
    """Whether a lone member on a CPU would get other last bits than it gets in a stack.

    oneDNN has one float32 kernel for a plain convolution and another for a grouped one, which a stack is (2e-8 a
    product). And where one member meets a batch of one example, torch turns its products of matrices into products with
    a vector (1e-16 in float64). Such a member trains beside a copy of itself: that costs as much again, and buys the
    bits of any larger cohort.
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
    """Lightning's advice is about loaders and loggers that a cohort does not have."""
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
