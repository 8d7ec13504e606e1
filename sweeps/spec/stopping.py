"""Which trainings of a sweep are stopped early: a scheduler that compares them, and rules for each by itself.

    early_stopping: {scheduler: asha, metric: validation_accuracy, grace_period: 1, reduction_factor: 3, brackets: 1}
    stop_when:
      interpolated: 0.99                                               train_accuracy reached it
      plateau: {metric: validation_loss, patience: 5, tolerance: 0.0}  no better in 5 evaluations
      memorization_onset: {evaluations: 3}                             wrong labels learned while validation falls
      budget: 50                                                       epochs

Time is in epochs. A training is judged where it is evaluated, so `evaluate: every` judges at every epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Literal

from lightning_modules.hashing import hash_of_text

Mode = Literal["max", "min"]


@dataclass(frozen=True)
class SchedulerKind:
    """One scheduler that a sweep may name.

    Args:
        make: `module:function` that maps (EarlyStopping, horizon) to a scheduler with the interface of Ray Tune's
            `TrialScheduler`; time is the key `epoch` of a result. It is imported when a sweep is judged, so that
            reading a sweep file does not import Ray.
        settings: the settings that it has besides metric and mode. What it would ignore is refused.
        pauses: whether it pauses a training until others have caught up, so that the training has to be resumed.
    """

    make: str
    settings: tuple[str, ...] = ()
    pauses: bool = False

    def scheduler(self, settings: EarlyStopping, horizon: int) -> Any:
        """Make the scheduler. `horizon` is the last epoch of the longest training."""
        module, _, function = self.make.partition(":")
        return getattr(import_module(module), function)(settings, horizon)


_ON_RAY = "sweeps.execution.on_ray.schedulers"

SCHEDULERS: dict[str, SchedulerKind] = {
    "asha": SchedulerKind(f"{_ON_RAY}:asha", ("grace_period", "reduction_factor", "brackets")),
    "hyperband": SchedulerKind(f"{_ON_RAY}:hyperband", ("reduction_factor",), pauses=True),
    "median": SchedulerKind(f"{_ON_RAY}:median", ("grace_period", "min_samples")),
    "none": SchedulerKind(f"{_ON_RAY}:fifo"),
}


def register_scheduler(name: str, kind: SchedulerKind) -> None:
    """Add a scheduler under a name that sweeps may give.

    Raises:
        ValueError: the name is taken.
    """
    if name in SCHEDULERS:
        raise ValueError(f"scheduler {name!r} is registered already; registered: {', '.join(SCHEDULERS)}")
    SCHEDULERS[name] = kind


def judging_schedulers() -> tuple[str, ...]:
    """Return the names of the schedulers that stop trainings: all but `none`."""
    return tuple(name for name in SCHEDULERS if name != "none")


def sense(metric: str) -> Mode | None:
    """Which way is better, where the name says it: accuracies up, losses down. None: somebody has to say."""
    if metric.endswith("_accuracy"):
        return "max"
    return "min" if metric.endswith("_loss") else None


@dataclass(frozen=True)
class Plateau:
    """Stop when the metric was no better than its best by more than `tolerance` in `patience` evaluations in a row."""

    metric: str
    mode: Mode
    patience: int
    tolerance: float = 0.0


@dataclass(frozen=True)
class Onset:
    """Stop when memorized_fraction rose and `metric` got worse in so many evaluations in a row.

    The metric is the held-out part of the training data unless another is given: nothing is chosen on test data
    unasked. A training without wrong labels memorizes none, and is not stopped.
    """

    evaluations: int
    metric: str = "validation_accuracy"


@dataclass(frozen=True)
class StopWhen:
    """Rules for a training by itself; the first that holds stops it. None: no such rule."""

    interpolated: float | None = None
    """A train_accuracy, labels as given, in (0, 1]."""
    plateau: Plateau | None = None
    memorization_onset: Onset | None = None
    budget: int | None = None
    """Epochs."""

    def words(self) -> str:
        said = []
        if self.interpolated is not None:
            said.append(f"train_accuracy at least {self.interpolated:g}")
        if self.plateau:
            rule = self.plateau
            said.append(f"{rule.metric} {rule.mode} not better by {rule.tolerance:g} in {rule.patience} evaluations")
        if self.memorization_onset:
            onset = self.memorization_onset
            said.append(f"memorizing while {onset.metric} worsens for {onset.evaluations} evaluations")
        if self.budget is not None:
            said.append(f"{self.budget} epochs")
        return "stop at " + " or ".join(said)


@dataclass(frozen=True)
class EarlyStopping:
    """Settings of one of Tune's schedulers, with the rules beside it. Settings it does not have are at their defaults.

    grace_period: epochs that a training is given before it is judged. reduction_factor: of asha and hyperband, one in
    so many goes on to the next rung. brackets: of asha, each with a first rung later than the one before. min_samples:
    of median, other trainings that must have got as far. ASHA: Li et al., arXiv 1810.05934; HyperBand: Li et al., arXiv
    1603.06560; median: Golovin et al. 2017 (Vizier).
    """

    scheduler: str = "none"
    metric: str | None = None
    mode: Mode | None = None
    grace_period: int = 1
    reduction_factor: float = 3
    brackets: int = 1
    min_samples: int = 3
    stop_when: StopWhen | None = None

    @property
    def pauses(self) -> bool:
        return SCHEDULERS[self.scheduler].pauses

    @property
    def metrics(self) -> tuple[str, ...]:
        """Everything that is looked at, each once."""
        rules = self.stop_when or StopWhen()
        named = (
            self.metric,
            rules.interpolated is not None and "train_accuracy",
            rules.plateau and rules.plateau.metric,
            rules.memorization_onset and "memorized_fraction",
            rules.memorization_onset and rules.memorization_onset.metric,
        )
        return tuple(dict.fromkeys(name for name in named if name))

    def definition(self) -> dict[str, dict[str, Any]]:
        """What a sweep file would say: the keys early_stopping and stop_when, as far as there is something to say."""
        found: dict[str, dict[str, Any]] = {}
        if self.scheduler != "none":
            own = ("scheduler", "metric", "mode", *SCHEDULERS[self.scheduler].settings)
            found["early_stopping"] = {name: getattr(self, name) for name in own}
        elif self.stop_when is None:
            found["early_stopping"] = {"scheduler": "none"}
        if self.stop_when is not None:
            found["stop_when"] = {name: value for name, value in asdict(self.stop_when).items() if value is not None}
        return found

    def digest(self) -> str:
        """20 hexadecimal digits that name these settings and nothing else: equal where `definition()` is."""
        return hash_of_text(json.dumps(_plain(self.definition()), sort_keys=True))

    def words(self) -> str:
        """asha(validation_accuracy max, grace 1, factor 3, 1 bracket)"""
        if self.scheduler == "none":
            return self.stop_when.words() if self.stop_when else "none"
        how = {
            "grace_period": f"grace {self.grace_period}",
            "reduction_factor": f"factor {self.reduction_factor:g}",
            "brackets": f"{self.brackets} bracket{'s' if self.brackets > 1 else ''}",
            "min_samples": f"{self.min_samples} sample{'s' if self.min_samples > 1 else ''}",
        }
        said = ", ".join([f"{self.metric} {self.mode}", *(how[name] for name in SCHEDULERS[self.scheduler].settings)])
        return f"{self.scheduler}({said})" + (f", {self.stop_when.words()}" if self.stop_when else "")


def _plain(value: Any) -> Any:
    """3 and 3.0, which are equal, as one text."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return float(value) if isinstance(value, int) else value
