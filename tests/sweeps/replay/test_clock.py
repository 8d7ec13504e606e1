"""Tests of the event clock on cases checked by hand, and on generated cases against its own log."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.replay.clock import Event, Stops, arrival, follow, referee_for, simulate
from sweeps.replay.curves import Curves
from sweeps.spec.stopping import EarlyStopping, StopWhen
from sweeps.stopping.referee import Referee, Verdict

ASHA = EarlyStopping("asha", "score", "max")
HYPERBAND = EarlyStopping("hyperband", "score", "max")
MEDIAN = EarlyStopping("median", "score", "max", min_samples=1)
NAN = float("nan")


def run(curves: Curves, settings: EarlyStopping, workers: int = 1, order: int = 0, quick: bool = True) -> Stops:
    return simulate(curves, referee_for(settings, curves, order, quick), order, workers)


class Logging(Referee):
    """A referee that logs its events and verdicts."""

    def __init__(self, settings: EarlyStopping, curves: Curves, order: int = 0) -> None:
        super().__init__(settings, curves.of_horizon(), order)
        self.log: list[Event] = []
        self.verdicts: list[tuple[str, int, Verdict]] = []

    def add_all(self, member_ids):
        members = [*member_ids]
        self.log += [Event("add", member) for member in members]
        super().add_all(members)

    def report(self, member_id, epoch, measures):
        self.log.append(Event("result", member_id, epoch, measures))
        verdict = super().report(member_id, epoch, measures)
        self.verdicts.append((member_id, epoch, verdict))
        return verdict

    def fail(self, member_id):
        self.log.append(Event("fail", member_id))
        super().fail(member_id)


class TestOrder:
    def test_one_after_another_on_one_place(self, make_curves):
        """At rung 1 of ASHA, the first training is kept, the second is worse and stops, and the third is better."""
        stops = run(make_curves([[0.5] * 3, [0.4] * 3, [0.6] * 3]), ASHA)
        assert stops.epochs.tolist() == [3, 1, 3]
        assert stops.finished.tolist() == [True, False, True]

    def test_at_once_the_fast_are_heard_first(self, make_curves):
        """The second training is the fastest and sets the rung. The first one arrives later and is worse."""
        curves = make_curves([[0.3] * 3, [0.4] * 3], seconds=[2.0, 1.0])
        assert run(curves, ASHA, workers=2).epochs.tolist() == [1, 3]
        assert run(curves, ASHA, workers=1).epochs.tolist() == [3, 3]

    def test_of_equal_times_the_earlier_arrival_is_heard_first(self, make_curves):
        curves = make_curves([[0.3] * 3, [0.4] * 3])
        assert run(curves, ASHA, workers=2).epochs.tolist() == [3, 3]
        swapped = next(order for order in range(1, 99) if arrival(order, 2).tolist() == [1, 0])
        assert run(curves, ASHA, workers=2, order=swapped).epochs.tolist() == [1, 3]

    def test_a_freed_place_is_taken_by_the_next(self, make_curves):
        """With two workers, t0 runs for 9 s, t1 stops at epoch 1, and t2 replaces it and ends before t0's epoch 2."""
        curves = make_curves([[0.5, 0.5, 0.5], [0.1] * 3, [0.6, 0.6, 0.6]], seconds=[3.0, 3.5, 0.1])
        referee = Logging(ASHA, curves)
        stops = simulate(curves, referee, 0, 2)
        assert stops.epochs.tolist() == [3, 1, 3]
        assert [(e.member, e.epoch) for e in referee.log if e.kind == "result"] == [
            ("t0", 1), ("t1", 1), ("t2", 1), ("t2", 2), ("t2", 3), ("t0", 2), ("t0", 3),
        ]  # fmt: skip

    def test_an_order_is_a_permutation_of_its_own(self):
        assert arrival(0, 5).tolist() == [0, 1, 2, 3, 4]
        assert sorted(arrival(3, 50)) == list(range(50))
        assert arrival(3, 50).tolist() == arrival(3, 50).tolist() != arrival(4, 50).tolist()


class TestEnds:
    def test_epochs_between_evaluations_pass_too(self, make_curves):
        curves = make_curves([[0.5, 0.5, 0.5], [0.4, 0.4, 0.4]], epochs=[1, 4, 9])
        assert run(curves, ASHA).epochs.tolist() == [9, 1]

    def test_horizons_of_their_own(self, make_curves):
        curves = make_curves([[0.5, NAN], [0.6, 0.6]], epochs=[2, 4], horizons=[2, 4])
        stops = run(curves, MEDIAN)
        assert stops.epochs.tolist() == [2, 4]
        assert stops.finished.all()

    @pytest.mark.parametrize("settings", [ASHA, HYPERBAND, MEDIAN])
    def test_what_diverges_ends_there_and_frees_its_place(self, make_curves, settings):
        curves = make_curves([[0.5, 0.5, NAN], [0.6, 0.6, 0.6]], broke={0: 3})
        stops = run(curves, settings)
        assert stops.epochs.tolist() == [3, 3]
        assert stops.finished.tolist() == [False, True]

    def test_an_evaluation_without_the_metric_is_not_judged(self, make_curves):
        curves = make_curves([[0.5] * 3, [NAN, NAN, 0.1]], other=np.ones((2, 3)))
        assert run(curves, ASHA).epochs.tolist() == [3, 3]

    def test_rules_see_their_own_measures(self, make_curves):
        curves = make_curves([[0.5] * 4, [0.5] * 4], train_accuracy=np.array([[0.1, 0.9, 1, 1], [0, 0, 0, 0]]))
        stops = run(curves, EarlyStopping(stop_when=StopWhen(interpolated=0.9)))
        assert stops.epochs.tolist() == [2, 4]


def test_hyperband_pauses_and_goes_on(make_curves):
    """As in the referee's test, 3 of 8 members run to epoch 9, 5 are judged at epoch 3, and 2 of those 5 continue."""
    scores = np.arange(8)[:, None] * np.ones(9)
    for workers in (1, 3, 8):
        stops = run(make_curves(scores), HYPERBAND, workers)
        assert stops.epochs.tolist() == [9, 9, 9, 3, 3, 3, 9, 9]


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, dict[int, int], EarlyStopping, int, int, list[float]]:
    count, horizon = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    values = st.integers(0, 6).map(lambda value: value / 3)
    scores = np.array(
        draw(st.lists(st.lists(values, min_size=horizon, max_size=horizon), min_size=count, max_size=count))
    )
    broke = draw(st.dictionaries(st.integers(0, count - 1), st.integers(1, horizon), max_size=2))
    for index, epoch in broke.items():
        scores[index, epoch - 1 :] = NAN
    mode = draw(st.sampled_from(["max", "min"]))
    grace = draw(st.integers(1, horizon))
    settings = draw(
        st.sampled_from(
            [
                EarlyStopping("asha", "score", mode, grace, 2),
                EarlyStopping("asha", "score", mode, 1, 2, 2),
                EarlyStopping("hyperband", "score", mode, reduction_factor=2),
                EarlyStopping("median", "score", mode, grace, min_samples=draw(st.integers(1, 3))),
            ]
        )
    )
    seconds = draw(st.lists(st.sampled_from([0.5, 1.0, 1.7]), min_size=count, max_size=count))
    return scores, broke, settings, draw(st.integers(1, 5)), draw(st.integers(0, 3)), seconds


@given(cases())
def test_everybody_ends_somewhere_and_the_log_says_the_same_again(make_curves, case):
    scores, broke, settings, workers, order, seconds = case
    curves = make_curves(scores, broke=broke, seconds=seconds)
    referee = Logging(settings, curves, order)
    stops = simulate(curves, referee, order, workers)
    assert ((stops.epochs >= 1) & (stops.epochs <= curves.lengths)).all()
    assert (stops.finished == ((stops.epochs == curves.horizons) & (curves.broke == 0))).all()
    assert follow(referee.log, Referee(settings, curves.of_horizon(), order)) == referee.verdicts
    assert run(curves, settings, workers, order).epochs.tolist() == stops.epochs.tolist()
    if settings.scheduler == "asha":
        assert stops.finished.any() or (curves.broke > 0).any()
