from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.claims.choices import (
    AtChosen,
    Below,
    Cheapest,
    First,
    Highest,
    Last,
    Lowest,
    PeakAfter,
    Reading,
    Threshold,
    one,
)

FITS = Threshold("train", 10)
DESCENT = pd.DataFrame(
    {"value": [53, 47, 50, 55, 54, 45], "train": [47, 39, 29, 5, 0, 0]}, index=[9, 16, 27, 47, 61, 300]
)


@pytest.mark.parametrize(
    ("choice", "level"),
    [(First(), 9), (Last(), 300), (Highest(), 47), (Lowest(), 300), (FITS, 47), (Below(FITS), 16),
     (PeakAfter(Below(FITS)), 47), (Threshold("train", 0), 61), (Threshold("train", -1), None),
     (Highest("train"), 9), (Highest("train", beyond_first=True), 16), (Below(Threshold("train", 50)), None)],
)  # fmt: skip
def test_choices_on_a_double_descent(choice, level):
    assert choice(DESCENT) == level


def test_the_peak_after_the_first_descent_is_not_the_start_of_it():
    steep = DESCENT.assign(value=[60, 47, 50, 55, 54, 45])
    assert PeakAfter(Below(FITS))(steep) == 47


@pytest.mark.parametrize(
    ("best", "level"), [([90, 89, 88, 70], 0.4), ([90, 89, 70, 60], 0.2), ([90, 80, 86, 70], 0.4), ([90] * 4, 0.8)]
)
def test_the_cheapest_effective_strength(best, level):
    """The choice is the strength with the lowest fit among those that cost at most 3, or else the cheapest strength."""
    means = pd.DataFrame({"fit": [100, 80, 60, 40], "best": best}, index=[0, 0.2, 0.4, 0.8])
    assert Cheapest("fit", "best", 3)(means) == level


def test_each_seed_is_read_at_the_level_that_the_others_choose(tables):
    """Only seed 0 is best at 0.1. If seed 0 were measured at its own choice, 0.1 would look better than it is."""
    accuracy = {0: (0.5, 0.9, 0.6), 1: (0.5, 0.4, 0.7), 2: (0.5, 0.4, 0.8), 3: (0.5, 0.4, 0.9)}
    evidence = tables(
        {"seed": seed, "rotation": rotation, "test_accuracy": value}
        for seed, values in accuracy.items()
        for rotation, value in zip((0.0, 10.0, 20.0), values, strict=True)
    )
    effects = AtChosen("rotation", Highest(beyond_first=True), First(), one("test_accuracy")).measure(evidence)
    assert effects.per_seed.to_dict() == pytest.approx({0: 10, 1: 20, 2: 30, 3: 40})
    assert effects.note == "rotation 20 against 0"


def test_the_best_of_many_equal_levels_is_not_better_than_the_first(tables):
    """If the seeds that choose a level also measured it, the best of 12 equal levels would look 1.6 sd better."""
    rng = np.random.default_rng(1)
    effect = AtChosen("dropout", Highest(beyond_first=True), First(), one("test_accuracy"))
    means = []
    for _ in range(25):
        rows = [
            {"seed": seed, "dropout": level / 20, "test_accuracy": 0.5 + 0.1 * rng.standard_normal()}
            for seed in range(4) for level in range(12)
        ]  # fmt: skip
        means.append(effect.measure(tables(rows)).per_seed.mean())
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(25)


def test_the_level_that_other_readings_choose(tables):
    """Dropout 0.5 costs nothing on clean labels, so it is chosen on clean labels and measured on random labels."""
    fit, best = {0.0: 1.0, 0.5: 0.6, 0.9: 0.2}, {0.0: 0.9, 0.5: 0.89, 0.9: 0.3}
    curve = {
        noise: {d: {1: {"train_accuracy": fit[d], "validation_accuracy": best[d]}} for d in fit} for noise in (0, 1)
    }
    evidence = tables(
        {"seed": seed, "dropout": d, "label_noise": float(noise), "epochs": 1, "curve": curve[noise][d]}
        for seed in range(3) for noise in (0, 1) for d in fit
    )  # fmt: skip
    readings = {
        "fit": Reading("train_accuracy", {"label_noise": 1}),
        "best": Reading("best_validation_accuracy", {"label_noise": 0}),
    }
    strength = Cheapest("fit", "best", 3)
    results = {
        read: AtChosen("dropout", First(), strength, readings, read=read).measure(evidence).per_seed.to_dict()
        for read in readings
    }
    assert results == {
        "fit": pytest.approx(dict.fromkeys(range(3), 40)),
        "best": pytest.approx(dict.fromkeys(range(3), 1)),
    }


def test_epochs_are_levels_where_every_training_was_evaluated(tables):
    def curve(seed: int) -> dict[int, dict[str, float]]:
        epochs = (1, 2, 4, 8) if seed else (1, 4, 8)
        return {e: {"test_accuracy": {1: 0.3, 2: 0.99, 4: 0.6, 8: 0.5}[e]} for e in epochs}

    evidence = tables({"seed": seed, "epochs": 8, "curve": curve(seed)} for seed in range(4))
    effects = AtChosen("epoch", Highest(), Last(), one("test_accuracy")).measure(evidence)
    assert effects.per_seed.to_dict() == pytest.approx(dict.fromkeys(range(4), 10))
    assert effects.note == "epoch 4 against 8"


def test_families_are_chosen_by_name(tables):
    accuracy = {"convnet": 0.9, "mlp": 0.6, "transformer": 0.7}
    evidence = tables(
        {"seed": seed, "model": model, "test_accuracy": value + seed / 100}
        for seed in range(3) for model, value in accuracy.items()
    )  # fmt: skip
    effects = AtChosen("model", Highest(), Lowest(), one("test_accuracy")).measure(evidence)
    assert effects.per_seed.to_dict() == pytest.approx(dict.fromkeys(range(3), 30))
    assert effects.note == "model convnet against mlp"


def test_a_level_that_one_seed_lost_is_nobodys_choice_and_a_lone_seed_has_none_to_choose_for_it(tables):
    rows = [
        {"seed": seed, "rotation": rotation, "test_accuracy": value}
        for seed in range(3) for rotation, value in ((0.0, 0.5), (10.0, 0.6), (20.0, 0.9))
    ]  # fmt: skip
    rows[-1] = {**rows[-1], "outcome": "diverged"}
    effect = AtChosen("rotation", Highest(beyond_first=True), First(), one("test_accuracy"))
    assert effect.measure(tables(rows)).note == "rotation 10 against 0"
    assert effect.measure(tables(rows[:3])).per_seed.isna().all()
