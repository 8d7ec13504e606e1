"""What is refused, with the sentence the user reads; and what is accepted, as it was meant."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweeps.errors import MemsweepError, SweepError
from sweeps.grid import Evaluation, Sweep
from sweeps.plan import Plan
from sweeps.spec import FIELDS, valid_values
from sweeps.sweep_file import PRESETS, SETTABLE, check_figures, load_sweep, override, parse_sweep, preset_names

ALL_FIELDS = ", ".join(sorted(name for name in FIELDS if not name.endswith("_digest")))
ALL_KEYS = "early_stopping, evaluate, exclude, figures, fixed, full, grid, measure, name, question, stop_when"
MEASURES = "critical_sample_ratio, cumulative_loss, example_correctness, forgetting, input_gradient, loss_sensitivity"

REFUSED = {
    "unknown field": (
        "name: x\ngrid: {label_nose: [0, 1]}",
        f"s.yaml: grid.label_nose: unknown field; given 'label_nose'; did you mean label_noise? valid: {ALL_FIELDS}",
    ),
    "unknown fixed field": (
        "name: x\nfixed: {zzz: 1}",
        f"s.yaml: fixed.zzz: unknown field; given 'zzz'; valid: {ALL_FIELDS}",
    ),
    "the digest is not the user's": (
        "name: x\nfixed: {data_digest: abc}",
        f"s.yaml: fixed.data_digest: unknown field; given 'data_digest'; did you mean data_seed? valid: {ALL_FIELDS}",
    ),
    "unknown key": (
        "name: x\ngrids: {}",
        f"s.yaml: grids: unknown key; given 'grids'; did you mean grid? valid: {ALL_KEYS}",
    ),
    "key that is no text": ("name: x\n7: {}", f"s.yaml: 7: unknown key; given 7; valid: {ALL_KEYS}"),
    "empty axis": (
        "name: x\ngrid: {seed: []}",
        "s.yaml: grid.seed: is an empty axis; valid: a list of at least one value",
    ),
    "axis that is no list": (
        "name: x\ngrid: {seed: 3}",
        "s.yaml: grid.seed: given 3; valid: a list of values or FIRST..LAST (one value goes to `fixed`)",
    ),
    "negative dropout": (
        "name: x\ngrid: {dropout: [0, -0.1]}",
        "s.yaml: grid.dropout: given -0.1; valid: a number of at least 0 and below 1",
    ),
    "noise above 1": (
        "name: x\nfixed: {label_noise: 1.5}",
        "s.yaml: fixed.label_noise: given 1.5; valid: a number of at least 0 and at most 1",
    ),
    "text for a number": (
        "name: x\nfixed: {learning_rate: '0.1'}",
        "s.yaml: fixed.learning_rate: given '0.1'; valid: a number above 0",
    ),
    "yes for a number": (
        "name: x\nfixed: {seed: yes}",
        "s.yaml: fixed.seed: given True; valid: a whole number of at least 0",
    ),
    "infinity": (
        "name: x\nfixed: {weight_decay: .inf}",
        "s.yaml: fixed.weight_decay: given inf; valid: a number of at least 0",
    ),
    "not a number": (
        "name: x\nfixed: {weight_decay: .nan}",
        "s.yaml: fixed.weight_decay: given nan; valid: a number of at least 0",
    ),
    "a number that no machine holds": (
        "name: x\nfixed: {batch_size: 100000000000000000000}",
        "s.yaml: fixed.batch_size: given 100000000000000000000; valid: a whole number of at least 1",
    ),
    "a fraction for a whole number": (
        "name: x\ngrid: {epochs: [1, 2.5]}",
        "s.yaml: grid.epochs: given 2.5; valid: a whole number of at least 0 and below 2,147,483,648",
    ),
    "an unknown choice": (
        "name: x\nfixed: {optimizer: adam}",
        "s.yaml: fixed.optimizer: given 'adam'; valid: sgd, adamw",
    ),
    "a mapping for a value": (
        "name: x\nfixed: {seed: {a: 1}}",
        "s.yaml: fixed.seed: given {'a': 1}; valid: a whole number of at least 0",
    ),
    "repeated values": (
        "name: x\ngrid: {label_noise: [0, 0.5, 0.0]}",
        "s.yaml: grid.label_noise: given [0, 0.5, 0.0], which repeats a value",
    ),
    "field both fixed and axis": (
        "name: x\nfixed: {seed: 1}\ngrid: {seed: [1, 2]}",
        "s.yaml: fixed.seed: is an axis of the grid as well; give it in one place",
    ),
    "field fixed and axis of one of two grids": (
        "name: x\nfixed: {seed: 1}\ngrid: [{width: [1]}, {seed: [1, 2]}]",
        "s.yaml: fixed.seed: is an axis of the grid as well; give it in one place",
    ),
    "the second of several grids": (
        "name: x\ngrid: [{width: [1]}, {seed: [-1]}]",
        "s.yaml: grid[1].seed: given -1; valid: a whole number of at least 0",
    ),
    "no name": (
        "grid: {seed: [1]}",
        "s.yaml: name: given None; valid: letters, digits, '.', '_' and '-', a letter or digit first",
    ),
    "name that is hidden": (
        "name: .x",
        "s.yaml: name: given '.x'; valid: letters, digits, '.', '_' and '-', a letter or digit first",
    ),
    "name that is a path": (
        "name: a/b",
        "s.yaml: name: given 'a/b'; valid: letters, digits, '.', '_' and '-', a letter or digit first",
    ),
    "numbers that fall": (
        "name: x\ngrid: {seed: 9..3}",
        "s.yaml: grid.seed: given 9..3; valid: FIRST..LAST, rising, of at most 1,000,000 numbers",
    ),
    "too many numbers": (
        "name: x\ngrid: {seed: 0..99999999}",
        "s.yaml: grid.seed: given 0..99999999; valid: FIRST..LAST, rising, of at most 1,000,000 numbers",
    ),
    "measures that are no list": (
        "name: x\nmeasure: forgetting",
        "s.yaml: measure: given 'forgetting'; valid: a list of measures, or of {measure: epochs}",
    ),
    "unknown measure": (
        "name: x\nmeasure: [forgeting]",
        "s.yaml: measure[0]: unknown measure; given 'forgeting'; did you mean forgetting? valid: " + MEASURES,
    ),
    "measure asked for twice": (
        "name: x\nmeasure: [forgetting, {forgetting: [1]}]",
        "s.yaml: measure[1]: asks for forgetting a second time; give all its epochs in one list",
    ),
    "measure at no epochs": (
        "name: x\nmeasure: [{forgetting: []}]",
        "s.yaml: measure[0].forgetting: given []; valid: a list of epochs, each at least 0",
    ),
    "measure at half an epoch": (
        "name: x\nmeasure: [{forgetting: [1, 2.5]}]",
        "s.yaml: measure[0].forgetting: given [1, 2.5]; valid: a list of epochs, each at least 0",
    ),
    "question that is no text": ("name: x\nquestion: [a]", "s.yaml: question: given ['a']; valid: text"),
    "fixed that is no mapping": (
        "name: x\nfixed: [seed]",
        "s.yaml: fixed: given ['seed']; valid: a mapping from field names",
    ),
    "grid that is no mapping": ("name: x\ngrid: 3", "s.yaml: grid: given 3; valid: a mapping from field names"),
    "no grid at all": (
        "name: x\ngrid: []",
        "s.yaml: grid: given []; valid: a mapping of axes, or a list of such mappings",
    ),
    "not a mapping": (
        "- name: x",
        "s.yaml: must be a mapping with the keys name, question, fixed, grid, exclude, evaluate, measure, "
        "early_stopping, stop_when, figures, full",
    ),
    "empty file": (
        "",
        "s.yaml: must be a mapping with the keys name, question, fixed, grid, exclude, evaluate, measure, "
        "early_stopping, stop_when, figures, full",
    ),
    "duplicate key": (
        "name: x\nname: y",
        "s.yaml: not valid YAML: key 'name' is given twice in \"<unicode string>\", line 1, column 1: name: x ^",
    ),
    "duplicate field": (
        "name: x\nfixed:\n  seed: 1\n  width: 2\n  seed: 3",
        "s.yaml: not valid YAML: key 'seed' is given twice in \"<unicode string>\", line 3, column 3: seed: 1 ^",
    ),
    "tab": (
        "name: x\nfixed:\n\tseed: 1",
        "s.yaml: not valid YAML: while scanning for the next token found character '\\t' that cannot start any token "
        'in "<unicode string>", line 3, column 1: seed: 1 ^',
    ),
    "unclosed bracket": (
        "name: x\ngrid: {seed: [1, 2}",
        "s.yaml: not valid YAML: while parsing a flow sequence in \"<unicode string>\", line 2, column 14: "
        "grid: {seed: [1, 2} ^ expected ',' or ']', but got '}' in \"<unicode string>\", line 2, column 19: "
        "grid: {seed: [1, 2} ^",
    ),
    "a tag that would make an object": (
        "name: !!python/name:os.system x",
        "s.yaml: not valid YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/name:os.system' in \"<unicode string>\", line 1, column 7: "
        "name: !!python/name:os.system x ^",
    ),
    "a date in month 13": ("name: 2020-13-45", "s.yaml: not valid YAML: month must be in 1..12"),
    "exclude that is no list": (
        "name: x\nexclude: {seed: 1}",
        "s.yaml: exclude: given {'seed': 1}; valid: a list of mappings from field to value or values",
    ),
    "exclude of an unknown field": (
        "name: x\nexclude: [{sed: 1}]",
        f"s.yaml: exclude[0].sed: unknown field; given 'sed'; did you mean seed? valid: {ALL_FIELDS}",
    ),
    "empty rule": ("name: x\nexclude: [{}]", "s.yaml: exclude: has an empty rule, which would exclude every point"),
    "bad evaluate": (
        "name: x\nevaluate: linear",
        "s.yaml: evaluate: given 'linear'; valid: log, every, or a number of epochs of at least 1",
    ),
    "evaluate 0": (
        "name: x\nevaluate: 0",
        "s.yaml: evaluate: given 0; valid: log, every, or a number of epochs of at least 1",
    ),
    "evaluate yes": (
        "name: x\nevaluate: yes",
        "s.yaml: evaluate: given True; valid: log, every, or a number of epochs of at least 1",
    ),
    "figures that are no list": (
        "name: x\nfigures: {kind: heatmap}",
        "s.yaml: figures: given {'kind': 'heatmap'}; valid: a list of mappings with kind, x, y, value, ...",
    ),
}  # fmt: skip

REFUSED_BY_THE_POINTS = {
    "dataset_size larger than the data": (
        "name: x\nfixed: {data: digits}\ngrid: {dataset_size: [1437, 1438]}",
        "s.yaml: dataset_size: given 1438; digits has 1437 training examples",
    ),
    "unreachable parameter_count": (
        "name: x\nfixed: {data: digits, model: mlp, depth: 1, parameter_count: 100}",
        "s.yaml: parameter_count: given 100; unreachable within 10 % by mlp on data of shape (1, 8, 8): "
        "nearest are 85 (width 1) and 160 (width 2)",
    ),
    "width and parameter_count": (
        "name: x\nfixed: {width: 8}\ngrid: {parameter_count: [1000]}",
        "s.yaml: parameter_count: given 1000 together with width 8; give one of the two",
    ),
    "cosine with epochs 0": (
        "name: x\ngrid: {lr_schedule: [constant, cosine], epochs: [0, 1]}",
        "s.yaml: epochs: given 0 with lr_schedule cosine, which needs at least 1",
    ),
    "unknown data": (
        "name: x\nfixed: {data: digit}",
        "s.yaml: data: given 'digit', which is no data set (did you mean digits?); valid are mnist1d, mnist1d_16k, "
        "digits, clusters, parquet:PATH, hub:NAME, package.module:function",
    ),
    "missing parquet": ("name: x\nfixed: {data: 'parquet:/nowhere.parquet'}", "s.yaml: data: "),
    "unknown model": (
        "name: x\nfixed: {model: mpl}",
        "s.yaml: model: given 'mpl'; did you mean 'mlp'? valid: linear, mlp, residual_mlp, convnet, resnet, "
        "transformer or package.module:function",
    ),
    "augmentation that the data cannot have": ("name: x\nfixed: {rotation: 10}", "s.yaml: rotation: given 10"),
    "a width that the model has not": (
        "name: x\nfixed: {model: linear, width: 3}",
        "s.yaml: width: given 3 for linear, which has no width; leave it out",
    ),
    "nothing left": (
        "name: x\ngrid: {seed: [1]}\nexclude: [{seed: 1}]",
        "s.yaml: exclude: leaves no point of the grid",
    ),
    "too many": (
        "name: x\ngrid:\n" + "".join(f"  {axis}: {[*range(1, 60)]}\n" for axis in ("seed", "epochs", "width", "depth")),
        "s.yaml: grid: has 12,117,361 cells; at most 5,000,000 are allowed",
    ),
}  # fmt: skip


REFUSED |= {
    "a full variant that is no mapping": (
        "name: x\nfull: [1]",
        "s.yaml: full: given [1]; valid: a mapping with some of fixed, grid, evaluate, measure, "
        "early_stopping, stop_when",
    ),
    "an empty full variant": (
        "name: x\nfull: {}",
        "s.yaml: full: given {}; valid: a mapping with some of fixed, grid, evaluate, measure, "
        "early_stopping, stop_when",
    ),
    "a key that a full variant has not": (
        "name: x\nfull: {figures: []}",
        "s.yaml: full.figures: unknown key; given 'figures'; valid: early_stopping, "
        "evaluate, fixed, grid, measure, stop_when",
    ),
    "an unknown field of a full variant": (
        "name: x\nfull: {grid: [{seed: [0]}, {sead: [0]}]}",
        f"s.yaml: full.grid[1].sead: unknown field; given 'sead'; did you mean seed? valid: {ALL_FIELDS}",
    ),
    "a wrong value of a full variant": (
        "name: x\nfull: {fixed: {dropout: 2}}",
        "s.yaml: full.fixed.dropout: given 2; valid: a number of at least 0 and below 1",
    ),
    "fixed of a full variant that is no mapping": (
        "name: x\nfull: {fixed: 3}",
        "s.yaml: full.fixed: given 3; valid: a mapping from field names",
    ),
    "fixed in a full variant and an axis of the small one": (
        "name: x\ngrid: {width: [1, 2]}\nfull: {fixed: {width: 3}}",
        "s.yaml: full.fixed.width: is an axis of the grid as well; give it in one place",
    ),
    "a measure of a full variant": (
        "name: x\nfull: {measure: [forgeting]}",
        f"s.yaml: full.measure[0]: unknown measure; given 'forgeting'; did you mean forgetting? valid: {MEASURES}",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_is_refused(text, message):
    with pytest.raises(SweepError) as caught:
        parse_sweep(text, "s.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "message"), REFUSED_BY_THE_POINTS.values(), ids=REFUSED_BY_THE_POINTS)
def test_a_file_is_refused_for_what_its_fields_mean_together(text, message):
    sweep = parse_sweep(text, "s.yaml")
    with pytest.raises(SweepError) as caught:
        Plan.of(sweep)
    if message.endswith((": ", "given 10")):
        assert str(caught.value).startswith(message)
    else:
        assert str(caught.value) == message


def test_a_file_nested_beyond_reason_is_refused():
    with pytest.raises(SweepError, match=r"^s\.yaml: not valid YAML: "):
        parse_sweep("[" * 3000, "s.yaml")


keys = st.sampled_from(["seed", "width", "x", "kind"])
yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(yaml_values, st.sampled_from(["name", "question", "fixed", "grid", "exclude", "evaluate", "figures"]))
def test_whatever_a_key_holds_it_is_parsed_or_refused_by_name(value, key):
    text = yaml.safe_dump({"name": "x", **{key: value}})
    try:
        said = parse_sweep(text, "s.yaml").name
    except SweepError as error:
        said = str(error)
    assert said.startswith(f"s.yaml: {key}") or said == (value if key == "name" else "x")


class TestLoad:
    def test_an_unknown_preset(self):
        with pytest.raises(SweepError) as caught:
            load_sweep("quickstrat")
        assert str(caught.value) == (
            f"quickstrat: is neither a preset nor a file; given 'quickstrat'; did you mean quickstart? "
            f"valid: {', '.join(preset_names())}"
        )

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
        with pytest.raises(SweepError, match=r"s\.yaml: cannot be read: 'utf-8' codec can't decode byte 0xff"):
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
        check_figures(sweep)

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
        with pytest.raises(SweepError, match=r"quickstrat-full: is neither a preset nor a file; .*mean quickstart\?"):
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
            ("seed=-1", "--set seed=-1: seed: given -1; valid: a whole number of at least 0"),
            ("seed=", "--set seed=: seed: given None; valid: a whole number of at least 0"),
            ("seed=[]", "--set seed=[]: seed: is an empty axis; valid: a list of at least one value"),
            ("seed=[1, 1.0]", "--set seed=[1, 1.0]: seed: given [1, 1.0], which repeats a value"),
            ("dropout=[0, 2]", "--set dropout=[0, 2]: dropout: given 2; valid: a number of at least 0 and below 1"),
            ("sed=1", f"--set sed=1: sed: unknown field; given 'sed'; did you mean seed? valid: {ALL_FIELDS}"),
            ("sed=[1]", f"--set sed=[1]: sed: unknown field; given 'sed'; did you mean seed? valid: {ALL_FIELDS}"),
            ("=1", f"--set =1: unknown field; given ''; valid: {ALL_FIELDS}"),
            ("seed=[1", "--set seed=[1: seed: given '[1', which is not a YAML value"),
            ("seed=2001-99-99", "--set seed=2001-99-99: seed: given '2001-99-99', which is not a YAML value"),
        ],
    )
    def test_refused(self, setting, message):
        with pytest.raises(SweepError) as caught:
            override(self.SWEEP, [setting])
        assert str(caught.value) == message

    def test_every_field_but_the_digest_can_be_set(self):
        assert set(SETTABLE) == set(FIELDS) - {"data_digest", "model_digest"}
        for name in SETTABLE:
            if "null" in valid_values(name):
                assert override(self.SWEEP, [f"{name}=null"]).fixed[name] is None


class TestFigures:
    @pytest.mark.parametrize(
        ("figure", "message"),
        [
            (
                "{kind: heatmap, x: sed, y: epochs, value: test_loss}",
                "figures[0].x: unknown name; given 'sed'; did you mean seed?",
            ),
            (
                "{kind: heatmap, x: seed, y: test_loss, value: test_loss}",
                "figures[0].y: unknown name; given 'test_loss'",
            ),
            ("{kind: heatmap, x: seed, y: epochs, value: epochs}", "figures[0].value: unknown name; given 'epochs'"),
            ("{kind: lines, x: seed, y: [test_error, lost]}", "figures[0].y: unknown name; given 'lost'"),
            (
                "{kind: lines, x: seed, y: test_acuracy}",
                "figures[0].y: unknown name; given 'test_acuracy'; did you mean test_accuracy?",
            ),
            ("{kind: curves, hue: colour}", "figures[0].hue: unknown name; given 'colour'"),
            ("{kind: curves, facet: [seed, facet]}", "figures[0].facet: unknown name; given 'facet'"),
            ("{kind: curves, where: {sead: 1}}", "figures[0].where: unknown name; given 'sead'; did you mean seed?"),
            (
                "{kind: heatmap, x: seed, y: epochs, value: test_loss, annotate: all}",
                "figures[0].annotate: unknown name; given 'all'",
            ),
            ("{kind: pie}", "figures[0].kind: given pie"),
            ("{kind: heatmap, x: seed}", "figures[0]: heatmap without y, value"),
            ("{kind: curves, colour: seed}", "figures[0]: given colour"),
            ("{kind: curves, y: [train_acuracy]}", "figures[0].y: unknown name; given 'train_acuracy'"),
            ("{kind: regimes, x: seed, y: test_loss}", "figures[0].y: unknown name; given 'test_loss'"),
            ("{kind: regimes, x: seed, y: epochs, rule: doshi}", "figures[0].rule: unknown name; given 'doshi'"),
            ("{kind: scores, value: test_loss}", "figures[0].value: unknown name; given 'test_loss'"),
            ("{kind: scores, value: memorization, hue: sead}", "figures[0].hue: unknown name; given 'sead'"),
            ("{kind: frontier, x: width, y: test_loss, over: dropout}", "figures[0].x: unknown name; given 'width'"),
            ("{kind: frontier, x: test_loss, y: width, over: dropout}", "figures[0].y: unknown name; given 'width'"),
            (
                "{kind: frontier, x: test_loss, y: train_loss, over: [dropuot]}",
                "figures[0].over: unknown name; given 'dropuot'; did you mean dropout?",
            ),
            (
                "{kind: frontier, x: test_loss, y: train_loss, over: [dropout], y_where: {sead: 1}}",
                "figures[0].y_where: unknown name; given 'sead'",
            ),
            ("{kind: emc, x: dropout}", "figures[0].x: unknown name; given 'dropout'"),
            ("{kind: emc, x: width, hue: dataset_size}", "figures[0].hue: unknown name; given 'dataset_size'"),
        ],
    )
    def test_what_no_data_could_draw_is_refused(self, figure, message):
        sweep = parse_sweep(f"name: x\nfigures: [{figure}]", "s.yaml")
        with pytest.raises(MemsweepError) as caught:
            check_figures(sweep)
        assert str(caught.value).startswith(f"s.yaml: {message}")

    def test_every_kind_is_accepted(self):
        check_figures(parse_sweep(
            "name: x\nfigures:\n"
            "- {kind: heatmap, x: epoch, y: parameters, value: test_error, facet: [model, data], annotate: n}\n"
            "- {kind: lines, x: width, y: [test_error, train_error], hue: label_noise, where: {epochs: 3}}\n"
            "- {kind: lines, x: width, y: test_error}\n"
            "- {kind: curves}\n"
            "- {kind: curves, y: [train_accuracy, critical_sample_ratio], hue: randomization}\n"
            "- {kind: regimes, x: width, y: epoch, facet: label_noise, rule: liu2022}\n"
            "- {kind: spread, hue: randomization, epoch: 1}\n"
            "- {kind: scores, value: forgetting_events, hue: label_noise}\n"
            "- {kind: frontier, x: train_accuracy, y: best_validation_accuracy, over: [dropout, weight_decay],"
            " x_where: {label_noise: 1}, y_where: {label_noise: 0}}\n"
            "- {kind: bits, hue: depth}\n"
            "- {kind: emc, x: width, hue: dropout}\n",
            "s.yaml",
        ))  # fmt: skip
