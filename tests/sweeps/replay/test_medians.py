"""The median rule in arrays against Ray's own class: the same verdicts on anything that is reported to both."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweeps.replay.medians import QuickMedian
from sweeps.spec.stopping import EarlyStopping
from sweeps.stopping.referee import Referee, Verdict

EPOCHS = np.array([1, 2, 3, 5, 8, 11])
Reports = list[tuple[str, int, float]]


@st.composite
def reports(draw: st.DrawFn) -> Reports:
    """Trials that report at some of the epochs, in any interleaving; values that collide, and means that round."""
    values = st.sampled_from([0.1, 0.2, 0.3, 0.7, 1 / 3, 1e9]) | st.floats(-5, 5)
    curves = {
        f"t{i}": sorted(draw(st.sets(st.sampled_from(EPOCHS.tolist()), min_size=1)))
        for i in range(draw(st.integers(1, 9)))
    }
    order = draw(st.permutations([trial for trial, epochs in curves.items() for _ in epochs]))
    heard = dict.fromkeys(curves, 0)
    made = []
    for trial in order:
        made.append((trial, curves[trial][heard[trial]], draw(values)))
        heard[trial] += 1
    return made


settings_ = st.builds(
    EarlyStopping, st.just("median"), st.just("score"), st.sampled_from(["max", "min"]), st.integers(1, 12),
    min_samples=st.integers(1, 4),
)  # fmt: skip


def verdicts(settings: EarlyStopping, told: Reports, broke: str | None, scheduler: Any = None) -> list[Verdict]:
    """broke: who fails after half of it."""
    referee = Referee(settings, 11, scheduler=scheduler)
    for trial in dict.fromkeys(trial for trial, _, _ in told):
        referee.add(trial)
        referee.start(trial)
    found = []
    for place, (trial, epoch, value) in enumerate(told):
        if place == len(told) // 2 and broke is not None:
            referee.fail(broke)
        found.append(referee.report(trial, epoch, {"score": value}))
    return found


@given(settings_, reports(), st.booleans())
def test_says_what_rays_class_says(settings, told, breaks):
    broke = told[-1][0] if breaks else None
    quick = QuickMedian(settings, EPOCHS, 9)
    assert verdicts(settings, told, broke, quick) == verdicts(settings, told, broke)


def test_so_it_does_on_long_curves_with_many_stops():
    """Means of up to 100 values, whose sums numpy adds in blocks. Constant curves: a bit more or less would decide."""
    rng = np.random.default_rng(3)
    scores = (
        np.where(rng.random((40, 1)) < 0.5, 0.0, rng.integers(0, 3, (40, 100)) / 50) + rng.integers(0, 5, (40, 1)) / 10
    )
    settings = EarlyStopping("median", "score", "max", 5)
    told = [(f"t{i}", epoch, float(scores[i, epoch - 1])) for epoch in range(1, 101) for i in range(40)]

    def run(scheduler: Any = None) -> list[Verdict]:
        referee = Referee(settings, 101, scheduler=scheduler)
        for i in range(40):
            referee.add(f"t{i}")
            referee.start(f"t{i}")
        return [referee.report(trial, epoch, {"score": value}) for trial, epoch, value in told]

    quick = run(QuickMedian(settings, np.arange(1, 101), 40))
    assert quick == run()
    stopped = {trial for (trial, epoch, _), verdict in zip(told, quick, strict=True) if verdict == Verdict.STOP}
    assert 0 < len(stopped) < 40


def test_what_an_earlier_run_said_counts_in_both():
    settings = EarlyStopping("median", "score", "max", min_samples=1)
    for scheduler in (None, QuickMedian(settings, EPOCHS, 9)):
        referee = Referee(settings, 11, scheduler=scheduler)
        referee.recall("old", [(1, {"score": 0.5}), (2, {"score": 0.7})], over=True)
        referee.add("new")
        referee.start("new")
        assert [referee.report("new", epoch, {"score": 0.55}) for epoch in (1, 2)] == ["CONTINUE", "STOP"]
