"""Tests of the plan as a pure function: covering, folding, packing, and subtracting finished points."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.settings import DEFAULTS
from sweeps.errors import SweepError
from sweeps.planning.explain import predicted_seconds, summary
from sweeps.planning.packing import SMALLEST_CAP, STACK_BYTES, Packing
from sweeps.planning.plan import Plan, resolved
from sweeps.planning.speed import REFERENCE, Speed
from sweeps.spec.evaluation import Evaluation
from sweeps.spec.point import Point
from sweeps.spec.sweep import Sweep
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.done import Done

AXES: dict[str, list[Any]] = {
    "label_noise": [0.0, 0.2, 1.0],
    "label_noise_kind": ["uniform", "pair"],
    "input_noise": [0.0, 0.5],
    "dropout": [0.0, 0.2, 0.5],
    "width": [None, 4, 9],
    "model": ["mlp", "convnet"],
    "optimizer": ["sgd", "adamw"],
    "momentum": [0.9, 0.5],
    "lr_schedule": ["constant", "cosine"],
    "precision": ["float32", "float64"],
    "epochs": [1, 2, 5, 9],
    "seed": [0, 1, 2],
}
SHAPE = ("data", "dataset_size", "model", "width", "depth", "optimizer", "precision", "batch_size", "epochs",
         "validation_fraction", "data_digest")  # fmt: skip

axes = st.lists(st.sampled_from(sorted(AXES)), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({
        name: st.lists(st.sampled_from(AXES[name]), min_size=1, max_size=3, unique=True).map(tuple) for name in names
    })
)  # fmt: skip
evaluations = st.builds(Evaluation, st.none() | st.integers(1, 4))
packings = st.builds(
    Packing,
    workers=st.integers(1, 4),
    max_cohort=st.none() | st.integers(1, 9),
    bytes_per_worker=st.sampled_from([1, 2**21, 2**31]),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    grids = tuple(draw(st.lists(axes, min_size=1, max_size=2)))
    return Plan.of(Sweep("x", "", {"data": "digits"}, grids, evaluation=draw(evaluations)), draw(packings))


@st.composite
def done_of(draw: st.DrawFn, plan: Plan) -> Done:
    ids = sorted({cell.trajectory_id for cell in plan.cells})
    rows = [(t.id, epoch) for t in plan.trainings for epoch in t.evaluated]
    epochs = st.dictionaries(st.sampled_from(ids), st.integers(0, 9), max_size=3)
    return Done(frozenset(draw(st.lists(st.sampled_from(rows)))), draw(epochs), draw(epochs))


@st.composite
def half_done(draw: st.DrawFn) -> tuple[Plan, Done, Done]:
    plan = draw(plans())
    return plan, draw(done_of(plan)), draw(done_of(plan))


def trained(point: Point) -> tuple[Any, ...]:
    """Return the values that identify a training, written out by hand for the fields that vary here."""
    size = resolved(point)
    return (
        point.label_noise, point.label_noise and point.label_noise_kind, point.input_noise, point.dropout, size.width,
        point.model, point.optimizer, point.optimizer == "sgd" and point.momentum, point.precision, point.seed,
        point.lr_schedule, point.lr_schedule == "cosine" and point.epochs,
    )  # fmt: skip


class TestMeasures:
    TEXT = """
name: x
fixed: {data: digits}
grid: {seed: [0, 1], epochs: [2, 5]}
measure: [forgetting, {example_correctness: [1, 4]}]
"""

    def test_are_taken_where_they_are_asked_for_and_the_epochs_are_evaluated(self):
        first, _ = Plan.of(parse_sweep(self.TEXT, "")).trainings
        assert first.measured == {
            1: ("example_correctness",), 2: ("forgetting",), 4: ("example_correctness",), 5: ("forgetting",)
        }  # fmt: skip
        assert first.evaluated == (1, 2, 3, 4, 5)

    def test_a_point_is_done_only_with_every_measure_up_to_its_epoch(self):
        plan = Plan.of(parse_sweep(self.TEXT, ""))
        rows = frozenset((t.id, epoch) for t in plan.trainings for epoch in t.evaluated)
        first, second = (t.id for t in plan.trainings)
        assert plan.without(Done(rows)).missing == plan.missing
        some = frozenset({(first, 1, "example_correctness"), (first, 2, "forgetting"), (second, 2, "forgetting")})
        left = plan.without(Done(rows, measured=some))
        assert [(cell.point.seed, cell.epoch) for cell in left.missing] == [(0, 5), (1, 2), (1, 5)]
        every = frozenset(
            (t.id, at, name) for t in plan.trainings for at, names in t.measured.items() for name in names
        )
        assert plan.without(Done(rows, measured=every)).missing == ()

    def test_are_not_waited_for_where_a_training_broke(self):
        plan = Plan.of(parse_sweep(self.TEXT, ""))
        assert plan.without(Done(diverged={t.id: 1 for t in plan.trainings})).missing == ()


class TestMinus:
    @given(half_done())
    def test_what_is_done_and_what_is_missing_part_the_points(self, drawn):
        plan, done, _ = drawn
        left = plan.without(done)
        assert left.cells == plan.cells == plan.missing
        missing = set(left.missing)
        for cell in plan.cells:
            assert (cell in missing) != done.covers(cell.trajectory_id, cell.epoch)

    @given(half_done())
    def test_is_idempotent_monotone_and_in_any_order(self, drawn):
        plan, one, other = drawn
        left = plan.without(one)
        assert left.without(one) == left
        assert set(left.without(other).missing) <= set(left.missing) <= set(plan.missing)
        assert left.without(other) == plan.without(other).without(one)

    @given(plans())
    def test_nothing_is_left_when_all_is_done(self, plan):
        done = Done(frozenset((t.id, epoch) for t in plan.trainings for epoch in t.evaluated))
        left = plan.without(done)
        assert left.missing == left.trainings == left.cohorts == ()
        assert plan.without(Done()) == plan

    @given(half_done())
    def test_training_what_is_missing_leaves_nothing(self, drawn):
        plan, done, _ = drawn
        left = plan.without(done)
        now = {(t.id, epoch) for t in left.trainings for epoch in t.evaluated}
        assert left.without(Done(frozenset(now))).missing == ()

    def test_adding_a_value_to_an_axis_trains_only_the_new_points(self):
        before = Plan.of(parse_sweep("name: x\ngrid: {seed: [0, 1], epochs: [3, 9]}", ""))
        after = Plan.of(parse_sweep("name: y\ngrid: {seed: [0, 1, 2], epochs: [3, 9, 6]}", ""))
        done = Done(frozenset((t.id, epoch) for t in before.trainings for epoch in t.evaluated))
        left = after.without(done)
        # 6 is one of the log-spaced epochs that are evaluated before 9.
        assert [(cell.point.seed, cell.epoch) for cell in left.missing] == [(2, 3), (2, 9), (2, 6)]


class TestTrajectories:
    @given(half_done())
    def test_every_missing_point_is_a_measured_epoch_of_exactly_one(self, drawn):
        plan = drawn[0].without(drawn[1])
        ids = [trajectory.id for trajectory in plan.trainings]
        assert len(set(ids)) == len(ids)
        by_id = {trajectory.id: trajectory for trajectory in plan.trainings}
        for cell in plan.missing:
            trajectory = by_id[cell.trajectory_id]
            assert cell.epoch in trajectory.requested
            assert cell.epoch in trajectory.evaluated
        requested_points = {(t.id, epoch) for t in plan.trainings for epoch in t.requested}
        assert requested_points == {(cell.trajectory_id, cell.epoch) for cell in plan.missing}

    @given(plans())
    def test_go_as_far_as_the_largest_epoch_asked_of_them(self, plan):
        for trajectory in plan.trainings:
            assert trajectory.settings.epochs == trajectory.requested[-1] == trajectory.evaluated[-1]
            assert list(trajectory.requested) == sorted(set(trajectory.requested))
            assert trajectory.settings.parameter_count is None

    @given(plans())
    def test_two_points_share_one_exactly_if_they_are_the_same_training(self, plan):
        groups: dict[Any, set[str]] = {}
        for cell in plan.cells:
            groups.setdefault(trained(cell.point), set()).add(cell.trajectory_id)
        assert all(len(ids) == 1 for ids in groups.values())
        assert len(groups) == len(plan.trainings)

    @given(axes, st.randoms())
    def test_do_not_depend_on_the_order_of_the_axes_or_values(self, grid, random):
        def plan_of(grid: dict[str, tuple[Any, ...]]) -> Plan:
            return Plan.of(Sweep("x", "", {"data": "digits"}, (grid,)))

        items = [(name, random.sample(values, len(values))) for name, values in grid.items()]
        random.shuffle(items)
        one, other = plan_of(grid), plan_of({name: tuple(values) for name, values in items})
        assert set(one.cells) == set(other.cells)
        assert {(t.id, t.requested, t.evaluated) for t in one.trainings} == {
            (t.id, t.requested, t.evaluated) for t in other.trainings
        }
        assert Counter(len(c.members) for c in one.cohorts) == Counter(len(c.members) for c in other.cohorts)

    def test_a_parameter_count_and_its_width_are_one_training(self):
        counted, wide = (
            Plan.of(parse_sweep(f"name: x\nfixed: {{depth: 2, {size}}}", "")).cells[0]
            for size in ("parameter_count: 15210", "width: 100")
        )
        assert counted.trajectory_id == wide.trajectory_id
        assert counted.point.id != wide.point.id

    def test_a_default_written_out_is_one_training(self):
        family = Plan.of(parse_sweep("name: x\nfixed: {depth: null}", "")).trainings[0]
        written = parse_sweep(f"name: x\nfixed: {{depth: {family.settings.depth}, width: {family.settings.width}}}", "")
        assert Plan.of(written).trainings[0].id == family.id


class TestCohorts:
    @given(half_done())
    def test_have_every_trajectory_once(self, drawn):
        plan = drawn[0].without(drawn[1])
        members = [member for cohort in plan.cohorts for member in cohort.members]
        assert Counter(member.id for member in members) == Counter(t.id for t in plan.trainings)

    @given(plans())
    def test_members_have_the_same_shapes_and_steps(self, plan):
        for cohort in plan.cohorts:
            points = [member.settings for member in cohort.members]
            for name in SHAPE:
                assert len({getattr(point, name) for point in points}) == 1
            for name in ("dropout", "input_noise"):
                assert len({getattr(point, name) > 0 for point in points}) == 1

    @given(plans())
    def test_keep_within_the_caps(self, plan):
        for cohort in plan.cohorts:
            assert 1 <= len(cohort.members) <= (plan.packing.max_cohort or math.inf)
            assert len(cohort.members) == 1 or cohort.cost.bytes <= plan.packing.bytes_per_worker
            size = sum(member.work.stack_bytes for member in cohort.members)
            assert len(cohort.members) <= SMALLEST_CAP or size <= STACK_BYTES
            assert cohort.cost.bytes == sum(member.cost.bytes for member in cohort.members)
            assert cohort.cost.flops == pytest.approx(sum(member.cost.flops for member in cohort.members))

    @given(plans())
    def test_the_longest_comes_first_and_the_order_is_a_function_of_the_plan(self, plan):
        seconds = [plan.seconds(cohort) for cohort in plan.cohorts]
        assert seconds == sorted(seconds, reverse=True)
        again = Plan(plan.name, plan.cells, plan.missing, plan.evaluation, plan.packing)
        assert again.cohorts == plan.cohorts

    @given(plans())
    def test_the_order_of_the_trainings_changes_no_sizes(self, plan):
        turned = replace(plan, cells=plan.cells[::-1], missing=plan.missing[::-1])
        assert Counter(len(cohort.members) for cohort in turned.cohorts) == Counter(
            len(cohort.members) for cohort in plan.cohorts
        )

    @given(plans())
    def test_the_last_ends_no_later_than_with_single_networks(self, plan):
        single = replace(plan, packing=replace(plan.packing, max_cohort=1))
        assert predicted_seconds(plan) <= predicted_seconds(single) * (1 + 1e-9)

    @pytest.mark.parametrize(("workers", "sizes"), [(1, [60]), (2, [30, 30]), (4, [15] * 4), (9, [*[7] * 6, *[6] * 3])])
    def test_all_workers_are_kept_busy(self, workers, sizes):
        sweep = parse_sweep(f"name: x\ngrid: {{seed: {list(range(60))}}}", "")
        linear = Speed(coefficients={**dict.fromkeys(REFERENCE, 0.0), "flop": 1e-9})
        plan = Plan.of(sweep, Packing(workers=workers, speed=linear))
        assert [len(cohort.members) for cohort in plan.cohorts] == sizes

    def test_max_cohort_is_a_limit(self):
        plan = Plan.of(parse_sweep(f"name: x\ngrid: {{seed: {list(range(7))}}}", ""), Packing(max_cohort=3))
        assert [len(cohort.members) for cohort in plan.cohorts] == [3, 2, 2]

    @pytest.mark.parametrize(
        ("field", "values", "apart"),
        [
            ("seed", "[0, 1]", False),
            ("label_noise", "[0, 0.5]", False),
            ("learning_rate", "[0.1, 0.2]", False),
            ("momentum", "[0, 0.9]", False),
            ("weight_decay", "[0, 0.1]", False),
            ("lr_schedule", "[constant, step]", False),
            ("dropout", "[0.1, 0.5]", False),
            ("dropout", "[0, 0.5]", True),
            ("input_noise", "[0, 0.5]", True),
            ("augment_noise", "[0, 0.5]", True),
            ("shift", "[0, 1]", True),
            ("scale", "[0, 0.1]", True),
            ("width", "[4, 5]", True),
            ("depth", "[1, 2]", True),
            ("model", "[mlp, residual_mlp]", True),
            ("optimizer", "[sgd, adamw]", True),
            ("batch_size", "[64, 128]", True),
            ("dataset_size", "[100, 200]", True),
            ("validation_fraction", "[0, 0.1]", True),
            ("precision", "[float32, float64]", True),
            ("data", "[mnist1d, digits]", True),
        ],
    )
    def test_what_may_train_as_one_stack(self, field, values, apart):
        plan = Plan.of(parse_sweep(f"name: x\ngrid: {{{field}: {values}}}", ""))
        assert len(plan.trainings) == 2
        assert len(plan.cohorts) == 1 + apart


class TestFolding:
    @given(plans())
    def test_saves_what_the_summary_says(self, plan):
        longest: dict[Any, int] = {}
        for cell in plan.cells:
            key = trained(cell.point)
            longest[key] = max(longest.get(key, 0), cell.epoch)
        said = summary(plan)
        assert said["epochs"] == sum(longest.values())
        assert said["epochs_without_folding"] == sum(cell.point.epochs for cell in plan.cells)
        assert said["trajectories"] == len(longest)
        assert said["points"] == said["missing"] == len(plan.cells)
        assert said["cohorts"] == len(plan.cohorts)

    @pytest.mark.parametrize(
        ("schedule", "trainings"), [("constant", 1), ("step", 1), ("inverse_sqrt", 1), ("cosine", 3)]
    )
    def test_where_the_schedule_allows(self, schedule, trainings):
        plan = Plan.of(parse_sweep(f"name: x\nfixed: {{lr_schedule: {schedule}}}\ngrid: {{epochs: [3, 9, 5]}}", ""))
        assert len(plan.trainings) == trainings


def test_a_model_that_cannot_be_built_names_the_file_and_the_key():
    with pytest.raises(SweepError) as caught:
        Plan.of(parse_sweep("name: x\nfixed: {model: linear, depth: 2}", "s.yaml"))
    assert str(caught.value) == "s.yaml: depth: given 2 for linear, which has no depth; leave it out"
    assert caught.value.key == "depth"


def test_every_field_of_a_resolved_point_but_its_size_is_the_points_own():
    point = Point(parameter_count=15210, label_noise=0.5, dataset_size=4000)
    same = set(DEFAULTS) - {"parameter_count", "width", "depth"}
    assert {name: getattr(resolved(point), name) for name in same} == {name: getattr(point, name) for name in same}
    assert resolved(resolved(point)) == resolved(point)


MANY = """
import json, sys
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.planning.speed import REFERENCE, Speed
from sweeps.store.done import Done
from sweeps.spec.sweep_file import parse_sweep

SPEED = Speed(coefficients={**dict.fromkeys(REFERENCE, 0.0), "stack": 1.0, "flop": 1e-9})
plan = Plan.of(parse_sweep('''
name: large
fixed: {depth: 2}
grid:
  parameter_count: [1000, 2000, 4000, 8000, 16000]
  label_noise: NOISES
  seed: 0..LAST
  epochs: [5, 10, 20, 40]
''', "large.yaml"), Packing(workers=2, max_cohort=64, speed=SPEED)).without(Done())
print(json.dumps({
    "points": len(plan.cells),
    "ids": len({cell.point.id for cell in plan.cells}),
    "trajectories": len(plan.trainings),
    "members": sum(len(cohort.members) for cohort in plan.cohorts),
    "largest": max(len(cohort.members) for cohort in plan.cohorts),
    "imported": sorted({"torch", "ray", "pytorch_lightning"} & sys.modules.keys()),
}))
""".replace("NOISES", str([i / 50 for i in range(50)]))


@pytest.mark.parametrize(("points", "largest"), [(10_000, 63), pytest.param(100_000, 64, marks=pytest.mark.slow)])
def test_many_points_plan_without_torch_and_ray(points, largest):
    code = MANY.replace("LAST", str(points // 1000 - 1))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "points": points,
        "ids": points,
        "trajectories": points // 4,
        "members": points // 4,
        "largest": largest,
        "imported": [],
    }
