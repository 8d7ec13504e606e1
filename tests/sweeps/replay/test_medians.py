"""The median rule in array operations gives the same verdicts as Ray's own class on any reports."""

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
    """Draw reports of trials at some epochs in any order, including equal values and values whose means are rounded."""
    values = st.sampled_from([0.1, 0.2, 0.3, 0.7, 1 / 3, 1e9]) | st.floats(-5, 5)
    curves = {
        f"t{i}": sorted(draw(st.sets(st.sampled_from(EPOCHS.tolist()), min_size=1)))
        for i in range(draw(st.integers(1, 9)))
    }
    order = draw(st.permutations([trial for trial, epochs in curves.items() for _ in epochs]))
    reported = dict.fromkeys(curves, 0)
    drawn = []
    for trial in order:
        drawn.append((trial, curves[trial][reported[trial]], draw(values)))
        reported[trial] += 1
    return drawn


settings_ = st.builds(
    EarlyStopping, st.just("median"), st.just("score"), st.sampled_from(["max", "min"]), st.integers(1, 12),
    min_samples=st.integers(1, 4),
)  # fmt: skip


def verdicts(settings: EarlyStopping, reported: Reports, broke: str | None, scheduler: Any = None) -> list[Verdict]:
    """Return the verdicts on reports. The trial `broke` fails after half of the reports."""
    referee = Referee(settings, 11, scheduler=scheduler)
    for trial in dict.fromkeys(trial for trial, _, _ in reported):
        referee.add(trial)
        referee.start(trial)
    given = []
    for index, (trial, epoch, value) in enumerate(reported):
        if index == len(reported) // 2 and broke is not None:
            referee.fail(broke)
        given.append(referee.report(trial, epoch, {"score": value}))
    return given


@given(settings_, reports(), st.booleans())
def test_says_what_rays_class_says(settings, told, breaks):
    broke = told[-1][0] if breaks else None
    quick = QuickMedian(settings, EPOCHS, 9)
    assert verdicts(settings, told, broke, quick) == verdicts(settings, told, broke)


def test_so_it_does_on_long_curves_with_many_stops():
    """Means are over up to 100 values, which numpy sums in blocks. For constant curves, a single bit would decide."""
    rng = np.random.default_rng(3)
    scores = (
        np.where(rng.random((40, 1)) < 0.5, 0.0, rng.integers(0, 3, (40, 100)) / 50) + rng.integers(0, 5, (40, 1)) / 10
    )
    settings = EarlyStopping("median", "score", "max", 5)
    reported = [(f"t{i}", epoch, float(scores[i, epoch - 1])) for epoch in range(1, 101) for i in range(40)]

    def run(scheduler: Any = None) -> list[Verdict]:
        referee = Referee(settings, 101, scheduler=scheduler)
        for i in range(40):
            referee.add(f"t{i}")
            referee.start(f"t{i}")
        return [referee.report(trial, epoch, {"score": value}) for trial, epoch, value in reported]

    quick = run(QuickMedian(settings, np.arange(1, 101), 40))
    assert quick == run()
    stopped = {trial for (trial, epoch, _), verdict in zip(reported, quick, strict=True) if verdict == Verdict.STOP}
    assert 0 < len(stopped) < 40


def test_what_an_earlier_run_said_counts_in_both():
    settings = EarlyStopping("median", "score", "max", min_samples=1)
    for scheduler in (None, QuickMedian(settings, EPOCHS, 9)):
        referee = Referee(settings, 11, scheduler=scheduler)
        referee.recall("old", [(1, {"score": 0.5}), (2, {"score": 0.7})], over=True)
        referee.add("new")
        referee.start("new")
        assert [referee.report("new", epoch, {"score": 0.55}) for epoch in (1, 2)] == ["CONTINUE", "STOP"]
