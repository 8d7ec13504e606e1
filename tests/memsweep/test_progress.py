"""Tests of the progress display, which counts events and prints each result once."""

from __future__ import annotations

import io
import json
import logging

import pytest
from memsweep.cli.app import _one_line_warnings
from memsweep.progress import MAX_PRINTED, Display, counted
from rich.console import Console

from sweeps.execution.protocol import CohortEnded, Failure, Progress
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.done import Done

PLAN = Plan.of(
    parse_sweep("name: x\nfixed: {data: digits}\ngrid: {seed: [0, 1, 2], epochs: [2, 8]}", ""), Packing(1, 2)
)


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=terminal, highlight=False)


def printed(display: Display) -> list[str]:
    assert isinstance(display._console.file, io.StringIO)
    return display._console.file.getvalue().splitlines()


def test_counts_trainings_and_points_of_stored_cohorts():
    assert [len(cohort.members) for cohort in PLAN.cohorts] == [2, 1]
    with Display(PLAN, console()) as display:
        display.listen(Progress(0, 4))
        assert display.summary()["trained"] == 0
        display.listen(CohortEnded(0, ()))
        result = display.summary()
        assert (result["trained"], result["points"], result["cohorts"]) == (2, 4, 1)
        display.listen(Progress(1, 8))
        display.listen(CohortEnded(1, (Failure("b", "diverged", "went to infinity\nlong story"),)))
    result = display.summary()
    assert (result["sweep"], result["trained"], result["points"], result["cohorts"]) == ("x", 3, 6, 2)
    assert result["diverged"] == [
        {"trajectory_id": "b", "outcome": "diverged", "reason": "went to infinity\nlong story"}
    ]
    assert result["failed"] == []
    assert json.loads(json.dumps(result)) == result
    lines = printed(display)
    assert lines[0] == "diverged b: went to infinity"
    assert lines[-1].startswith("trained 3 of 3 trainings (6 points) in ")
    assert lines[-1].endswith(", 1 diverged")
    assert len(lines) == 2


def test_the_stopped_are_counted_and_not_told_one_by_one():
    with Display(PLAN, console()) as display:
        display.listen(CohortEnded(0, (Failure("a", "stopped", "after epoch 2"), Failure("b", "stopped", "after 3"))))
    assert [found["trajectory_id"] for found in display.summary()["stopped"]] == ["a", "b"]
    assert (display.failed, display.diverged) == ([], [])
    (line,) = printed(display)
    assert line.startswith("trained 2 of 3 trainings")
    assert line.endswith(", 2 stopped early")


def test_an_interrupted_run_says_how_far_it_came():
    display = Display(PLAN, console())

    def interrupted() -> None:
        with display:
            display.listen(CohortEnded(1, (Failure(PLAN.cohorts[1].members[0].id, "failed", ""),)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert printed(display)[-1].startswith("trained 0 of 3 trainings (0 points) in ")
    assert printed(display)[-1].endswith(", 1 failed")


def test_what_failed_is_not_counted_as_trained():
    """A run of which every training failed once said `trained 64 of 64 trainings (64 points), 64 failed`."""
    failures = tuple(Failure(member.id, "failed", "broke") for member in PLAN.cohorts[0].members)
    with Display(PLAN, console()) as display:
        display.listen(CohortEnded(0, failures[:1]))
        assert (display.summary()["trained"], display.summary()["points"]) == (1, 2)
        display.listen(CohortEnded(1, (Failure(PLAN.cohorts[1].members[0].id, "diverged", "infinite"),)))
    assert printed(display)[-1].startswith("trained 2 of 3 trainings (4 points) in ")
    assert printed(display)[-1].endswith(", 1 diverged, 1 failed")


def test_nothing_to_train_says_nothing():
    done = Done(frozenset((t.id, epoch) for t in PLAN.trainings for epoch in t.evaluated))
    with Display(PLAN.without(done), console()) as display:
        pass
    assert printed(display) == []
    assert display.summary()["trained"] == 0


def test_many_failures_are_counted_and_not_all_told():
    plan = Plan.of(parse_sweep(f"name: x\ngrid: {{seed: {list(range(30))}}}", ""), Packing(max_cohort=30))
    with Display(plan, console()) as display:
        display.listen(CohortEnded(0, tuple(Failure(str(i), "failed", "[red]no markup[/red]") for i in range(30))))
    assert len(display.failed) == 30
    assert printed(display)[:-1] == ["failed 0: [red]no markup[/red]", "30 failed: [red]no markup[/red]"]
    assert printed(display)[-1].endswith(", 30 failed")


def test_many_reasons_are_counted_and_not_all_told():
    plan = Plan.of(parse_sweep(f"name: x\ngrid: {{seed: {list(range(30))}}}", ""), Packing(max_cohort=30))
    reasons = ["".join(chr(97 + int(digit)) for digit in f"{i:02}") for i in range(30)]
    with Display(plan, console()) as display:
        display.listen(CohortEnded(0, tuple(Failure(reason, "failed", reason) for reason in reasons)))
    assert printed(display)[:-1] == [f"failed {reason}: {reason}" for reason in reasons[:MAX_PRINTED]]
    assert printed(display)[-1].endswith(", 30 failed")


def test_the_end_counts_failures_by_reason_with_their_axes_and_what_was_not_tried():
    sweep = parse_sweep("name: x\ngrid: {depth: [1, 2], dropout: [0, 0.5], seed: [0, 1, 2, 3, 4]}", "")
    plan = Plan.of(sweep, Packing(max_cohort=5))
    at = next(cohort.index for cohort in plan.cohorts if cohort.members[0].settings.depth == 2)
    deep = [member.id for member in plan.cohorts[at].members]
    shapes = [f"RuntimeError: shape [{i}, 40] is wrong" for i in range(5)]
    with Display(plan, console()) as display:
        failures = tuple(Failure(i, "failed", reason) for i, reason in zip(deep, shapes, strict=False))
        display.listen(CohortEnded(at, failures[:4], untried=1))
    *_, cause, untried, sentence = printed(display)
    assert len(printed(display)) == 4
    dropouts = sorted({training.settings.dropout for training in plan.trainings if training.id in deep[:4]})
    assert cause.startswith("4 failed: RuntimeError: shape [0, 40] is wrong, all with depth 2")
    assert ("dropout" in cause) == (len(dropouts) == 1)
    assert untried.startswith("16 trainings were not tried, because 4 failed; ")
    assert sentence.startswith("trained 0 of 20 trainings (0 points) in ")
    result = display.summary()
    assert result["untried"] == 16
    assert [cause["trainings"] for cause in result["causes"]] == [4]


def test_the_bar_counts_epochs_by_their_estimated_seconds_while_they_train():
    first, second = (PLAN.seconds(cohort) for cohort in PLAN.cohorts)
    with Display(PLAN, console(terminal=True)) as display:
        (task,) = display._bar.tasks
        assert (task.total, task.completed) == (pytest.approx(first + second), 0)
        display.listen(Progress(0, 2))
        assert task.completed == pytest.approx(first / 4)
        display.listen(Progress(0, 1))  # an event that arrives too late
        assert task.completed == pytest.approx(first / 4)
        display.listen(Progress(1, 8))
        display.listen(CohortEnded(0, ()))
        assert task.completed == pytest.approx(first + second)
        assert task.fields["trainings"] == 2


def test_without_a_terminal_a_line_says_how_far_the_work_is(monkeypatch):
    monkeypatch.setattr("memsweep.progress.LINE_SECONDS", 0.0)
    display = Display(PLAN, console())
    with display:
        display.listen(Progress(0, PLAN.cohorts[0].epochs))
    first, second = (PLAN.seconds(cohort) for cohort in PLAN.cohorts)
    share = first / (first + second)
    assert printed(display)[0].startswith(f"{100 * share:3.0f} %  trained 0 of 3 trainings")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_count_is_shown_on_a_terminal_alone(terminal):
    where = console(terminal)
    with counted("replays", where) as listen:
        for done in (1, 2, 3):
            listen(done, 3)
    assert isinstance(where.file, io.StringIO)
    assert ("3 of 3 replays" in where.file.getvalue()) == terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_warning_of_a_logger_is_on_standard_error_and_above_the_bar(stream, monkeypatch):
    """rich replaces standard error on a terminal, to print above the bar, but does not replace a file."""
    stderr, screen = stream(), console(terminal=True)
    monkeypatch.setattr("sys.stderr", stderr)
    log = logging.getLogger("memsweep.test")
    with _one_line_warnings(), Display(PLAN, screen):
        log.warning("cohort %d: lost", 3)
        log.info("not shown")
    log.warning("not shown: the command has ended")
    assert isinstance(screen.file, io.StringIO)
    drawn = screen.file.getvalue()
    if stderr.isatty():
        assert "warning: cohort 3: lost" in drawn
        assert stderr.getvalue() == ""
    else:
        assert stderr.getvalue() == "warning: cohort 3: lost\n"
        assert "lost" not in drawn
    assert "not shown" not in drawn + stderr.getvalue()
