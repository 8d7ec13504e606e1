"""Tests of many replays at once: the data frame that the study reads, and the numbers that the command prints."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.stopping.replayed import lines, mean, share
from sweeps.errors import ReplayError
from sweeps.replay.clock import Stops
from sweeps.replay.replay import COLUMNS, Replay, one_replay, replay_all, replays
from sweeps.spec.stopping import EarlyStopping, StopWhen

NAN = float("nan")
ASHA = EarlyStopping("asha", "score", "max")
MEDIAN = EarlyStopping("median", "score", "max", 2)


@pytest.fixture
def curves(make_curves):
    rng = np.random.default_rng(7)
    return make_curves(rng.random((30, 9)).cumsum(axis=1), broke={4: 5}, seconds=rng.random(30) + 0.1)


class TestFrame:
    def test_a_row_a_setting_order_and_training(self, curves):
        table = replays(curves, [ASHA, MEDIAN], 3, 4)
        assert tuple(table.columns) == COLUMNS
        counts = table.groupby(["scheduler", "setting", "order"], observed=True).size()
        assert (counts == 30).all()
        orders = table.groupby(["scheduler", "setting"], observed=True)["order"].nunique()
        assert orders.to_dict() == {
            ("none", "none"): 1,
            ("asha", ASHA.words()): 3,
            ("random", f"random(as {ASHA.words()})"): 3,
            ("i-epoch", "i-epoch(score max, 1 epoch, top 1)"): 1,
            ("i-epoch", _matched(table, 1)): 1,
            ("median", MEDIAN.words()): 3,
            ("random", f"random(as {MEDIAN.words()})"): 3,
            ("i-epoch", "i-epoch(score max, 2 epochs, top 1)"): 1,
            ("i-epoch", _matched(table, 2)): 1,
            ("oracle", "oracle(score max)"): 1,
        }
        assert table["stop_epoch"].between(0, table["horizon"]).all()
        assert (table.loc[table["finished"], "stop_epoch"] == 9).all()

    def test_what_it_says_is_what_one_replay_says(self, curves):
        table = replays(curves, [ASHA], 3, 4)
        for order in range(3):
            alone = one_replay(curves, ASHA, order, 4)
            rows = table[(table["scheduler"] == "asha") & (table["order"] == order)]
            assert rows["trajectory_id"].tolist() == [*curves.ids]
            assert rows["stop_epoch"].tolist() == alone.epochs.tolist()
            assert rows["finished"].tolist() == alone.finished.tolist()

    @pytest.mark.xdist_group("forks")
    @pytest.mark.usefixtures("forked_pools")
    def test_processes_change_nothing(self, curves):
        counted = []
        alone = replays(curves, [ASHA, MEDIAN], 2, 4, processes=1)
        parallel = replays(curves, [ASHA, MEDIAN], 2, 4, processes=2, listen=lambda *counts: counted.append(counts))
        pd.testing.assert_frame_equal(alone, parallel)
        assert counted == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_rules_alone_have_no_metric_to_be_beaten_by(self, curves):
        table = replays(curves, [EarlyStopping(stop_when=StopWhen(budget=4)), EarlyStopping()], 1, 4)
        assert table["scheduler"].unique().tolist() == ["none", "rules", "random"]
        assert (table.loc[table["scheduler"] == "rules", "stop_epoch"] == 4).all()


def _matched(table: pd.DataFrame, epochs: int) -> str:
    names = [name for name in table["setting"].unique() if f", {epochs} epoch" in name and not name.endswith("top 1)")]
    assert len(names) == 1
    return str(names[0])


class TestLines:
    def test_by_hand(self, make_curves):
        """There are three trainings of four epochs, and the best ends at 0.9."""
        curves = make_curves([[0, 0, 0, 0.9], [0, 0, 0, 0.7], [0, 0, 0, 0.4]])

        def stops(*epochs: int) -> Stops:
            return Stops(np.array(epochs), np.array(epochs) == 4)

        replayed = [
            Replay("a", "asha", order, stops(*epochs)) for order, epochs in enumerate([(4, 1, 1), (1, 4, 4), (1, 1, 1)])
        ]
        (line,) = lines(curves, replayed, ASHA)
        assert line.budget.mean == pytest.approx((6 + 9 + 3) / 3 / 12)
        assert line.regret is not None
        assert line.regret.mean == pytest.approx((0 + 0.2) / 2)
        assert (line.kept.mean, line.without, line.orders, line.finished) == (pytest.approx(1 / 3), 1, 3, 1)
        (least,) = lines(curves, replayed, EarlyStopping("asha", "score", "min"))
        assert least.regret is not None
        assert least.regret.mean == pytest.approx((0.5 + 0) / 2)

    def test_nothing_finished_is_no_regret_at_all(self, make_curves):
        curves = make_curves([[0.1, 0.9]])
        (line,) = lines(curves, [Replay("a", "asha", 0, Stops(np.array([1]), np.array([False])))], ASHA)
        assert line.regret is None
        assert line.kept.mean == 0

    def test_all_diverged_is_an_error(self, make_curves):
        curves = make_curves([[0.1, NAN]], broke={0: 2})
        with pytest.raises(ReplayError, match="score: no training reached its horizon"):
            lines(curves, [], ASHA)

    def test_no_stopping_and_hindsight_have_no_regret(self, curves):
        by_scheduler = {line.scheduler: line for line in lines(curves, replay_all(curves, [ASHA], 2, 3), ASHA)}
        for name in ("none", "oracle"):
            line = by_scheduler[name]
            assert line.regret is not None
            assert (line.regret.mean, line.kept.mean) == (0, 1)
        assert by_scheduler["none"].budget.mean == 1
        assert by_scheduler["oracle"].budget.mean == pytest.approx(9 / (29 * 9 + 5))
        assert by_scheduler["random"].budget.mean <= by_scheduler["asha"].budget.mean


def test_intervals_by_hand():
    """The intervals are Student's t with 2 degrees of freedom (4.3027), and Wilson's interval of 1 in 4."""
    mean_interval = mean([1.0, 2.0, 3.0])
    assert mean_interval.mean == 2
    assert mean_interval.high == pytest.approx(2 + 4.302653 / math.sqrt(3))
    assert mean_interval.low == pytest.approx(2 - 4.302653 / math.sqrt(3))
    assert (mean([5.0]).low, share(1, 1).high) == (None, None)
    z = 1.959964
    centre = (1 + z**2 / 2) / (4 + z**2)
    half = z / (4 + z**2) * math.sqrt(3 / 4 + z**2 / 4)
    assert share(1, 4).low == pytest.approx(centre - half)
    assert share(1, 4).high == pytest.approx(centre + half)
