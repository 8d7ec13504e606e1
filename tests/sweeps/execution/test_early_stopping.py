"""Tests of early stopping with every executor and packing."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from analysis.tables.points import curves_table, points_table
from lightning_modules.measures.catalogue import MEASURES
from lightning_modules.training.stack import Stack
from sweeps.errors import ExecutionError
from sweeps.execution.inline import Inline
from sweeps.execution.on_ray.dispatcher_actor import RemoteDispatcher
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import CohortEnded, Progress
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.stopping import SCHEDULERS, EarlyStopping, SchedulerKind, register_scheduler
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.store import Store

pytestmark = pytest.mark.xdist_group("ray")  # so that one worker trains the reference for all tests

EPOCHS = 9
SWEEP = f"""
name: stopped
fixed: {{data: digits, dataset_size: 120, validation_fraction: 0.25, model: mlp, depth: 1, width: 8, batch_size: 20,
        dropout: 0.1, optimizer: adamw, precision: float64, epochs: {EPOCHS}}}
grid: {{label_noise: [0, 0.5], learning_rate: [0.0003, 0.003, 0.03], seed: [0, 1]}}
evaluate: every
"""
STOPPING = {
    "asha": "early_stopping: {scheduler: asha, metric: validation_loss, reduction_factor: 2}",
    "hyperband": "early_stopping: {scheduler: hyperband, metric: validation_loss, reduction_factor: 3}",
    "median": "early_stopping: {scheduler: median, metric: validation_loss, grace_period: 2}",
    "rules": "stop_when: {interpolated: 0.5, plateau: {metric: validation_loss, patience: 2}}",
}


def planned(stopping: str = "", max_cohort: int = 4, workers: int = 1, sweep: str = SWEEP) -> Plan:
    text = sweep + STOPPING.get(stopping, "")
    return Plan.of(parse_sweep(text, "stopped.yaml"), Packing(workers=workers, max_cohort=max_cohort))


def curves(plan: Plan, store: Store) -> pd.DataFrame:
    names = ["trajectory_id", "epoch", *MEASURES]
    return curves_table(plan, store.read()).to_pandas()[names].set_index(["trajectory_id", "epoch"]).sort_index()


def ends(plan: Plan, store: Store) -> dict[str, int]:
    """Return the last trained epoch of every training."""
    return curves(plan, store).reset_index().groupby("trajectory_id")["epoch"].max().to_dict()


def outcomes(plan: Plan, store: Store) -> list[str]:
    return points_table(plan, store.read())["outcome"].to_pylist()


def mute(event: object) -> None:
    return


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return all complete curves, from a run without early stopping."""
    store = Store(tmp_path_factory.mktemp("whole"))
    Inline().execute(planned(), store, mute)
    return curves(planned(), store)


@pytest.fixture(scope="module")
def of_hyperband(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Return the epoch after which HyperBand stops each training if all train in one stack."""
    store = Store(tmp_path_factory.mktemp("hyperband"))
    Inline().execute(planned("hyperband", 12), store, mute)
    return ends(planned("hyperband", 12), store)


def check(plan: Plan, store: Store, whole: pd.DataFrame, *earlier: Plan) -> dict[str, int]:
    """Check that all is settled, that the trained epochs have the bits of a run without stopping, and that each stopped
    training has a checkpoint and its last epoch stored. Return the last epochs. Besides, only the `earlier` plans
    may have stopped trainings."""
    found = curves(plan, store)
    pd.testing.assert_frame_equal(found, whole.loc[found.index], check_exact=True)
    last = ends(plan, store)
    assert set(last) == {trajectory.id for trajectory in plan.trainings}
    for trajectory, epoch in last.items():
        assert len(found.loc[trajectory]) == epoch, "an epoch of it is missing"
    stopped = store.read(["stopped_after", "stopped_by", "reason"]).table.to_pandas().query("outcome == 'stopped'")
    assert set(stopped["stopped_by"]) <= {each.stopping_digest for each in (plan, *earlier)}
    stopped = stopped[stopped["stopped_by"] == plan.stopping_digest]
    assert dict(zip(stopped["trajectory_id"], stopped["stopped_after"], strict=True)) == {
        trajectory: epoch for trajectory, epoch in last.items() if epoch < EPOCHS
    }
    assert Checkpoints(store.location).ids() == set(stopped["trajectory_id"])
    assert plan.without(store.done()).missing == ()
    assert len(planned().without(store.done()).missing) == len(stopped)
    assert set(outcomes(plan, store)) == {"finished", "stopped"}
    return last


@pytest.mark.parametrize(
    ("stopping", "max_cohort"),
    [
        pytest.param(stopping, max_cohort, marks=[pytest.mark.slow] if (i + j) % 2 else [])
        for i, stopping in enumerate(STOPPING)
        for j, max_cohort in enumerate((3, 12))
    ],
)
def test_who_is_stopped_leaves_and_nobody_s_numbers_depend_on_it(stopping, max_cohort, tmp_path, whole):
    plan, store = planned(stopping, max_cohort), Store(tmp_path)
    heard: list[CohortEnded] = []
    Inline().execute(plan, store, lambda event: heard.append(event) if isinstance(event, CohortEnded) else None)
    last = check(plan, store, whole)
    assert min(last.values()) < EPOCHS
    assert sorted(event.cohort for event in heard) == list(range(len(plan.cohorts)))
    told = {failure.trajectory_id for event in heard for failure in event.failures if failure.outcome == "stopped"}
    assert told == {trajectory for trajectory, epoch in last.items() if epoch < EPOCHS}


@pytest.mark.parametrize("max_cohort", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_rule_stops_each_training_where_its_own_curve_says(max_cohort, tmp_path, whole):
    plan = planned("rules", max_cohort)
    Inline().execute(plan, Store(tmp_path), mute)
    for trajectory, epoch in ends(plan, Store(tmp_path)).items():
        curve = whole.loc[trajectory]
        best = curve["validation_loss"].cummin()
        worse = curve["validation_loss"] > best.shift(fill_value=float("inf"))
        plateau = [at for at in range(2, EPOCHS + 1) if worse[at] and worse[at - 1]]
        fitted = [at for at in range(1, EPOCHS + 1) if curve["train_accuracy"][at] >= 0.5]
        assert epoch == min([*plateau, *fitted, EPOCHS])


@pytest.mark.parametrize("max_cohort", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_hyperband_s_verdicts_do_not_depend_on_the_packing(max_cohort, tmp_path, of_hyperband):
    plan, store = planned("hyperband", max_cohort), Store(tmp_path)
    Inline().execute(plan, store, mute)
    assert ends(plan, store) == of_hyperband
    assert sorted(set(of_hyperband.values())) == [1, 3, 9]


def test_a_stack_shrinks_and_is_filled_as_long_as_somebody_waits(tmp_path, monkeypatch):
    """No member is trained beyond the epoch after which it is stopped."""
    sizes: list[int] = []
    advance = Stack.advance

    def noting(self: Stack, epochs: int) -> None:
        sizes.extend([len(self)] * epochs)
        advance(self, epochs)

    monkeypatch.setattr(Stack, "advance", noting)
    plan, store = planned("asha", 4), Store(tmp_path)
    Inline().execute(plan, store, mute)
    assert sum(sizes) == len(curves(plan, store))
    full = [at for at, size in enumerate(sizes) if size == 4]
    assert full == list(range(len(full)))  # after these epochs, no member waits any more
    assert sizes[len(full) :] == sorted(sizes[len(full) :], reverse=True)
    begun = len({trajectory for trajectory, epoch in curves(plan, store).index if epoch == 1})
    assert begun == len(plan.trainings)


def test_what_was_stopped_goes_on_from_there_in_a_sweep_that_does_not_stop_it(tmp_path, whole):
    stopped, store = planned("asha"), Store(tmp_path)
    Inline().execute(stopped, store, mute)
    last = check(stopped, store, whole)
    left = planned(max_cohort=1).without(store.done())
    assert {t.id for t in left.trainings} == {t for t, epoch in last.items() if epoch < EPOCHS}
    heard: dict[int, list[int]] = {}

    def listen(event: Progress | CohortEnded) -> None:
        if isinstance(event, Progress):
            heard.setdefault(event.cohort, []).append(event.epochs)

    Inline().execute(left, store, listen)
    for index, cohort in enumerate(left.cohorts):
        assert heard[index] == list(range(last[cohort.members[0].id] + 1, EPOCHS + 1))
    pd.testing.assert_frame_equal(curves(planned(), store), whole, check_exact=True)
    assert Checkpoints(store.location).ids() == set()
    assert set(outcomes(stopped, store)) == {"finished"}


def test_other_settings_go_on_from_there_too(tmp_path, whole):
    store = Store(tmp_path)
    Inline().execute(planned("asha"), store, mute)
    median = planned("median")
    assert outcomes(median, store).count("missing") == outcomes(planned("asha"), store).count("stopped") > 0
    Inline().execute(median.without(store.done()), store, mute)
    check(median, store, whole, planned("asha"))
    assert "missing" not in outcomes(planned("asha"), store)  # what asha stopped is still stopped by it, or trained


@pytest.mark.parametrize("stopping", ["asha", "hyperband"])
def test_an_interrupted_run_is_gone_on_with(stopping, tmp_path, whole):
    plan, store = planned(stopping, 12), Store(tmp_path)

    def interrupt(event: object) -> None:
        if isinstance(event, Progress) and event.epochs == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Inline(checkpoint_seconds=0).execute(plan, store, interrupt)
    before = ends(plan, store)
    left = plan.without(store.done())
    assert len(left.trainings) == len(plan.trainings) - len(before) > 0
    Inline().execute(left, store, mute)
    after = check(plan, store, whole)
    assert {trajectory: after[trajectory] for trajectory in before} == before
    assert min(after.values()) < max(after.values()) == EPOCHS


def test_one_that_raises_is_failed_and_its_neighbours_are_judged_as_ever(tmp_path, monkeypatch, whole):
    plan, store = planned("asha", 6), Store(tmp_path)
    bad = plan.trainings[4]
    advance = Stack.advance

    def raising(self: Stack, epochs: int) -> None:
        if any(entry.settings == bad.settings for entry in self._entries):
            raise RuntimeError("broke")
        advance(self, epochs)

    monkeypatch.setattr(Stack, "advance", raising)
    Inline().execute(plan, store, mute)
    assert outcomes(plan, store).count("failed") == 1
    found = curves(plan, store)
    pd.testing.assert_frame_equal(found, whole.loc[found.index], check_exact=True)
    assert {t.id for t in plan.trainings} - set(ends(plan, store)) == {bad.id}


def test_measures_on_demand_are_those_of_a_run_without_stopping(tmp_path):
    sweep = SWEEP.replace("dropout: 0.1", "dropout: 0.0") + "measure: [{forgetting: [2, 9]}]\n"
    tables = []
    for stopping, folder in (("", "plain"), ("asha", "stopped")):
        plan, store = planned(stopping, 6, sweep=sweep), Store(tmp_path / folder)
        Inline().execute(plan, store, mute)
        table = curves_table(plan, store.read()).to_pandas()
        tables.append(table.set_index(["trajectory_id", "epoch"])["forgetting_events"].dropna())
        assert plan.without(store.done()).missing == ()
    plain, stopped = tables
    assert 0 < len(stopped) < len(plain)
    pd.testing.assert_series_equal(stopped, plain.loc[stopped.index], check_exact=True)


def test_a_training_of_no_epochs_is_over_before_it_begins(tmp_path):
    fixed, _ = SWEEP.split("grid:")
    fixed = fixed.replace("width: 8, ", "").replace(f", epochs: {EPOCHS}", "")
    sweep = f"{fixed}grid: [{{width: [8], epochs: [3]}}, {{width: [9], epochs: [0]}}]\nevaluate: every\n"
    plan, store = planned("rules", sweep=sweep), Store(tmp_path)
    Inline().execute(plan, store, mute)
    table = points_table(plan, store.read()).to_pandas().set_index("epochs")
    assert table.loc[0, "outcome"] == "finished"
    assert 0 <= table.loc[0, "test_accuracy"] < 0.5
    assert plan.without(store.done()).missing == ()


@pytest.mark.parametrize("executor", [Inline(), RayTune()])
def test_a_scheduler_that_pauses_is_refused_where_nothing_can_be_kept(executor, ray_on_two_cores, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "checkpoints").write_text("in the way")
    with pytest.raises(ExecutionError, match=r"hyperband pauses trainings.*cannot keep.*valid with this store: asha"):
        executor.execute(planned("hyperband"), Store(tmp_path / "store"), mute)
    assert Store(tmp_path / "store").read().table.num_rows == 0


def test_lanes_ask_a_judge_on_ray_as_they_ask_one_here(ray_on_two_cores, tmp_path, whole, of_hyperband, monkeypatch):
    monkeypatch.setattr("sweeps.execution.inline.dispatcher_of", RemoteDispatcher.of)
    plan, store = planned("hyperband", 3), Store(tmp_path)
    Inline().execute(plan, store, mute)
    assert check(plan, store, whole) == of_hyperband


@pytest.mark.slow
def test_on_ray_the_lanes_ask_one_judge(ray_on_two_cores, tmp_path, whole, of_hyperband):
    plan, store = planned("hyperband", 3, workers=2), Store(tmp_path / "ray")
    RayTune().execute(plan, store, mute)
    assert check(plan, store, whole) == of_hyperband


@pytest.mark.slow
@pytest.mark.parametrize("stopping", STOPPING)
def test_native_trials_are_stopped_by_tune_itself(stopping, tmp_path, whole):
    plan, store = planned(stopping, 1, workers=2), Store(tmp_path / "native")
    RayTune().execute(plan, store, mute)
    last = check(plan, store, whole)
    assert min(last.values()) < EPOCHS
    if stopping in ("hyperband", "rules"):  # their verdicts do not depend on the order of arrival
        Inline().execute(planned(stopping, 12), Store(tmp_path / "inline"), mute)
        assert last == ends(plan, Store(tmp_path / "inline"))
    again: list[Any] = []
    RayTune().execute(planned("", 1, workers=2).without(store.done()), store, again.append)
    pd.testing.assert_frame_equal(curves(planned(), store), whole, check_exact=True)


def stop_after_two(settings: EarlyStopping, horizon: int) -> object:
    """Make a custom scheduler that stops every training with an even id after its second epoch."""
    from ray.tune.schedulers import FIFOScheduler

    class StopAfterTwo(FIFOScheduler):
        def on_trial_result(self, controller, trial, result):
            return self.STOP if result["epoch"] >= 2 and int(trial.trial_id, 16) % 2 == 0 else self.CONTINUE

    return StopAfterTwo()


def test_a_scheduler_of_ones_own_is_registered_and_judges_a_run(tmp_path, monkeypatch, whole):
    monkeypatch.setattr("sweeps.spec.stopping.SCHEDULERS", dict(SCHEDULERS))
    for module in ("sweeps.spec.stopping_file", "sweeps.stopping.referee"):
        monkeypatch.setattr(f"{module}.SCHEDULERS", sys.modules["sweeps.spec.stopping"].SCHEDULERS)
    monkeypatch.setitem(sys.modules, "my_schedulers", SimpleNamespace(stop_after_two=stop_after_two))
    register_scheduler("after_two", SchedulerKind("my_schedulers:stop_after_two"))
    with pytest.raises(ValueError, match="'asha' is registered already"):
        register_scheduler("asha", SchedulerKind("my_schedulers:stop_after_two"))
    text = SWEEP + "early_stopping: {scheduler: after_two, metric: validation_loss}"
    plan, store = Plan.of(parse_sweep(text, "own.yaml"), Packing(max_cohort=12)), Store(tmp_path)
    Inline().execute(plan, store, mute)
    assert set(check(plan, store, whole).values()) == {2, EPOCHS}
