"""Tests of the points of a sweep, and of the file that parses to it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.errors import SweepError
from sweeps.spec.evaluation import Evaluation, Measurement
from sweeps.spec.point import Point
from sweeps.spec.stopping import EarlyStopping, Onset, Plateau, StopWhen
from sweeps.spec.sweep import Sweep
from sweeps.spec.sweep_file import parse_sweep

VALUES: dict[str, list[Any]] = {
    "label_noise": [0.0, 0.1, 1e-7, 1.0],
    "learning_rate": [1e-5, 0.1, 3e-20, 2.0],
    "model": ["mlp", "linear", "1e5", "on", "null", "2001-01-01", "ünder:score", "- x", "#1"],
    "width": [None, 1, 10**6],
    "optimizer": ["sgd", "adamw"],
    "seed": [0, 1, 17],
    "epochs": [0, 8, 1_000_000],
}

axes = st.fixed_dictionaries(
    {}, optional={name: st.lists(st.sampled_from(options), min_size=1, max_size=3, unique=True).map(tuple)
                  for name, options in VALUES.items()}
)  # fmt: skip
valid_axes = axes.map(lambda grid: {name: values for name, values in grid.items() if name not in ("model", "width")})
names = st.from_regex(r"[abz019e_][abz019e._-]{0,5}", fullmatch=True)
questions = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60).map(
    lambda text: " ".join(text.split())
)
lists = axes.map(lambda grid: {name: list(values) for name, values in grid.items()})
figures = st.lists(st.fixed_dictionaries({"kind": st.just("heatmap"), "where": lists}), max_size=2).map(tuple)


measured = st.dictionaries(
    st.sampled_from(["forgetting", "example_correctness", "critical_sample_ratio"]),
    st.none() | st.sets(st.integers(0, 9), min_size=1).map(lambda epochs: tuple(sorted(epochs))),
)
stopping = st.none() | st.sampled_from(
    [
        EarlyStopping(),
        EarlyStopping("asha", "test_loss", "min", 2, 2.5, 3, stop_when=StopWhen(budget=9)),
        EarlyStopping(stop_when=StopWhen(0.5, Plateau("test_loss", "max", 3, 0.25), Onset(2))),
    ]
)


@st.composite
def sweeps(draw: st.DrawFn) -> Sweep:
    grids = tuple(draw(st.lists(axes, min_size=1, max_size=3)))
    free = sorted(set(VALUES) - {name for grid in grids for name in grid})
    fixed = {name: draw(st.sampled_from(VALUES[name])) for name in free if draw(st.booleans())}
    exclude = tuple(rule for rule in draw(st.lists(axes, max_size=2)) if rule)
    return Sweep(
        name=draw(names), question=draw(questions), fixed=fixed, grids=grids, exclude=exclude,
        evaluation=Evaluation(draw(st.none() | st.integers(1, 9))), figures=draw(figures),
        measurement=Measurement(draw(measured)), early_stopping=draw(stopping),
    )  # fmt: skip


class TestDefinition:
    @given(sweeps())
    def test_makes_the_same_sweep_again(self, sweep):
        assert parse_sweep(sweep.definition(), "s.yaml") == sweep

    def test_as_it_is_written(self):
        text = (
            "name: both\n"
            "question: ''\n"
            "fixed: {model: mlp}\n"
            "grid:\n"
            "- seed: [0, 1]\n"
            "- width: [4]\n"
            "exclude:\n"
            "- seed: [1]\n"
            "evaluate: 5\n"
        )
        assert parse_sweep(text, "s.yaml").definition() == text

    @pytest.mark.parametrize(
        ("values", "written"),
        [
            (range(10), "seed: 0..9"),
            (range(7, 100_007), "seed: 7..100006"),
            (range(9), "seed: [0, 1, 2, 3, 4, 5, 6, 7, 8]"),
            ([*range(9), 2**62], f"seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, {2**62}]"),
        ],
    )
    def test_consecutive_numbers_are_written_by_their_ends(self, values, written):
        sweep = Sweep("x", "", {}, ({"seed": tuple(values)},), ({"seed": tuple(values)},))
        text = sweep.definition()
        assert text.count(written) == 2
        assert parse_sweep(text, "s.yaml") == sweep

    def test_one_axis_shared_by_two_grids_is_written_out_twice(self):
        shared = (0.1, 0.2)
        text = Sweep("x", "", {}, ({"label_noise": shared}, {"label_noise": shared, "seed": (1,)})).definition()
        assert text.count("[0.1, 0.2]") == 2
        assert "&" not in text


class TestPoints:
    def test_are_the_product_in_the_order_of_the_file(self):
        sweep = parse_sweep("name: x\nfixed: {data: digits}\ngrid: {seed: [1, 0], width: [8, 4, 6]}", "s.yaml")
        expected = [
            Point(data="digits", dataset_size=1437, seed=seed, width=width)
            for seed, width in itertools.product([1, 0], [8, 4, 6])
        ]
        assert sweep.points() == expected
        assert sweep.size() == 6

    def test_a_union_has_what_is_in_two_grids_once(self):
        sweep = parse_sweep("name: x\ngrid: [{seed: [0, 1]}, {seed: [1, 2], width: [100, null]}]", "s.yaml")
        assert [(point.seed, point.width) for point in sweep.points()] == [
            (0, None), (1, None), (1, 100), (2, 100), (2, None),
        ]  # fmt: skip
        assert sweep.size() == 6

    def test_an_unset_dataset_size_is_all_of_it(self):
        sweep = parse_sweep("name: x\ngrid: {dataset_size: [null, 4000, 3999]}", "s.yaml")
        assert [point.dataset_size for point in sweep.points()] == [4000, 3999]

    def test_excluded_are_the_points_that_match_every_field_of_a_rule(self):
        sweep = parse_sweep(
            "name: x\ngrid: {seed: [0, 1, 2], width: [4, 8]}\n"
            "exclude: [{seed: [0, 1], width: 4}, {seed: 2, width: [8]}]",
            "s.yaml",
        )
        assert [(point.seed, point.width) for point in sweep.points()] == [(0, 8), (1, 8), (2, 4)]

    @given(valid_axes, st.lists(valid_axes.filter(bool), min_size=1, max_size=4).map(tuple))
    def test_excluded_are_the_points_of_the_definition(self, grid, exclude):
        every = Sweep("x", "", {}, (grid,)).points()
        left = [p for p in every if not any(all(vars(p)[name] in rule[name] for name in rule) for rule in exclude)]
        sweep = Sweep("x", "", {}, (grid,), exclude)
        if left:
            assert sweep.points() == left
        else:
            with pytest.raises(SweepError, match=r"^exclude: leaves no point of the grid$"):
                sweep.points()

    def test_what_contradicts_itself_can_be_excluded(self):
        text = "name: x\ngrid: {{lr_schedule: [constant, cosine], epochs: [0, 1]}}\n{}"
        with pytest.raises(SweepError, match="epochs: given 0 with lr_schedule cosine"):
            parse_sweep(text.format(""), "s.yaml").points()
        excluding = parse_sweep(text.format("exclude: [{lr_schedule: cosine, epochs: 0}]"), "s.yaml")
        assert len(excluding.points()) == 3

    @given(valid_axes)
    def test_are_valid_distinct_and_as_many_as_the_axes_say(self, grid):
        sweep = Sweep("x", "", {}, (grid,))
        points = sweep.points()
        assert len({point.id for point in points}) == len(points) == sweep.size()
        for point in points:
            assert Point(**vars(point)) == point
        assert set(sweep.axes) == {name for name, options in grid.items() if len(options) > 1}

    def test_data_from_outside_is_in_the_id_by_its_content(self, tmp_path):
        ids = []
        for name, shift in (("a", 0), ("b", 0), ("c", 1)):
            inputs = np.random.default_rng(0).standard_normal((20, 3)) + shift
            pq.write_table(
                pa.table({
                    "features": inputs.tolist(), "label": [i % 2 for i in range(20)],
                    "split": ["train"] * 15 + ["test"] * 5,
                }),
                tmp_path / f"{name}.parquet",
            )  # fmt: skip
            sweep = parse_sweep(f"name: x\nfixed: {{data: 'parquet:{tmp_path}/{name}.parquet'}}", "s.yaml")
            (point,) = sweep.points()
            assert point.dataset_size == 15
            ids.append(point.id)
        assert ids[0] == ids[1] != ids[2]

    def test_a_model_from_outside_is_in_the_id_by_its_code(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(tmp_path))
        ids = []
        for name, bias in (("first_model", True), ("same_model", True), ("other_model", False)):
            code = f"from torch import nn\ndef make(): return nn.Linear(64, 10, bias={bias})\n"
            (tmp_path / f"{name}.py").write_text(code)
            (point,) = parse_sweep(f"name: x\nfixed: {{data: digits, model: '{name}:make'}}", "s.yaml").points()
            ids.append(point.with_(model="the same name").id)
        assert ids[0] == ids[1] != ids[2]

    @pytest.mark.parametrize(
        ("fixed", "message"),
        [
            ("validation_fraction: 0.001, dataset_size: 100",
             "s.yaml: validation_fraction: given 0.001 of 100 examples, which leaves no example on one side"),
            ("validation_fraction: 0.999, dataset_size: 100",
             "s.yaml: validation_fraction: given 0.999 of 100 examples, which leaves no example on one side"),
            ("epochs: 2000000000}\nevaluate: every\ngrid: {seed: [0]",
             "s.yaml: evaluate: 2,000,000,000 epochs every 1: at most 100,000 evaluations of a training are allowed"),
        ],
    )  # fmt: skip
    def test_are_refused_where_the_data_or_the_machine_cannot_give_them(self, fixed, message):
        with pytest.raises(SweepError) as caught:
            parse_sweep(f"name: x\nfixed: {{{fixed}}}", "s.yaml").points()
        assert str(caught.value) == message

    def test_noise_on_wrong_classes_needs_two_classes(self, tmp_path):
        columns = {"features": [[0.5, 1.0]] * 8, "label": [0] * 8, "split": ["train"] * 6 + ["test"] * 2}
        pq.write_table(pa.table(columns), tmp_path / "one.parquet")
        text = f"name: x\nfixed: {{data: 'parquet:{tmp_path}/one.parquet', label_noise: 0.5, label_noise_kind: %s}}"
        with pytest.raises(SweepError, match=r"label_noise_kind: given pair .* one class; valid: uniform"):
            parse_sweep(text % "pair", "s.yaml").points()
        assert len(parse_sweep(text % "uniform", "s.yaml").points()) == 1


class TestAxes:
    def test_are_the_fields_with_several_values_over_all_grids(self):
        sweep = parse_sweep(
            "name: x\nfixed: {dropout: 0.5}\n"
            "grid: [{seed: [0], width: [4, 8], depth: [2]}, {seed: [1], width: [4], batch_size: [128]}]",
            "s.yaml",
        )
        # depth is 2 in the first grid and its default in the second; batch_size is its default in both.
        assert sweep.axes == ("seed", "width", "depth")


class TestMeasurement:
    def test_is_where_the_grid_asks_or_where_the_file_says_within_the_horizon(self):
        measurement = Measurement({"forgetting": None, "example_correctness": (1, 4, 50)})
        assert measurement.at([4, 20]) == {
            1: ("example_correctness",), 4: ("example_correctness", "forgetting"), 20: ("forgetting",)
        }  # fmt: skip
        assert Measurement().at([3]) == {}

    @pytest.mark.parametrize(
        ("text", "asked"),
        [
            ("", {20}),
            ("fixed: {epochs: 7}", {7}),
            ("grid: [{epochs: [3, 9]}, {width: [4]}]", {3, 9, 20}),
            ("fixed: {epochs: 7}\nmeasure: [forgetting, {input_gradient: [1, 2, 8]}]", {1, 2, 7}),
        ],
    )
    def test_the_epochs_that_are_asked_for(self, text, asked):
        assert parse_sweep(f"name: x\n{text}", "s.yaml").requested_epochs == asked

    def test_of_a_training_that_it_cannot_be_taken_of_is_refused(self):
        text = "name: x\nfixed: {data: digits, dataset_size: 64, dropout: 0.2}\nmeasure: [loss_sensitivity]"
        with pytest.raises(SweepError, match=r"s.yaml: measure.loss_sensitivity: dropout: given 0.2; .*without it"):
            parse_sweep(text, "s.yaml").points()


class TestEvaluation:
    def test_log_is_two_an_octave_and_what_is_asked(self):
        assert Evaluation().epochs(40, [40, 7]) == (1, 2, 3, 4, 6, 7, 8, 11, 16, 23, 32, 40)

    def test_every_n(self):
        assert Evaluation(5).epochs(12, [3, 12]) == (3, 5, 10, 12)
        assert Evaluation(1).epochs(3, [3]) == (1, 2, 3)
        assert Evaluation(50).epochs(3, [3]) == (3,)

    def test_epoch_0_is_evaluated_where_it_is_asked(self):
        assert Evaluation().epochs(0, [0]) == (0,)
        assert Evaluation(1).epochs(2, [0, 2]) == (0, 1, 2)

    @given(st.none() | st.integers(1, 50), st.sets(st.integers(0, 500), min_size=1))
    def test_ascends_within_the_horizon_and_has_what_is_asked(self, every, asked):
        epochs = Evaluation(every).epochs(max(asked), asked)
        assert list(epochs) == sorted(set(epochs))
        assert asked <= set(epochs)
        assert epochs[-1] == max(asked)
