"""Tests of valid sweep files: where they are found, how they are parsed, and how `--set` changes them."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from analysis.figures.parsing import figures_of
from lightning_modules.settings import FIELDS
from sweeps.errors import SweepError
from sweeps.planning.plan import Plan
from sweeps.spec.evaluation import Evaluation
from sweeps.spec.point import valid_values
from sweeps.spec.sweep import Sweep
from sweeps.spec.sweep_file import load_sweep, override, parse_sweep, settable
from sweeps.spec.sweep_source import PRESETS, preset_names

ALL_FIELDS = ", ".join(sorted(name for name in FIELDS if not name.endswith("_digest")))


class TestLoad:
    def test_an_unknown_preset(self):
        with pytest.raises(SweepError) as caught:
            load_sweep("quickstrat")
        assert str(caught.value) == (
            "quickstrat: is neither a preset nor a file; did you mean quickstart? `memsweep list` shows the presets"
        )

    @pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/63", "https://x.org/s.yaml", "pipe", "pipe.yaml"])
    def test_a_stream_is_not_read(self, name, tmp_path, monkeypatch):
        """A sweep is read again by other commands. Nothing waits for a pipe that nobody writes to."""
        monkeypatch.chdir(tmp_path)
        if name.startswith("pipe"):
            os.mkfifo(name)
        with pytest.raises(SweepError) as caught:
            load_sweep(name)
        assert str(caught.value) == (
            f"{name}: standard input, pipes, devices and URLs are not read, because later commands read the sweep "
            "again; valid: a preset, or a file such as my-sweep.yaml"
        )

    def test_a_long_file_is_refused_before_it_is_read_whole(self, tmp_path):
        file = tmp_path / "s.yaml"
        with file.open("wb") as sparse:
            sparse.truncate(2**33)  # a file of 8 GB of zeros, of which nothing is on the disk
        with pytest.raises(
            SweepError, match=r"s\.yaml: not valid YAML: more than 250,000 characters, which is the most$"
        ):
            load_sweep(str(file))

    @pytest.mark.parametrize("name", ["quickstart", "quickstart-full"])
    def test_a_preset_and_a_file_of_one_name(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "quickstart").write_text("name: mine\nfull: {grid: {seed: [1]}}")
        with pytest.raises(SweepError) as caught:
            load_sweep(name)
        assert str(caught.value) == (
            f"{name}: is both a preset and a file of this folder; write ./quickstart for the file, or rename it to use "
            "the preset"
        )
        assert load_sweep(f"./{name}").name == name.replace("quickstart", "mine")

    @pytest.mark.parametrize("name", ["", "x" * 300, "folder"])
    def test_a_name_that_can_be_no_preset(self, name, tmp_path, monkeypatch):
        (tmp_path / "folder").mkdir()
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SweepError, match="is neither a preset nor a file"):
            load_sweep(name)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(SweepError) as caught:
            load_sweep(f"{tmp_path}/s.yaml")
        assert str(caught.value) == f"{tmp_path}/s.yaml: cannot be read: No such file or directory"

    def test_a_folder(self, tmp_path):
        (tmp_path / "s.yaml").mkdir()
        with pytest.raises(SweepError) as caught:
            load_sweep(f"{tmp_path}/s.yaml")
        assert str(caught.value) == f"{tmp_path}/s.yaml: cannot be read: Is a directory"

    def test_a_file_that_is_no_text(self, tmp_path):
        (tmp_path / "s.yaml").write_bytes(b"name: \xff\xfe")
        with pytest.raises(SweepError, match=r"s\.yaml: is not UTF-8 text at byte 6; save it as UTF-8"):
            load_sweep(f"{tmp_path}/s.yaml")

    def test_a_file_without_suffix(self, tmp_path):
        (tmp_path / "sweep").write_text("name: x")
        assert load_sweep(f"{tmp_path}/sweep").name == "x"

    def test_a_preset_wins_over_a_folder_of_its_name(self, tmp_path, monkeypatch):
        (tmp_path / "quickstart").mkdir()
        monkeypatch.chdir(tmp_path)
        assert load_sweep("quickstart").name == "quickstart"

    @pytest.mark.parametrize("name", preset_names())
    def test_every_preset_loads_plans_and_can_be_drawn(self, name):
        sweep = load_sweep(name)
        assert sweep.name == name
        assert sweep.question.endswith("?")
        plan = Plan.of(sweep)
        assert 0 < len(plan.cells) <= sweep.size()
        assert plan.cohorts
        figures_of(sweep)

    def test_every_file_in_presets_is_a_preset(self):
        assert {path.stem for path in PRESETS.iterdir() if path.suffix == ".yaml"} == set(preset_names())
        assert "quickstart" in preset_names()


class TestValues:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("1e-3", 0.001), ("1E-3", 0.001), ("1.5e3", 1500.0), ("3", 3.0), (".5", 0.5), ("5.", 5.0), ("+0.1", 0.1),
         ("1_000", 1000.0), ("2e+2", 200.0)],
    )  # fmt: skip
    def test_numbers_as_people_write_them(self, text, value):
        fixed = parse_sweep(f"name: x\nfixed: {{learning_rate: {text}}}", "s.yaml").fixed
        assert fixed == {"learning_rate": value}
        assert type(fixed["learning_rate"]) is float

    def test_values_are_of_their_fields_types(self):
        sweep = parse_sweep("name: x\ngrid: {label_noise: [0, 1], epochs: [1e1, 20]}", "s.yaml")
        assert [*map(type, sweep.grids[0]["label_noise"])] == [float, float]
        assert [*map(type, sweep.grids[0]["epochs"])] == [int, int]
        assert sweep.grids[0]["epochs"] == (10, 20)

    def test_what_is_left_out(self):
        sweep = parse_sweep("name: x", "s.yaml")
        assert sweep == Sweep("x", "", {}, ({},))
        assert len(sweep.points()) == 1

    def test_a_merged_mapping(self):
        sweep = parse_sweep("name: x\ngrid: [&a {seed: [1, 2]}, {<<: *a, width: [4]}]", "s.yaml")
        assert sweep.grids == ({"seed": (1, 2)}, {"seed": (1, 2), "width": (4,)})

    def test_a_question_over_several_lines_is_one_sentence(self):
        assert parse_sweep("name: x\nquestion: >\n  How\n  many?\n", "s.yaml").question == "How many?"

    @pytest.mark.parametrize(
        ("text", "evaluation"),
        [("log", Evaluation()), ("every", Evaluation(1)), ("1", Evaluation(1)), ("7", Evaluation(7))],
    )
    def test_evaluate(self, text, evaluation):
        assert parse_sweep(f"name: x\nevaluate: {text}", "s.yaml").evaluation == evaluation

    def test_exclude_takes_one_value_or_several(self):
        sweep = parse_sweep("name: x\nexclude: [{seed: 1, width: [2, 3]}]", "s.yaml")
        assert sweep.exclude == ({"seed": (1,), "width": (2, 3)},)


class TestRuns:
    def test_of_numbers_are_written_by_their_ends(self):
        sweep = parse_sweep("name: x\ngrid: {seed: 3..6}\nexclude: [{seed: 4..5}]", "s.yaml")
        assert sweep.grids == ({"seed": (3, 4, 5, 6)},)
        assert [point.seed for point in sweep.points()] == [3, 6]

    def test_hold_for_a_setting_too(self):
        sweep = override(parse_sweep("name: x\nfixed: {seed: 1}", "s.yaml"), ["seed=0..2"])
        assert (sweep.fixed, sweep.grids) == ({}, ({"seed": (0, 1, 2)},))

    def test_are_of_the_fields_type(self):
        assert parse_sweep("name: x\ngrid: {rotation: 0..2}", "s.yaml").grids == ({"rotation": (0.0, 1.0, 2.0)},)
        with pytest.raises(SweepError, match="given 0; valid: a whole number of at least 1"):
            parse_sweep("name: x\ngrid: {width: 0..2}", "s.yaml")


SMALL_AND_FULL = """
name: both
question: Small or full?
fixed: {width: 8, epochs: 2}
grid: {dropout: [0, 0.5], seed: 0..1}
measure: [forgetting]
figures: [{kind: curves, hue: dropout}]
full:
  fixed: {epochs: 9, depth: 3}
  grid: {dropout: [0, 0.1, 0.5]}
  evaluate: every
"""


class TestFull:
    def test_takes_the_place_of_what_it_gives_and_keeps_the_rest(self):
        sweep = parse_sweep(SMALL_AND_FULL, "s.yaml").full
        assert sweep.name == "both-full"
        assert sweep.fixed == {"width": 8, "epochs": 9, "depth": 3}
        assert sweep.grids == ({"dropout": (0.0, 0.1, 0.5)},)
        assert sweep.evaluation == Evaluation(every=1)
        small = parse_sweep(SMALL_AND_FULL, "s.yaml")
        assert (sweep.measurement, sweep.figures, sweep.question) == (small.measurement, small.figures, small.question)
        assert sweep.full is None

    def test_leaves_the_small_sweep_as_it_is_without(self):
        without = parse_sweep(SMALL_AND_FULL[: SMALL_AND_FULL.index("full:")], "s.yaml")
        small = parse_sweep(SMALL_AND_FULL, "s.yaml")
        assert without.full is None
        assert replace(small, full=None) == without
        assert small.definition() == without.definition()

    def test_is_loaded_by_its_name_and_can_be_overridden(self, tmp_path):
        path = tmp_path / "s.yaml"
        path.write_text(SMALL_AND_FULL)
        assert load_sweep(str(path)).name == "both"
        assert load_sweep(f"{path}-full").name == "both-full"
        assert load_sweep(f"{path}-full", ["epochs=4"]).fixed["epochs"] == 4
        again = parse_sweep(load_sweep(f"{path}-full").definition(), "again")
        assert again.points() == load_sweep(f"{path}-full").points()

    def test_a_file_whose_name_ends_like_it_is_itself(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "s-full").write_text("name: mine")
        assert load_sweep("s-full").name == "mine"

    def test_of_a_sweep_without_one_says_so(self, tmp_path):
        path = tmp_path / "s.yaml"
        path.write_text("name: x")
        with pytest.raises(SweepError) as caught:
            load_sweep(f"{path}-full")
        assert str(caught.value) == (
            f"{path}-full: {path} has no full variant; a sweep file gives one under the key full"
        )  # fmt: skip
        with pytest.raises(
            SweepError, match=r"quickstrat-full: is neither a preset nor a file; did you mean quickstart\?"
        ):
            load_sweep("quickstrat-full")


class TestOverride:
    SWEEP = parse_sweep("name: x\nfixed: {width: 4, dropout: 0.5}\ngrid: [{seed: [0, 1]}, {epochs: [3]}]", "s.yaml")

    def test_a_value_is_fixed_everywhere(self):
        sweep = override(self.SWEEP, ["seed=7", "dropout=1e-1"])
        assert sweep.fixed == {"width": 4, "dropout": 0.1, "seed": 7}
        assert sweep.grids == ({}, {"epochs": (3,)})

    def test_a_list_is_an_axis_everywhere(self):
        sweep = override(self.SWEEP, ["width=[8, 9]", "seed=[5]"])
        assert sweep.fixed == {"dropout": 0.5}
        assert sweep.grids == ({"seed": (5,), "width": (8, 9)}, {"epochs": (3,), "width": (8, 9), "seed": (5,)})

    def test_the_last_of_several_settings_counts(self):
        assert override(self.SWEEP, ["seed=[5]", "seed=6"]).fixed["seed"] == 6

    def test_text_with_an_equals_sign_and_a_colon(self):
        assert override(self.SWEEP, ["data=parquet:a=b"]).fixed["data"] == "parquet:a=b"

    def test_null_unsets(self):
        assert override(self.SWEEP, ["width=null"]).fixed["width"] is None

    def test_nothing_changes_nothing(self):
        assert override(self.SWEEP, []) == self.SWEEP

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("seed", "--set seed: must have the form FIELD=VALUE"),
            ("seed=-1", "--set seed=-1: seed: given -1; valid: a whole number of at least 0 and below 2^63"),
            ("seed=", "--set seed=: seed: given null; valid: a whole number of at least 0 and below 2^63"),
            ("seed=[]", "--set seed=[]: seed: is an empty axis; valid: a list of at least one value"),
            ("seed=[1, 1.0]", "--set seed=[1, 1.0]: seed: given [1, 1.0], which repeats a value"),
            ("dropout=[0, 2]", "--set dropout=[0, 2]: dropout: given 2; valid: a number of at least 0 and below 1"),
            ("sed=1", f"--set sed=1: sed: unknown field; given 'sed'; did you mean seed? valid: {ALL_FIELDS}"),
            ("sed=[1]", f"--set sed=[1]: sed: unknown field; given 'sed'; did you mean seed? valid: {ALL_FIELDS}"),
            ("=1", f"--set =1: unknown field; given ''; valid: {ALL_FIELDS}"),
            ("seed=[1", "--set seed=[1: seed: given '[1', which is not a YAML value: line 1, column 3: expected ',' or "
             "']', but got '<stream end>' (while parsing a flow sequence that begins in line 1)"),
            ("precision=2001-99-99", "--set precision=2001-99-99: precision: given '2001-99-99'; valid: float32, tf32, "
             "bfloat16, float64"),
            ("a\nb=1", f"--set a b=1: a b: unknown field; given 'a\\nb'; valid: {ALL_FIELDS}"),
            ("seed=off", "--set seed=off: seed: given 'off'; valid: a whole number of at least 0 and below 2^63"),
            ("depth=007", "--set depth=007: depth: given '007'; valid: a whole number of at least 1 and at most "
             "1,000 or null"),
            ("data_digest=x", "--set data_digest=x: data_digest: is filled in by memsweep and cannot be set; leave it "
             "out"),
            ("width=" + "9" * 4000, f"--set width={'9' * 136}...{'9' * 148}: width: given '{'9' * 47}...{'9' * 48}'; "
             "valid: a whole number of at least 1 and at most 1,000,000 or null"),
        ],
    )  # fmt: skip
    def test_refused(self, setting, message):
        with pytest.raises(SweepError) as caught:
            override(self.SWEEP, [setting])
        assert str(caught.value) == message

    def test_shorter_trainings_leave_out_the_measures_of_later_epochs(self):
        sweep = parse_sweep(
            "name: x\nfixed: {epochs: 30}\nmeasure: [forgetting, {cumulative_loss: [1, 20, 30]}]", "s.yaml"
        )
        assert override(sweep, ["epochs=25"]).measurement.epochs == {"forgetting": None, "cumulative_loss": (1, 20)}
        assert override(sweep, ["epochs=[1, 2]"]).measurement.epochs == {"forgetting": None, "cumulative_loss": (1,)}
        assert override(sweep, ["epochs=40"]).measurement == sweep.measurement

    def test_a_measure_that_would_never_be_taken_is_refused(self):
        sweep = parse_sweep("name: x\nfixed: {epochs: 30}\nmeasure: [{forgetting: [20, 30]}]", "s.yaml")
        with pytest.raises(
            SweepError, match=r"measure\[0\].forgetting: given epoch 30, beyond the horizon of 2 epochs"
        ):
            override(sweep, ["epochs=2"]).points()

    def test_every_field_but_the_digest_can_be_set(self):
        assert set(settable()) == set(FIELDS) - {"data_digest", "model_digest"}
        for name in settable():
            if "null" in valid_values(name):
                assert override(self.SWEEP, [f"{name}=null"]).fixed[name] is None
