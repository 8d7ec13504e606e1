"""Cohorts and native trials under one scheduler stop the same trainings, and killed workers change nothing."""

from __future__ import annotations

import random
import time
from typing import Any

import pandas as pd
import pytest

from analysis.tables.points import curves_table
from lightning_modules.measures.catalogue import MEASURES
from sweeps.execution import lane
from sweeps.execution.inline import Inline
from sweeps.execution.on_ray import executor as ray_tune
from sweeps.execution.on_ray.executor import RayTune
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.stopping.dispatcher import LocalDispatcher
from sweeps.store.store import Store

EPOCHS, PLACES = 9, 4
SWEEP = f"""
name: same
fixed: {{data: digits, dataset_size: 120, validation_fraction: 0.25, model: mlp, depth: 1, width: 8, batch_size: 20,
        dropout: 0.1, momentum: 0.9, precision: float64, epochs: {EPOCHS}}}
grid: {{label_noise: [0, 0.5], learning_rate: [0.001, 0.01, 0.1], seed: [0, 1]}}
evaluate: every
"""
STOPPING = {
    "asha": "early_stopping: {scheduler: asha, metric: validation_loss, reduction_factor: 3}",
    "median": "early_stopping: {scheduler: median, metric: validation_loss}",
}


def planned(stopping: str, max_cohort: int, workers: int = 1) -> Plan:
    return Plan.of(parse_sweep(SWEEP + stopping, "same.yaml"), Packing(workers=workers, max_cohort=max_cohort))


def curves(plan: Plan, store: Store) -> pd.DataFrame:
    names = ["trajectory_id", "epoch", *MEASURES]
    return curves_table(plan, store.read()).to_pandas()[names].set_index(["trajectory_id", "epoch"]).sort_index()


def mute(event: object) -> None:
    return


class Turnstile:
    """An actor that lets results pass in a fixed order, each one after the previous result has been judged."""

    def __init__(self, order: list[tuple[str, int]]) -> None:
        self.order = order
        self.passed = 0

    def is_next(self, member: str, epoch: int) -> bool:
        return self.order[self.passed] == (member, epoch)

    def judged(self, member: str, epoch: int) -> None:
        if self.passed < len(self.order) and self.is_next(member, epoch):
            self.passed += 1

    def left(self) -> int:
        return len(self.order) - self.passed


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", STOPPING)
def test_packed_or_not_the_same_arrivals_stop_the_same_trainings_at_the_same_epochs(scheduler, tmp_path, monkeypatch):
    """Four native trials at a time must report in the order of a refilled cohort with four places. The remaining rows
    are bit for bit those of a run without stopping."""
    import ray

    order: list[tuple[str, int]] = []
    verdict = LocalDispatcher._verdict

    def noting(self: LocalDispatcher, report: Any) -> Any:
        order.append((report.member, report.epoch))
        return verdict(self, report)

    with monkeypatch.context() as patch:
        patch.setattr(LocalDispatcher, "_verdict", noting)
        patch.setattr(lane, "most_that_fit", lambda *given: PLACES)
        packed, native = Store(tmp_path / "packed"), Store(tmp_path / "native")
        Inline().execute(planned(STOPPING[scheduler], 12), packed, mute)

    def gate() -> None:
        """Patch a worker so that it delays every result until it is the result's turn."""
        import time

        import ray

        from sweeps.execution.on_ray.native import NativeTraining

        step = NativeTraining.step

        def gated(self: NativeTraining) -> dict[str, Any]:
            result = step(self)
            turnstile, late = ray.get_actor("turnstile"), time.monotonic() + 100
            while not ray.get(turnstile.is_next.remote(self._member.id, result["epoch"])):
                if time.monotonic() > late:
                    raise TimeoutError(f"{self._member.id} waits for its turn at epoch {result['epoch']}")
                time.sleep(0.01)
            return result

        NativeTraining.step = gated  # type: ignore[method-assign]

    plan = planned(STOPPING[scheduler], 1, workers=PLACES)
    ids = [trajectory.id for trajectory in plan.trainings]
    scheduler_of = ray_tune.scheduler_of

    def telling(plan: Plan, store: Store) -> Any:
        made = scheduler_of(plan, store)

        class Telling(type(made)):  # type: ignore[misc]
            def on_trial_result(self, controller: Any, trial: Any, result: dict) -> str:
                said: str = super().on_trial_result(controller, trial, result)
                self.tell(trial, result)
                return said

            def on_trial_complete(self, controller: Any, trial: Any, result: dict) -> None:
                super().on_trial_complete(controller, trial, result)
                self.tell(trial, result)

            def tell(self, trial: Any, result: dict) -> None:
                import ray

                member = ids[trial.config["piece"]]
                ray.get(ray.get_actor("turnstile").judged.remote(member, result["epoch"]))

        made.__class__ = Telling
        return made

    monkeypatch.setattr(ray_tune, "scheduler_of", telling)
    ray.init(address="local", num_cpus=PLACES, include_dashboard=False, log_to_driver=False,
             runtime_env={"worker_process_setup_hook": gate})  # fmt: skip
    try:
        turnstile = ray.remote(Turnstile).options(name="turnstile", num_cpus=0).remote(order)  # type: ignore[attr-defined]
        RayTune().execute(plan, native, mute)
        assert ray.get(turnstile.left.remote()) == 0
    finally:
        ray.shutdown()
    assert 0 < len(order) < len(ids) * EPOCHS
    found = curves(plan, native)
    pd.testing.assert_frame_equal(found, curves(plan, packed), check_exact=True)
    assert len(found) == len(order)
    whole = Store(tmp_path / "whole")
    Inline().execute(planned("", 12), whole, mute)
    pd.testing.assert_frame_equal(found, curves(plan, whole).loc[found.index], check_exact=True)
    columns = ["outcome", "stopped_after"]
    tables = [store.read(columns).table.to_pandas().set_index(["trajectory_id", "epoch"]) for store in (native, packed)]
    pd.testing.assert_frame_equal(*(table[columns].sort_index() for table in tables))


@pytest.mark.slow
@pytest.mark.parametrize("max_cohort", [1, 4])
def test_killed_workers_lose_nobody_and_change_no_number(max_cohort, make_study, processes):
    """The scheduler is HyperBand. With cohorts, no verdict changes either. Without them it may change, because Tune
    puts a lost native trial into another bracket."""
    text = SWEEP.replace("model: mlp, depth: 1, width: 8", "model: MODEL").replace("dropout: 0.1, ", "")
    study = make_study(text, max_cohort, sleep=0.02)
    whole, undisturbed = Store(study.folder / "whole"), Store(study.folder / "undisturbed")
    Inline().execute(study.plan, whole, mute)
    with (study.folder / "sweep.yaml").open("a") as file:
        file.write("early_stopping: {scheduler: hyperband, metric: validation_loss}\n")
    Inline().execute(study.plan, undisturbed, mute)
    chance, killed = random.Random(max_cohort), 0
    process = study.started("--workers", "2", "--checkpoint-every", "0.2")
    time.sleep(6)
    while killed < 6 and process.poll() is None:
        time.sleep(chance.uniform(0, 2.0))
        workers = processes.workers(process)
        if workers:
            chance.choice(workers).kill()
            killed += 1
    processes.ended(process)
    assert killed > 1
    assert study.store.read().damaged == {}
    assert study.plan.without(study.store.done()).missing == ()
    found = curves(study.plan, study.store)
    assert {member for member, _ in found.index} == {member.id for member in study.plan.trainings}
    pd.testing.assert_frame_equal(found, curves(study.plan, whole).loc[found.index], check_exact=True)
    if max_cohort > 1:
        pd.testing.assert_frame_equal(found, curves(study.plan, undisturbed), check_exact=True)
