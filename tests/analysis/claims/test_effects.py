from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.claims.effects import Difference, FirstAt, Level, PeakOf, Slope, Sooner, Spread
from analysis.claims.rows import ABOVE_ZERO, HIGHEST, LOWEST
from analysis.errors import AnalysisError
from analysis.statistics.estimates import mean_over_seeds

SLOW_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
DROPOUT = Difference("memorized_fraction", {"dropout": 0}, {"dropout": HIGHEST}, {"label_noise": ABOVE_ZERO})
SHARE = st.floats(0, 1)


def pair(seed: int, without: float, with_: float, **more: object) -> list[dict[str, object]]:
    same = {"seed": seed, "label_noise": 0.4, **more}
    return [
        {**same, "dropout": 0.0, "memorized_fraction": without},
        {**same, "dropout": 0.5, "memorized_fraction": with_},
    ]


class TestLevel:
    def test_mean_and_extremes_of_a_seed(self, tables):
        rows = [
            {"seed": seed, "model": model, "train_accuracy": (90 + 4 * seed + extra) / 100}
            for seed in (0, 1) for model, extra in (("mlp", 0), ("convnet", 2))
        ]  # fmt: skip
        results = {
            across: Level("train_accuracy", {}, across).measure(tables(rows)).per_seed.to_dict()
            for across in ("mean", "min", "max")
        }
        expected = {"mean": {0: 91, 1: 95}, "min": {0: 90, 1: 94}, "max": {0: 92, 1: 96}}
        assert {across: pytest.approx(numbers) for across, numbers in results.items()} == expected

    def test_a_seed_that_lost_a_row_has_no_number(self, tables):
        rows = [
            {"seed": 0, "model": "mlp", "train_accuracy": 0.9}, {"seed": 0, "model": "convnet", "outcome": "diverged"},
            {"seed": 1, "model": "mlp", "train_accuracy": 0.8}, {"seed": 1, "model": "convnet", "train_accuracy": 1},
        ]  # fmt: skip
        each = Level("train_accuracy").measure(tables(rows)).per_seed
        assert each[1] == 90
        assert np.isnan(each[0])


class TestDifference:
    def test_by_hand(self, tables):
        rows = [*pair(0, 0.9, 0.5), *pair(1, 0.8, 0.6), *pair(2, 0.7, 0.1)]
        assert DROPOUT.measure(tables(rows)).per_seed.to_dict() == pytest.approx({0: 40, 1: 20, 2: 60})

    def test_pairs_agree_in_every_other_field_and_are_averaged_within_the_seed(self, tables):
        rows = [
            *pair(0, 0.9, 0.5, width=8), *pair(0, 0.8, 0.6, width=16), *pair(1, 0.5, 0.4, width=8),
            *pair(1, 0.4, 0.5, width=16),
        ]  # fmt: skip
        assert DROPOUT.measure(tables(reversed(rows))).per_seed.to_dict() == pytest.approx({0: 30, 1: 0})

    def test_rows_in_between_and_outside_are_not_read(self, tables):
        middle = {"seed": 0, "label_noise": 0.4, "dropout": 0.2, "memorized_fraction": 0.0}
        clean = {"seed": 0, "label_noise": 0.0, "dropout": 0.5}
        evidence = tables([*pair(0, 0.9, 0.5), middle, clean])
        assert len(DROPOUT.rows(evidence.points)) == 2
        assert DROPOUT.measure(evidence).per_seed.to_dict() == pytest.approx({0: 40})

    def test_a_seed_that_lost_one_side_has_no_number(self, tables):
        lost = [*pair(1, 0.9, 0.5)]
        lost[1] = {**lost[1], "outcome": "diverged"}
        each = DROPOUT.measure(tables([*pair(0, 0.9, 0.5), *lost])).per_seed
        assert np.isnan(each[1])
        assert each[0] == pytest.approx(40)

    @SLOW_FIXTURE
    @given(shares=st.lists(st.tuples(SHARE, SHARE), min_size=3, max_size=5), order=st.randoms())
    def test_what_a_seed_adds_to_both_sides_and_how_seeds_are_numbered_change_nothing(self, tables, shares, order):
        """Pairing removes the variance between seeds."""
        base = mean_over_seeds(DROPOUT.measure(tables(r for s, (a, b) in enumerate(shares) for r in pair(s, a, b))))
        names = list(range(100, 100 + len(shares)))
        order.shuffle(names)
        lifted = tables(
            row for name, (a, b) in zip(names, shares, strict=True) for row in pair(name, a + name % 7, b + name % 7)
        )
        other = mean_over_seeds(DROPOUT.measure(lifted))
        assert (other.value, other.low, other.high) == pytest.approx((base.value, base.low, base.high), abs=1e-6)

    def test_broken_pairs_would_be_noticed(self, tables):
        """If one side is shifted by a seed, the mean is unchanged and the interval widens."""
        without, with_ = (0.2, 0.5, 0.9, 0.6), (0.1, 0.4, 0.8, 0.5)
        turned = with_[1:] + with_[:1]
        paired, broken = (
            mean_over_seeds(DROPOUT.measure(tables(
                row for seed, (a, b) in enumerate(zip(without, side, strict=True)) for row in pair(seed, a, b)
            )))
            for side in (with_, turned)
        )  # fmt: skip
        assert paired.value == pytest.approx(broken.value)
        assert paired.high - paired.low < 1e-9
        assert broken.high - broken.low > 50

    def test_a_ratio_of_epochs_counts_what_was_not_reached_as_the_last_epoch(self, tables):
        def run(seed: int, noise: float, fitted: int | None) -> dict[str, object]:
            curve = {e: {"train_accuracy": float(fitted is not None and e >= fitted)} for e in range(1, 41)}
            return {"seed": seed, "label_noise": noise, "epochs": 40, "curve": curve}

        effect = Difference(
            "epochs_to_100", {"label_noise": HIGHEST}, {"label_noise": LOWEST}, ratio=True, censored=True
        )
        runs = [(0, 5, 20), (1, 10, 10), (2, 5, None), (3, None, 20)]
        evidence = tables(run(seed, noise, at) for seed, low, high in runs for noise, at in ((0, low), (0.8, high)))
        measured = effect.measure(evidence)
        assert measured.ratio
        assert measured.per_seed.dropna().to_dict() == pytest.approx({0: 4, 1: 1, 2: 8})


class TestSooner:
    def curve(self, learned: int, fitted: int | None) -> dict[int, dict[str, float]]:
        return {
            e: {
                "test_accuracy": 0.6 if e >= learned else 0.2,
                "validation_accuracy": 0.4 if e == learned else 0.3,
                "memorized_fraction": float(fitted is not None and e >= fitted),
            }
            for e in range(1, 33)
        }

    def runs(self, tables, *pairs):
        return tables(
            {"seed": seed, "label_noise": noise, "epochs": 32, "curve": self.curve(*pair)}
            for seed, pair in enumerate(pairs)
            for noise in (0.4, 0.6)
        )

    def test_is_the_ratio_of_the_two_epochs_in_the_same_training(self, tables):
        evidence = self.runs(tables, (2, 16), (4, 4), (8, None))
        by_level = Sooner(FirstAt("test_accuracy", 0.9, of_best=True), FirstAt("memorized_fraction", 0.5))
        by_peak = Sooner(PeakOf("validation_accuracy"), FirstAt("memorized_fraction", 0.5))
        for effect in (by_level, by_peak):
            assert effect.measure(evidence).per_seed.to_dict() == pytest.approx({0: 8, 1: 1, 2: 4})

    def test_without_the_early_event_there_is_no_number(self, tables):
        effect = Sooner(FirstAt("test_accuracy", 0.9), FirstAt("memorized_fraction", 0.5))
        assert effect.measure(self.runs(tables, (2, 16))).per_seed.isna().all()


class TestSlope:
    EFFECT = Slope("bits_memorized", ("train_accuracy", 90))

    def row(self, seed: int, parameters: int, bits: float, accuracy: float) -> dict[str, object]:
        return {
            "seed": seed, "width": parameters, "parameters": parameters, "bits_memorized": bits,
            "train_accuracy": accuracy,
        }  # fmt: skip

    def test_is_the_slope_below_the_ceiling(self, tables):
        rows = [
            self.row(seed, n, min(50 * seed + (2 + seed) * n, 3000), min(n / 1000, 1.0))
            for seed in (0, 1) for n in (100, 200, 400, 800, 2000, 4000)
        ]  # fmt: skip
        measured = self.EFFECT.measure(tables(rows))
        assert measured.per_seed.to_dict() == pytest.approx({0: 2, 1: 3})
        assert measured.note == "over 4 of 6 network sizes"

    def test_two_sizes_are_no_line(self, tables):
        rows = [self.row(0, 100, 200, 0.1), self.row(0, 200, 400, 0.2), self.row(0, 900, 900, 1.0)]
        assert self.EFFECT.measure(tables(rows)).per_seed.isna().all()


class TestSpread:
    WHERE = Spread({"input_noise": 0})

    def evidence(self, tables, correct: np.ndarray, left_out: int = 0):
        evidence = tables({"seed": seed, "epochs": 1, "test_accuracy": 0.5} for seed in range(len(correct)))
        ids = evidence.points["trajectory_id"]
        examples = pd.DataFrame(
            {"trajectory_id": ids[t], "epoch": 1, "measure": "correct", "split": "train", "example_id": i, "value": v}
            for t, row in enumerate(correct[: len(correct) - left_out])
            for i, v in enumerate(row)
        )
        return type(evidence)(evidence.points, evidence.curves, examples)

    def test_coin_tosses_are_about_one_and_fixed_difficulty_is_far_above(self, tables):
        rng = np.random.default_rng(0)
        coins = rng.random((30, 400)) < 0.4
        fixed = np.repeat(rng.random((1, 400)) < 0.4, 30, axis=0) ^ (rng.random((30, 400)) < 0.05)
        alike, apart = (self.WHERE.measure(self.evidence(tables, c.astype(float))) for c in (coins, fixed))
        assert 0.7 < alike.low < alike.value < alike.high < 1.5
        assert apart.low > 10
        assert (alike.n, alike.of) == (400, "examples")

    def test_trainings_without_predictions_are_named(self, tables):
        evidence = self.evidence(tables, np.ones((3, 4)), left_out=1)
        with pytest.raises(AnalysisError, match="1 of 3 trainings lack predictions of single examples at epoch 1"):
            self.WHERE.measure(evidence)
