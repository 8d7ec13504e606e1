from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.statistics.phases import RISE, memorization_phase

EPOCHS = [1, 2, 4, 8, 16]


def test_it_runs_from_the_best_clean_test_accuracy_to_the_end() -> None:
    phase = memorization_phase(EPOCHS, [0.2, 0.5, 0.6, 0.5, 0.4], [0.0, 0.1, 0.2, 0.6, 0.9])
    assert phase is not None
    assert (phase.start, phase.end) == (4, 16)
    assert (phase.rise, phase.fall) == pytest.approx((0.7, 0.2))


def test_a_plateau_starts_it_at_its_first_epoch() -> None:
    phase = memorization_phase(EPOCHS, [0.2, 0.6, 0.6, 0.6, 0.6], [0.0, 0.1, 0.2, 0.6, 0.9])
    assert phase is not None
    assert (phase.start, phase.fall) == (2, 0)


def test_there_is_none_while_test_accuracy_still_rises() -> None:
    assert memorization_phase(EPOCHS, [0.1, 0.2, 0.3, 0.4, 0.5], [0.0, 0.1, 0.2, 0.6, 0.9]) is None


@pytest.mark.parametrize(("gain", "has_phase"), [(RISE - 0.01, False), (RISE + 0.01, True)])
def test_there_is_none_without_memorization_after_the_peak(gain: float, has_phase: bool) -> None:
    memorized = [0.3, 0.3, 0.3, 0.3, 0.3 + gain]
    assert (memorization_phase(EPOCHS, [0.2, 0.5, 0.6, 0.5, 0.4], memorized) is not None) is has_phase


def test_epochs_without_data_are_left_out() -> None:
    nan = math.nan
    phase = memorization_phase(EPOCHS, [0.2, 0.5, nan, 0.4, 0.3], [0.0, 0.1, 0.2, 0.6, nan])
    assert phase is not None
    assert (phase.start, phase.end) == (2, 8)
    assert memorization_phase(EPOCHS, [0.2, 0.5, 0.6, 0.5, 0.4], [nan] * 5) is None
    assert memorization_phase([], [], []) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_a_phase_keeps_its_promises(values: list[tuple[float, float]]) -> None:
    epochs = list(range(1, len(values) + 1))
    test, memorized = [a for a, _ in values], [m for _, m in values]
    phase = memorization_phase(epochs, test, memorized)
    peak = test.index(max(test))
    exists = peak < len(values) - 1 and memorized[-1] - memorized[peak] >= RISE
    assert (phase is not None) is exists
    if phase is not None:
        assert phase.start == epochs[peak] < phase.end == epochs[-1]
        assert phase.rise >= RISE
        assert phase.fall >= 0
