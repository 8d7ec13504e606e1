"""Tests of the error messages for invalid sweep files."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.settings import FIELDS
from sweeps.errors import SweepError
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep

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
        "s.yaml: fixed.data_digest: is filled in by memsweep and cannot be set; leave it out",
    ),
    "unknown key": (
        "name: x\ngrids: {}",
        f"s.yaml: grids: unknown key; given 'grids'; did you mean grid? valid: {ALL_KEYS}",
    ),
    "key that is no text": ("name: x\n7: {}", f"s.yaml: 7: unknown key; given '7'; valid: {ALL_KEYS}"),
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
        "s.yaml: fixed.learning_rate: given '0.1'; valid: a number above 0 and at most 1,000,000",
    ),
    "yes for a number": (
        "name: x\nfixed: {seed: yes}",
        "s.yaml: fixed.seed: given 'yes'; valid: a whole number of at least 0 and below 2^63",
    ),
    "infinity": (
        "name: x\nfixed: {weight_decay: .inf}",
        "s.yaml: fixed.weight_decay: given .inf; valid: a number of at least 0 and at most 1,000,000",
    ),
    "not a number": (
        "name: x\nfixed: {weight_decay: .nan}",
        "s.yaml: fixed.weight_decay: given .nan; valid: a number of at least 0 and at most 1,000,000",
    ),
    "a number that no machine holds": (
        "name: x\nfixed: {batch_size: 100000000000000000000}",
        "s.yaml: fixed.batch_size: given 100000000000000000000; valid: a whole number of at least 1 and at most "
        "1,000,000,000",
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
        "s.yaml: fixed.seed: given {'a': 1}; valid: a whole number of at least 0 and below 2^63",
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
        "s.yaml: grid[1].seed: given -1; valid: a whole number of at least 0 and below 2^63",
    ),
    "no name": (
        "grid: {seed: [1]}",
        "s.yaml: name: given null; valid: text of at most 100 letters, digits, '.', '_' and '-', a letter or digit "
        "first",
    ),
    "name that is hidden": (
        "name: .x",
        "s.yaml: name: given '.x'; valid: text of at most 100 letters, digits, '.', '_' and '-', a letter or digit "
        "first",
    ),
    "name that is a path": (
        "name: a/b",
        "s.yaml: name: given 'a/b'; valid: text of at most 100 letters, digits, '.', '_' and '-', a letter or digit "
        "first",
    ),
    "numbers that fall": (
        "name: x\ngrid: {seed: 9..3}",
        "s.yaml: grid.seed: given 9..3; valid: FIRST..LAST, rising, of at most 1,000,000 numbers",
    ),
    "too many numbers": (
        "name: x\ngrid: {seed: 0..99999999}",
        "s.yaml: grid.seed: given 0..99999999; valid: FIRST..LAST, rising, of at most 1,000,000 numbers",
    ),
    "a number of more digits than Python converts": (
        f"name: x\ngrid: {{seed: 0..{'9' * 4000}}}",
        f"s.yaml: grid.seed: given 0..{'9' * 55}...{'9' * 58}; valid: FIRST..LAST, rising, of at most 1,000,000 "
        "numbers",
    ),
    "more layers than any network": (
        "name: x\nfixed: {depth: 1000000000}",
        "s.yaml: fixed.depth: given 1000000000; valid: a whole number of at least 1 and at most 1,000 or null",
    ),
    "a long value": (
        f"name: x\nfixed: {{optimizer: {'x' * 4000}}}",
        f"s.yaml: fixed.optimizer: given '{'x' * 47}...{'x' * 48}'; valid: sgd, adamw",
    ),
    "many values": (
        f"name: x\nfixed: {{seed: {[*range(1000)]}}}",
        "s.yaml: fixed.seed: given [0, 1, 2, 3, 4, 5, 6, 7, ...]; valid: a whole number of at least 0 and below 2^63",
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
        "s.yaml: measure[0].forgetting: given []; valid: a list of epochs, each 0 to 2,147,483,647",
    ),
    "measure at half an epoch": (
        "name: x\nmeasure: [{forgetting: [1, 2.5]}]",
        "s.yaml: measure[0].forgetting: given [1, 2.5]; valid: a list of epochs, each 0 to 2,147,483,647",
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
    "not YAML": (
        "name: x\nname: y",
        "s.yaml: not valid YAML: line 2, column 1: key 'name' is given twice",
    ),
    "a date that is no name": (
        "question: 2020-13-45\nname: [2020-13-45]",
        "s.yaml: name: given ['2020-13-45']; valid: text of at most 100 letters, digits, '.', '_' and '-', a letter or "
        "digit first",
    ),
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
        "s.yaml: evaluate: given 'linear'; valid: log, every, or a number of epochs of 1 to 2,147,483,647",
    ),
    "evaluate 0": (
        "name: x\nevaluate: 0",
        "s.yaml: evaluate: given 0; valid: log, every, or a number of epochs of 1 to 2,147,483,647",
    ),
    "evaluate yes": (
        "name: x\nevaluate: yes",
        "s.yaml: evaluate: given 'yes'; valid: log, every, or a number of epochs of 1 to 2,147,483,647",
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
        "s.yaml: data: given 'digit'; did you mean digits? valid: mnist1d, mnist1d_16k, "
        "digits, clusters, parquet:PATH, hub:NAME, package.module:function",
    ),
    "missing parquet": ("name: x\nfixed: {data: 'parquet:/nowhere.parquet'}", "s.yaml: data: "),
    "unknown model": (
        "name: x\nfixed: {model: mpl}",
        "s.yaml: model: given 'mpl'; did you mean mlp? valid: linear, mlp, residual_mlp, convnet, resnet, "
        "transformer, package.module:function",
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
    "a measure after the last epoch": (
        "name: x\nfixed: {epochs: 2}\nmeasure: [{forgetting: [1, 100]}]",
        "s.yaml: measure[0].forgetting: given epoch 100, beyond the horizon of 2 epochs; valid: 0 to 2",
    ),
    "a measure after the last epoch that is not excluded": (
        "name: x\ngrid: {epochs: [2, 100]}\nexclude: [{epochs: 100}]\nmeasure: [forgetting, {cumulative_loss: [3]}]",
        "s.yaml: measure[1].cumulative_loss: given epoch 3, beyond the horizon of 2 epochs; valid: 0 to 2",
    ),
    "too many": (
        "name: x\ngrid:\n" + "".join(f"  {axis}: {[*range(1, 60)]}\n" for axis in ("seed", "epochs", "width", "depth")),
        "s.yaml: grid: has 12,117,361 cells; at most 250,000 are allowed: split it into sweeps, which can share a "
        "store",
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
