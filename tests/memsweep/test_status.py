"""Tests of the output of `memsweep status`, as text and as JSON."""

from __future__ import annotations

import json

from memsweep.completion import describe, report

from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep

SWEEP = "name: x\nfixed: {data: digits}\ngrid: {seed: [0, 1, 2, 3], epochs: [2, 8]}"
PLAN = Plan.of(parse_sweep(SWEEP, ""))
IDS = [trajectory.id for trajectory in PLAN.trainings]


def test_a_store_with_everything_in_it(store, make_record):
    store.prepare()
    store.append([make_record(IDS[0], (2, 8)), make_record(IDS[1], (2,), diverged=5), make_record(IDS[2], failed=8)])
    store.append([make_record("another sweep's", failed=8)])
    damaged = store_file(store, "notes.txt")
    counts = report(PLAN, store.read(["parameters", "reason"]))
    assert json.loads(json.dumps(counts)) == counts
    assert counts == {
        "sweep": "x",
        "points": 8,
        "finished": 3,
        "diverged": 1,
        "stopped": 0,
        "failed": 2,
        "missing": 2,
        "failures": [
            {"trajectory_id": IDS[i], "outcome": outcome, "epoch": epoch, "reason": reason, "fields": fields}
            for i, outcome, epoch, reason, fields in sorted(
                [
                    (1, "diverged", 5, "diverged in 5",
                     '{"data":"digits","dataset_size":1437,"epochs":8,"seed":1}'),
                    (2, "failed", 8, "RuntimeError: broke\n\nbefore 8",
                     '{"data":"digits","dataset_size":1437,"epochs":8,"seed":2}'),
                ],
                key=lambda failure: IDS[failure[0]],
            )
        ],
        "causes": [
            {"outcome": outcome, "reason": reason, "trainings": 1, "settings": f"seed {seed}", "example": IDS[seed]}
            for outcome, reason, seed in sorted(
                [("diverged", "diverged in 5", 1), ("failed", "RuntimeError: broke", 2)],
                key=lambda cause: IDS[cause[2]],
            )
        ],
        "damaged": {damaged: "not a part of memsweep"},
    }  # fmt: skip
    lines = describe(counts, "memsweep run x", "memsweep run x --retry-failed").splitlines()
    assert lines[:4] == ["x: 3 of 8 points finished (38%)", "  1 diverged", "  2 failed", "  2 missing"]
    assert f'failed {IDS[2]} {{"data":"digits","dataset_size":1437,"epochs":8,"seed":2}}' in lines
    assert "  RuntimeError: broke" in lines
    assert lines[-3:] == [
        f"damaged file, not counted: {damaged}: not a part of memsweep",
        "to try the failed ones again: memsweep run x --retry-failed",
        "to train the missing ones: memsweep run x",
    ]


def store_file(store, name: str) -> str:
    path = f"{store.uri}/parts/{name}"
    with open(path, "w") as file:
        file.write("notes")
    return path


def test_a_sweep_all_finished_is_one_line(store, make_record):
    store.prepare()
    store.append([make_record(i, (2, 8)) for i in IDS])
    assert describe(report(PLAN, store.read()), "memsweep run x", "again") == "x: 8 of 8 points finished (100%)"


def test_the_stopped_are_told_of_and_are_not_missing(store, make_record):
    text = "early_stopping: {scheduler: median, metric: train_loss}"
    plan = Plan.of(parse_sweep(f"{SWEEP}\n{text}", "x"))
    assert plan.early_stopping
    store.prepare()
    by = {"stopped_by": plan.stopping_digest, "stopped_after": 4}
    store.append([make_record(IDS[0], (2, 4), stopped=8, **by), *(make_record(i, (2, 8)) for i in IDS[1:])])
    contents = store.read(["reason", "stopped_by"])
    assert describe(report(plan, contents), "memsweep run x", "again") == (
        "x: 7 of 8 points finished (88%)\n"
        "  1 stopped\n"
        "the stopped ones go on from where they are in a sweep that does not stop them"
    )
    assert describe(report(PLAN, contents), "memsweep run x", "again") == (
        "x: 7 of 8 points finished (88%)\n  1 missing\nto train the missing ones: memsweep run x"
    )


def test_a_sweep_not_begun(store):
    assert describe(report(PLAN, store.read()), "memsweep run x", "again") == (
        "x: 0 of 8 points finished (0%)\n  8 missing\nto train the missing ones: memsweep run x"
    )


def test_failures_for_one_reason_are_told_once_with_what_they_have_in_common(store, make_record):
    plan = Plan.of(parse_sweep(f"name: x\ngrid: {{depth: [2, 3], seed: {list(range(13))}}}", ""))
    store.prepare()
    deep = [training for training in plan.trainings if training.settings.depth == 3]
    store.append([make_record(training.id, failed=20) for training in deep])
    counts = report(plan, store.read(["reason"]))
    (cause,) = counts["causes"]
    assert (cause["trainings"], cause["settings"], cause["reason"]) == (13, "depth 3", "RuntimeError: broke")
    assert cause["example"] in {training.id for training in deep}
    lines = describe(counts, "memsweep run x", "again").splitlines()
    (line,) = [line for line in lines if line.startswith("failed ")]
    assert line.endswith(" and 12 more, all with depth 3")
    assert lines.count("  RuntimeError: broke") == 1


def test_many_causes_are_cut_short(store, make_record):
    counts = report(PLAN, store.read())
    causes = [
        {"outcome": "failed", "reason": f"{i}", "trainings": 1, "settings": "", "example": "a"} for i in range(13)
    ]
    shown = describe({**counts, "causes": causes, "failures": [{"trajectory_id": "a", "fields": "{}"}]}, "x", "again")
    assert shown.count("failed a {}") == 10
    assert "and 3 more reasons; all with --json" in shown.splitlines()
