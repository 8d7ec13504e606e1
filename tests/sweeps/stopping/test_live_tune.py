"""A replay of a live Tune run, in the same order of arrival, gives the same verdicts.

Native trials with scripted curves run under Tune's own controller. A recorder between the controller and Ray's
schedulers logs every call and verdict. The referee that replays use must give the same verdict for every trial and
epoch of the log, and must stop the same paused trials. In the slow tests, one live run has many cases, each with its
own scheduler and stoppers, so that their results arrive interleaved. The recorder shows each scheduler only the trials
of its own case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.execution.on_ray.schedulers import make_stopper
from sweeps.replay.clock import Event, follow
from sweeps.spec.stopping import SCHEDULERS, EarlyStopping, Plateau, StopWhen
from sweeps.stopping.referee import Referee, Status
from sweeps.stopping.seeding import drawing

pytestmark = pytest.mark.xdist_group("ray")

CASES_A_RUN = 17
RUNS = 12


@dataclass
class Case:
    """Some trials under one scheduler, and the log of their live run."""

    settings: EarlyStopping
    scores: np.ndarray
    """Scores, [trials, epochs]."""
    breaks: dict[int, int] = field(default_factory=dict)
    """Index of a trial -> the epoch in which the trial raises an error."""
    log: list[Event] = field(default_factory=list)
    verdicts: list[tuple[str, int, str]] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)

    @property
    def horizon(self) -> int:
        return self.scores.shape[1]

    def generated(self) -> list[dict[str, Any]]:
        return [{"scores": row.tolist(), "breaks": self.breaks.get(i, 0)} for i, row in enumerate(self.scores)]


def trainable() -> type:
    """Return a class that is pickled by value, because it is local, for workers, which cannot import tests."""
    from ray import tune

    class Scripted(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.script, self.at = new_config["script"], 0
            return True

        def step(self) -> dict[str, Any]:
            self.at += 1
            if self.at == self.script["breaks"]:
                raise RuntimeError("as scripted")
            scores = self.script["scores"]
            return {
                "epoch": self.at, "score": scores[self.at - 1], "done": self.at == len(scores),
                "case": self.script["case"],
            }  # fmt: skip

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            return {"at": self.at}

        def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
            assert checkpoint is not None
            self.at = checkpoint["at"]

    return Scripted


def recorder(cases: list[Case]) -> Any:
    from ray.tune.schedulers import TrialScheduler

    class Own:
        """A view of Tune's controller that contains only the trials of one case."""

        def __init__(self) -> None:
            self.trials: list[Any] = []
            self.controller: Any = None

        def get_trials(self) -> list[Any]:
            return self.trials

        def get_live_trials(self) -> set[Any]:
            return {*self.trials} & self.controller.get_live_trials()

        def stop_trial(self, trial: Any) -> None:
            self.controller.stop_trial(trial)

    def case_of(trial: Any) -> int:
        return int(trial.config["script"]["case"])

    class Recorder(TrialScheduler):
        _supports_buffered_results = False

        def __init__(self) -> None:
            super().__init__()
            self.real = [SCHEDULERS[case.settings.scheduler].scheduler(case.settings, case.horizon) for case in cases]
            self.owns = [Own() for _ in cases]

        def _own(self, controller: Any, trial: Any) -> tuple[Case, Any, Own]:
            number = case_of(trial)
            self.owns[number].controller = controller
            return cases[number], self.real[number], self.owns[number]

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            case, real, own = self._own(tune_controller, trial)
            case.log.append(Event("add", trial.trial_id))
            own.trials.append(trial)
            with drawing() as seed:
                seed(f"0 {trial.trial_id}")
                real.on_trial_add(own, trial)

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            case, real, own = self._own(tune_controller, trial)
            case.log.append(heard(trial, result))
            verdict: str = real.on_trial_result(own, trial, result)
            case.verdicts.append((trial.trial_id, result["epoch"], verdict))
            return verdict

        def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
            """Log the end of a trial, which follows a verdict of STOP, a rule of stop_when or the horizon."""
            case, real, own = self._own(tune_controller, trial)
            verdict = (trial.trial_id, result["epoch"], "STOP")
            if verdict not in case.verdicts:
                if (trial.trial_id, result["epoch"], "PAUSE") in case.verdicts:
                    case.removed.add(trial.trial_id)  # the scheduler stopped it while it was being paused
                else:
                    case.log.append(heard(trial, result))
                    case.verdicts.append(verdict)
            real.on_trial_complete(own, trial, result)

        def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
            case, real, own = self._own(tune_controller, trial)
            case.removed.add(trial.trial_id)
            real.on_trial_remove(own, trial)

        def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
            case, real, own = self._own(tune_controller, trial)
            case.log.append(Event("fail", trial.trial_id))
            real.on_trial_error(own, trial)

        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            chosen = (real.choose_trial_to_run(own) for real, own in zip(self.real, self.owns, strict=True))
            return next((trial for trial in chosen if trial), None)

        def debug_string(self) -> str:
            return ""

    def heard(trial: Any, result: dict[str, Any]) -> Event:
        return Event("result", trial.trial_id, result["epoch"], {"score": result["score"]})

    return Recorder()


def stoppers(cases: list[Case]) -> Any:
    from ray import tune

    made = [make_stopper(case.settings) for case in cases]

    class ByCase(tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            own = made[result["case"]]
            return own is not None and own(trial_id, result)

        def stop_all(self) -> bool:
            return False

    return ByCase()


@pytest.fixture
def live(ray_on_two_cores: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Case]], None]:
    """Return a function that runs cases under Tune, two trials at a time, and logs the events in each case."""
    from ray import tune

    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    monkeypatch.setenv("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")

    def run(cases: list[Case]) -> None:
        scripts = [{**script, "case": i} for i, case in enumerate(cases) for script in case.generated()]
        np.random.default_rng(len(scripts)).shuffle(scripts)  # type: ignore[arg-type]
        tuner = tune.Tuner(
            tune.with_resources(trainable(), {"cpu": 1}),
            param_space={"script": tune.grid_search(scripts)},
            tune_config=tune.TuneConfig(scheduler=recorder(cases), reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=str(tmp_path), name="live", verbose=0, stop=stoppers(cases),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )  # fmt: skip
        results = tuner.fit()
        assert len(results) == len(scripts)

    return run


def assert_replay_equals(case: Case) -> None:
    referee = Referee(case.settings, case.horizon)
    assert follow(case.log, referee) == case.verdicts
    assert set(referee.ended()) == case.removed
    members = {event.member for event in case.log}
    assert len(members) == len(case.scores)
    assert {referee.status(member) for member in members} <= {Status.TERMINATED, Status.ERROR}


def generated(seed: int) -> Case:
    """Return a random case of 4 to 12 trials of 3 to 27 epochs, under any scheduler; some trials have equal values."""
    rng = np.random.default_rng(seed)
    trials, horizon = int(rng.integers(4, 13)), int(rng.choice([3, 9, 12, 27]))
    scores = rng.random((trials, horizon)).cumsum(axis=1)
    if rng.random() < 0.3:
        scores = scores.round(1)
    mode = str(rng.choice(["max", "min"]))
    factor = float(rng.choice([2, 3, 4]))
    rules = None
    if rng.random() < 0.3:
        rules = StopWhen(plateau=Plateau("score", "max", 1, 0.2), budget=max(2, horizon - 1))
    grace = int(rng.integers(1, 4))
    settings = [
        EarlyStopping("asha", "score", mode, grace, factor, int(rng.integers(1, 3)), stop_when=rules),  # type: ignore[arg-type]
        EarlyStopping("hyperband", "score", mode, reduction_factor=factor, stop_when=rules),  # type: ignore[arg-type]
        EarlyStopping("median", "score", mode, grace, min_samples=int(rng.integers(1, 4)), stop_when=rules),  # type: ignore[arg-type]
    ][seed % 3]
    # A trial may fail only in its first epoch. In a later round of HyperBand, Tune would wait for it forever.
    breaks = {int(rng.integers(trials)): 1} if rng.random() < 0.1 else {}
    return Case(settings, scores, breaks)


SETTINGS = (
    EarlyStopping("asha", "score", "max", brackets=2, stop_when=StopWhen(plateau=Plateau("score", "max", 4))),
    EarlyStopping("hyperband", "score", "max"),
    EarlyStopping("median", "score", "min", min_samples=2),
)


def test_the_replay_of_a_live_run_gives_its_verdicts(live):
    cases = [Case(settings, np.random.default_rng(1).random((10, 9))) for settings in SETTINGS]
    live(cases)
    for case in cases:
        assert_replay_equals(case)
        assert "STOP" in {verdict for _, epoch, verdict in case.verdicts if epoch < 9}
        if case.settings.pauses:
            assert case.removed
            assert "PAUSE" in {verdict for _, _, verdict in case.verdicts}


@pytest.mark.slow
@pytest.mark.parametrize("run", range(RUNS))
def test_so_it_does_in_many_generated_cases(live, run):
    cases = [generated(CASES_A_RUN * run + i) for i in range(CASES_A_RUN)]
    live(cases)
    for case in cases:
        assert_replay_equals(case)
    early = {
        each.settings.scheduler
        for each in cases
        for _, epoch, v in each.verdicts
        if v == "STOP" and epoch < each.horizon
    }
    assert early == {"asha", "hyperband", "median"}
