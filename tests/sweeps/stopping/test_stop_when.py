"""Tests of the rules of stop_when on handmade curves, and combined with Ray's own stoppers."""

from __future__ import annotations

import pytest

from sweeps.execution.on_ray.schedulers import make_stopper
from sweeps.spec.stopping import EarlyStopping, Onset, Plateau, StopWhen
from sweeps.stopping.stop_when import rules_of


def stops_at(settings: StopWhen, *rows: dict[str, float | None]) -> int | None:
    """Return the number of the result, counted from 1, at which the rules first stop a training, or None."""
    (rule,) = rules_of(settings)
    return next((epoch for epoch, row in enumerate(rows, start=1) if rule("a", {"epoch": epoch, **row})), None)


def values(name: str, *numbers: float | None) -> list[dict[str, float | None]]:
    return [{name: number} for number in numbers]


def test_interpolated():
    assert stops_at(StopWhen(interpolated=0.9), *values("train_accuracy", 0.5, None, 0.89, 0.9, 0.1)) == 4
    assert stops_at(StopWhen(interpolated=0.9), *values("test_accuracy", 1, 1)) is None


def test_budget_is_in_epochs_not_in_results():
    (rule,) = rules_of(StopWhen(budget=5))
    assert [rule("a", {"epoch": epoch}) for epoch in (1, 4, 8)] == [False, False, True]


@pytest.mark.parametrize(
    ("mode", "tolerance", "numbers", "at"),
    [
        ("max", 0, (1, 2, 2, 1), 4),  # two evaluations no better than the second
        ("max", 0, (1, 1, 2, 2, 2.1, 1, 1), 7),
        ("max", 0.5, (1, 1.4, 1.5), 3),  # better by 0.5, but not by more
        ("max", 0.4, (1, 1.3, 1.5, 1.6), None),
        ("min", 0, (3, 2, 2, 1, 4, 5), 6),
        ("min", 0, (3, 3, None, 3), 4),  # a result without the metric does not count
        ("max", 0, (1,), None),
    ],
)
def test_plateau(mode, tolerance, numbers, at):
    rule = Plateau("test_loss", mode, patience=2, tolerance=tolerance)
    assert stops_at(StopWhen(plateau=rule), *values("test_loss", *numbers)) == at


@pytest.mark.parametrize(
    ("metric", "memorized", "numbers", "at"),
    [
        ("validation_accuracy", (0.1, 0.2, 0.3), (0.9, 0.8, 0.7), 3),
        ("validation_loss", (0.1, 0.2, 0.3), (0.9, 0.8, 0.7), None),
        ("validation_loss", (0.1, 0.2, 0.3), (0.7, 0.8, 0.9), 3),
        ("validation_accuracy", (0.1, 0.2, 0.2, 0.3, 0.4), (0.9, 0.8, 0.7, 0.6, 0.5), 5),  # no rise: restart
        ("validation_accuracy", (0.1, 0.2, 0.3, 0.4, 0.5), (0.9, 0.8, 0.8, 0.7, 0.6), 5),
        ("validation_accuracy", (0.1, 0.2, None, 0.3), (0.9, 0.8, 0.7, 0.7), 4),
        ("validation_accuracy", (None, None, None), (0.9, 0.8, 0.7), None),  # no wrong labels
    ],
)
def test_memorization_onset(metric, memorized, numbers, at):
    rows = [{"memorized_fraction": m, metric: v} for m, v in zip(memorized, numbers, strict=True)]
    assert stops_at(StopWhen(memorization_onset=Onset(2, metric)), *rows) == at


def test_trials_do_not_touch_each_other():
    (rule,) = rules_of(StopWhen(plateau=Plateau("test_loss", "min", 2)))
    for _ in range(2):
        assert not rule("a", {"test_loss": 1})
        assert not rule("b", {"test_loss": 2})
    assert rule("a", {"test_loss": 1})


def test_ray_combines_them_and_sends_them_to_workers():
    from ray import cloudpickle
    from ray.tune import Stopper

    assert make_stopper(EarlyStopping()) is None
    made = make_stopper(EarlyStopping(stop_when=StopWhen(0.9, Plateau("test_loss", "min", 1), Onset(1), 7)))
    again = cloudpickle.loads(cloudpickle.dumps(made))
    assert isinstance(again, Stopper)
    assert not again.stop_all()
    assert not again("a", {"epoch": 1, "train_accuracy": 0.5, "test_loss": 1})
    assert again("a", {"epoch": 2, "train_accuracy": 0.5, "test_loss": 1})
    assert again("b", {"epoch": 1, "train_accuracy": 0.9, "test_loss": 1})
    assert again("c", {"epoch": 7, "train_accuracy": 0.5, "test_loss": 1})
