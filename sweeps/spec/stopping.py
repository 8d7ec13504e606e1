"""Settings of early stopping: a scheduler that compares trainings, and rules that each look at a single training.

    early_stopping: {scheduler: asha, metric: validation_accuracy, grace_period: 1, reduction_factor: 3, brackets: 1}
    stop_when:
      interpolated: 0.99                                               train_accuracy has reached 0.99
      plateau: {metric: validation_loss, patience: 5, tolerance: 0.0}  no improvement in 5 evaluations
      memorization_onset: {evaluations: 3}                             wrong labels are learned as validation worsens
      budget: 50                                                       50 epochs have been trained

To add a scheduler, add an entry to `SCHEDULERS`, or call `register_scheduler` from a plug-in.

Time is measured in epochs. A training is judged whenever it is evaluated (at every epoch if `evaluate` is `every`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pkgutil import resolve_name
from typing import Any, Literal

from lightning_modules.hashing import hash_of_text

Mode = Literal["max", "min"]


@dataclass(frozen=True)
class SchedulerKind:
    """A kind of scheduler that sweeps can select by name.

    Args:
        make: the `module:function` that maps (EarlyStopping, horizon) to a scheduler with the interface of Ray Tune's
            `TrialScheduler`, for which the key `epoch` of a result is the time. The module is imported only when a
            sweep is judged, so that reading a sweep file does not import Ray.
        settings: the names of its settings besides metric and mode. A sweep file with other settings is rejected.
        pauses: whether the scheduler pauses trainings until others have caught up, and later resumes them.
    """

    make: str
    settings: tuple[str, ...] = ()
    pauses: bool = False

    def scheduler(self, settings: EarlyStopping, horizon: int) -> Any:
        """Create the scheduler. `horizon` is the last epoch of the longest training."""
        return resolve_name(self.make)(settings, horizon)


_ON_RAY = "sweeps.execution.on_ray.schedulers"

SCHEDULERS: dict[str, SchedulerKind] = {
    "asha": SchedulerKind(f"{_ON_RAY}:asha", ("grace_period", "reduction_factor", "brackets")),
    "hyperband": SchedulerKind(f"{_ON_RAY}:hyperband", ("reduction_factor",), pauses=True),
    "median": SchedulerKind(f"{_ON_RAY}:median", ("grace_period", "min_samples")),
    "none": SchedulerKind(f"{_ON_RAY}:fifo"),
}


def register_scheduler(name: str, kind: SchedulerKind) -> None:
    """Register a kind of scheduler under a name that sweeps can use.

    Raises:
        ValueError: If the name is already registered.
    """
    if name in SCHEDULERS:
        raise ValueError(f"scheduler {name!r} is registered already; registered: {', '.join(SCHEDULERS)}")
    SCHEDULERS[name] = kind


def judging_schedulers() -> tuple[str, ...]:
    """Return the names of the schedulers that stop trainings: all schedulers except `none`."""
    return tuple(name for name in SCHEDULERS if name != "none")


def sense(metric: str) -> Mode | None:
    """Return "max" for an accuracy, "min" for a loss, or None for a measure whose mode the user must specify.

    This mode deliberately differs from `Metric.better`. Training accuracy and the loss on corrupted labels have a mode
    but no better direction. A fraction has a better direction, but sweeps must state its mode explicitly.
    """
    if metric.endswith("_accuracy"):
        return "max"
    return "min" if metric.endswith("_loss") else None


@dataclass(frozen=True)
class Plateau:
    """A rule that stops after `patience` evaluations in a row without an improvement of more than `tolerance`."""

    metric: str
    mode: Mode
    patience: int
    tolerance: float = 0.0


@dataclass(frozen=True)
class Onset:
    """A rule that stops once memorized_fraction rises and `metric` worsens in `evaluations` evaluations in a row.

    By default the metric is computed on the held-out part of the training data, so that no decision is based on test
    data unless requested. A training without wrong labels is never stopped, since it cannot memorize any.
    """

    evaluations: int
    metric: str = "validation_accuracy"


@dataclass(frozen=True)
class StopWhen:
    """Rules that each look at a single training, which stops once any rule applies. None disables a rule."""

    interpolated: float | None = None
    """The train_accuracy at which to stop, in (0, 1], computed on the labels as given."""
    plateau: Plateau | None = None
    memorization_onset: Onset | None = None
    budget: int | None = None
    """The number of epochs after which to stop."""

    def words(self) -> str:
        rules = []
        if self.interpolated is not None:
            rules.append(f"train_accuracy at least {self.interpolated:g}")
        if self.plateau:
            rule = self.plateau
            rules.append(f"{rule.metric} {rule.mode} not better by {rule.tolerance:g} in {rule.patience} evaluations")
        if self.memorization_onset:
            onset = self.memorization_onset
            rules.append(f"memorizing while {onset.metric} worsens for {onset.evaluations} evaluations")
        if self.budget is not None:
            rules.append(f"{self.budget} epochs")
        return "stop at " + " or ".join(rules)


@dataclass(frozen=True)
class EarlyStopping:
    """Settings of a scheduler, and additional rules. Settings that the scheduler does not have keep their defaults.

    ASHA: Li et al., arXiv 1810.05934; HyperBand: Li et al., arXiv 1603.06560; median: Golovin et al. 2017 (Vizier).

    Attributes:
        grace_period: The number of epochs before a training is first judged.
        reduction_factor: asha and hyperband promote one in this many trainings to the next rung.
        brackets: The number of asha's brackets. The first rung of each is later than that of the previous bracket.
        min_samples: median judges a training at an epoch only if this many other trainings have reached the epoch.
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
        """The metrics that the scheduler and the rules read, without duplicates."""
        rules = self.stop_when or StopWhen()
        names = (
            self.metric,
            rules.interpolated is not None and "train_accuracy",
            rules.plateau and rules.plateau.metric,
            rules.memorization_onset and "memorized_fraction",
            rules.memorization_onset and rules.memorization_onset.metric,
        )
        return tuple(dict.fromkeys(name for name in names if name))

    def definition(self) -> dict[str, dict[str, Any]]:
        """Return these settings as the keys early_stopping and stop_when of a sweep file, without empty keys."""
        content: dict[str, dict[str, Any]] = {}
        if self.scheduler != "none":
            own = ("scheduler", "metric", "mode", *SCHEDULERS[self.scheduler].settings)
            content["early_stopping"] = {name: getattr(self, name) for name in own}
        elif self.stop_when is None:
            content["early_stopping"] = {"scheduler": "none"}
        if self.stop_when is not None:
            content["stop_when"] = {name: value for name, value in asdict(self.stop_when).items() if value is not None}
        return content

    def digest(self) -> str:
        """Return a hash of `definition()`, as 20 hexadecimal digits."""
        return hash_of_text(json.dumps(_plain(self.definition()), sort_keys=True))

    def words(self) -> str:
        """Describe the settings, such as `asha(validation_accuracy max, grace 1, factor 3, 1 bracket)`."""
        if self.scheduler == "none":
            return self.stop_when.words() if self.stop_when else "none"
        phrases = {
            "grace_period": f"grace {self.grace_period}",
            "reduction_factor": f"factor {self.reduction_factor:g}",
            "brackets": f"{self.brackets} bracket{'s' if self.brackets > 1 else ''}",
            "min_samples": f"{self.min_samples} sample{'s' if self.min_samples > 1 else ''}",
        }
        own = [phrases[name] for name in SCHEDULERS[self.scheduler].settings]
        text = ", ".join([f"{self.metric} {self.mode}", *own])
        return f"{self.scheduler}({text})" + (f", {self.stop_when.words()}" if self.stop_when else "")


def _plain(value: Any) -> Any:
    """Convert all integers in a value to floats, so that the equal numbers 3 and 3.0 give the same text."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return float(value) if isinstance(value, int) else value
