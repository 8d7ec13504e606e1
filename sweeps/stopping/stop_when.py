"""The rules of `stop_when` as functions for Tune's FunctionStopper: (trial id, result) -> whether to stop the trial.

Each rule keeps state per trial and skips results that lack its measure. This module does not import Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.spec.stopping import Onset, Plateau, StopWhen, sense

Rule = Callable[[str, Mapping[str, Any]], bool]

TIME = "epoch"
"""The key of the epoch in a result, which schedulers and stoppers use as the time."""


def rules_of(settings: StopWhen) -> list[Rule]:
    """Return one function for each rule that is set."""
    rules: list[Rule] = []
    if settings.interpolated is not None:
        rules.append(Reached("train_accuracy", settings.interpolated))
    if settings.plateau:
        rules.append(NoBetter(settings.plateau))
    if settings.memorization_onset:
        rules.append(Memorizes(settings.memorization_onset))
    if settings.budget is not None:
        rules.append(Reached(TIME, settings.budget))
    return rules


@dataclass(frozen=True)
class Reached:
    """A rule that stops when `result[name] >= value`."""

    name: str
    value: float

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        seen = result.get(self.name)
        return seen is not None and seen >= self.value


@dataclass
class NoBetter:
    rule: Plateau
    _best: dict[str, float] = field(default_factory=dict)
    _since: dict[str, int] = field(default_factory=dict)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        seen = result.get(self.rule.metric)
        if seen is None:
            return False
        value = seen if self.rule.mode == "max" else -seen
        if trial_id not in self._best or value > self._best[trial_id] + self.rule.tolerance:
            self._best[trial_id], self._since[trial_id] = value, 0
        else:
            self._since[trial_id] += 1
        return self._since[trial_id] >= self.rule.patience


@dataclass
class Memorizes:
    rule: Onset
    _last: dict[str, tuple[float, float]] = field(default_factory=dict)
    _run: dict[str, int] = field(default_factory=dict)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        memorized, seen = result.get("memorized_fraction"), result.get(self.rule.metric)
        if memorized is None or seen is None:
            return False
        value = seen if sense(self.rule.metric) == "max" else -seen
        before = self._last.get(trial_id)
        onset = before is not None and memorized > before[0] and value < before[1]
        self._last[trial_id] = memorized, value
        self._run[trial_id] = self._run.get(trial_id, 0) + 1 if onset else 0
        return self._run[trial_id] >= self.rule.evaluations
