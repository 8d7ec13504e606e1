"""Strict parser of sweep files (YAML -> Sweep). Each error is one sentence that names the file and the key."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lightning_modules.errors import LONGEST_VALUE, choices, quoted, shortened
from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from lightning_modules.settings import FIELDS
from sweeps.errors import SweepError
from sweeps.spec import stopping_file as early_stopping
from sweeps.spec.evaluation import Evaluation, Measurement
from sweeps.spec.point import valid_values, validate_value
from sweeps.spec.sweep import MAX_EPOCH, Sweep
from sweeps.spec.sweep_source import FULL, folder_of, read_text, split_full
from sweeps.spec.yaml_dialect import InvalidYaml, parse_yaml

TOP_LEVEL = ("name", "question", "fixed", "grid", "exclude", "evaluate", "measure", "early_stopping", "stop_when",
             "figures", "full")  # fmt: skip
VARIED = ("fixed", "grid", "evaluate", "measure", "early_stopping", "stop_when")
"""The keys that a full variant may change."""
LONGEST_RANGE = 999_999
LONGEST_NAME = 100
PATHS = frozenset({"hub", "parquet"})
"""The sources of data whose argument can be a path."""


def settable() -> tuple[str, ...]:
    """Return the fields that a sweep can set: all fields except the digests, which memsweep fills in."""
    return tuple(name for name in FIELDS if not name.endswith("_digest"))


def load_sweep(name: str, settings: Mapping[str, Any] | Sequence[str] = ()) -> Sweep:
    """Load the preset with this name or the YAML file at this path, and apply settings to it (see `override`).

    `NAME-full` loads the full variant of the preset or file, to which the changes under the key `full` are applied. A
    path of data is relative to the folder of the sweep file or, if nothing is there, to the working folder.

    Raises:
        SweepError: If the sweep is not valid. The error names the file, the key, the given and the valid values.
    """
    text, (stem, full) = read_text(name), split_full(name)
    sweep = parse_sweep(text, stem)
    if full and sweep.full is None:
        raise SweepError(name, "", f"{stem} has no full variant; a sweep file gives one under the key full")
    sweep = override(sweep.full if full and sweep.full else sweep, settings)
    folder = folder_of(name)
    return sweep if folder is None or folder.resolve() == Path.cwd() else _with_data_in(folder, sweep)


def _with_data_in(folder: Path, sweep: Sweep) -> Sweep:
    """Write the paths of data that lie in a folder relative to the working folder."""

    def found(value: Any) -> Any:
        source, colon, path = str(value).partition(":")
        inside = folder / path
        is_path = colon and source in PATHS and path
        is_missing = source == "parquet" and not os.path.exists(os.path.expanduser(path))
        return f"{source}:{inside}" if is_path and (is_missing or os.path.exists(inside)) else value

    def located(axes: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        return {name: tuple(map(found, values)) if name == "data" else values for name, values in axes.items()}

    return replace(
        sweep,
        fixed={name: found(value) if name == "data" else value for name, value in sweep.fixed.items()},
        grids=tuple(map(located, sweep.grids)),
        exclude=tuple(map(located, sweep.exclude)),
        full=sweep.full and _with_data_in(folder, sweep.full),
    )


def parse_sweep(text: str, source: str) -> Sweep:
    """Parse YAML into a sweep, with its full variant in `full`. Raises SweepError, whose text begins with `source`."""
    try:
        content = parse_yaml(text)
    except InvalidYaml as error:
        raise SweepError(source, "", f"not valid YAML: {error}") from None
    return sweep_of(content, source)


def sweep_of(content: object, source: str) -> Sweep:
    """Convert the parsed content of a sweep file to a sweep, as `parse_sweep` does for YAML text."""
    if not isinstance(content, dict):
        raise SweepError(source, "", f"must be a mapping with the keys {', '.join(TOP_LEVEL)}")
    for key in content:
        if key not in TOP_LEVEL:
            raise SweepError(source, str(key), f"unknown key; {choices(key, TOP_LEVEL)}")
    small = _sweep(content, source)
    if "full" not in content:
        return small
    return replace(small, full=_sweep(_full(content, source), source, "full."))


def _full(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the content of the full variant: `fixed` is merged key by key, and the other keys are replaced."""
    changes = content["full"]
    if not isinstance(changes, dict) or not changes:
        raise SweepError(source, "full", f"given {quoted(changes)}; valid: a mapping with some of {', '.join(VARIED)}")
    for key in changes:
        if key not in VARIED:
            raise SweepError(source, f"full.{key}", f"unknown key; {choices(key, VARIED)}")
    fixed = _mapping(source, "full.fixed", changes.get("fixed", {}))
    return {**content, **changes, "name": f"{content['name']}{FULL}", "fixed": {**content.get("fixed", {}), **fixed}}


def _sweep(content: Mapping[str, Any], source: str, within: str = "") -> Sweep:
    """Parse the content, and prefix the key of an error with `within`, such as `full.` for the full variant."""
    try:
        return _parsed(content, source)
    except SweepError as error:
        raise SweepError(error.source, f"{within}{error.key}", error.problem) from None


def _parsed(content: Mapping[str, Any], source: str) -> Sweep:
    name = content.get("name")
    if not isinstance(name, str) or not re.fullmatch(rf"\w[\w.-]{{0,{LONGEST_NAME - 1}}}", name):
        valid = f"text of at most {LONGEST_NAME} letters, digits, '.', '_' and '-', a letter or digit first"
        raise SweepError(source, "name", f"given {quoted(name)}; valid: {valid}")
    question = content.get("question", "")
    if not isinstance(question, str):
        raise SweepError(source, "question", f"given {quoted(question)}; valid: text")
    fixed = _settings(source, "fixed", content.get("fixed", {}))
    raw = content.get("grid", {})
    items = raw if isinstance(raw, list) else [raw]
    if not items:
        raise SweepError(source, "grid", "given []; valid: a mapping of axes, or a list of such mappings")
    grids = tuple(_axes(source, f"grid[{i}]" if isinstance(raw, list) else "grid", g) for i, g in enumerate(items))
    for grid in grids:
        for name_in_both in fixed.keys() & grid.keys():
            raise SweepError(source, f"fixed.{name_in_both}", "is an axis of the grid as well; give it in one place")
    rules = content.get("exclude", [])
    if not isinstance(rules, list):
        raise SweepError(
            source, "exclude", f"given {quoted(rules)}; valid: a list of mappings from field to value or values"
        )
    exclude = tuple(_axes(source, f"exclude[{i}]", rule, scalars=True) for i, rule in enumerate(rules))
    if any(not rule for rule in exclude):
        raise SweepError(source, "exclude", "has an empty rule, which would exclude every point")
    return Sweep(
        name=name,
        question=" ".join(question.split()),
        fixed=fixed,
        grids=grids,
        exclude=exclude,
        evaluation=_evaluation(source, content.get("evaluate", "log")),
        measurement=_measurement(source, content.get("measure", [])),
        early_stopping=early_stopping.parse(source, content),
        figures=_figures(source, content.get("figures", [])),
        source=source,
    )


def override(sweep: Sweep, settings: Mapping[str, Any] | Sequence[str]) -> Sweep:
    """Replace fields of a sweep: a value is fixed in all grids, and a list becomes an axis of all grids.

    Shorter trainings leave out the measures of later epochs.

    Args:
        settings: a mapping from fields to values, or strings `FIELD=VALUE` as given to `--set`.
    """
    if isinstance(settings, Mapping):
        changes = [("settings", name, value) for name, value in settings.items()]
    else:
        changes = [(f"--set {text}", *_split_setting(text)) for text in settings]
    for source, name, value in changes:
        value = _expand_range(source, name, value)
        if isinstance(value, list):
            axis = _axes(source, "", {name: value})
            fixed = {key: old for key, old in sweep.fixed.items() if key != name}
            grids = tuple({**grid, **axis} for grid in sweep.grids)
        else:
            fixed = {**sweep.fixed, **_settings(source, "", {name: value})}
            grids = tuple({key: old for key, old in grid.items() if key != name} for grid in sweep.grids)
        sweep = replace(sweep, fixed=fixed, grids=grids)
        if name == "epochs":
            sweep = replace(sweep, measurement=sweep.measurement.up_to(sweep.horizon))
    return sweep


def _split_setting(setting: str) -> tuple[str, Any]:
    """Split `FIELD=VALUE` into the field and the parsed value."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise SweepError(f"--set {setting}", "", "must have the form FIELD=VALUE")
    try:
        return name, parse_yaml(text)
    except InvalidYaml as error:
        problem = f"given {quoted(text)}, which is not a YAML value: {error}"
        raise SweepError(f"--set {setting}", name, problem) from None


def _mapping(source: str, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SweepError(source, key, f"given {quoted(value)}; valid: a mapping from field names")
    return value


def _settings(source: str, key: str, value: Any) -> dict[str, Any]:
    settings = {}
    for name, given in _mapping(source, key, value).items():
        where = f"{key}.{name}" if key else str(name)
        _check_field(source, where, name)
        settings[name] = _value(source, where, name, given)
    return settings


def _axes(source: str, key: str, value: Any, scalars: bool = False) -> dict[str, tuple[Any, ...]]:
    axes = {}
    for name, options in _mapping(source, key, value).items():
        where = f"{key}.{name}" if key else str(name)
        _check_field(source, where, name)
        options = _expand_range(source, where, options)
        if scalars and not isinstance(options, list):
            options = [options]
        if not isinstance(options, list):
            valid = "a list of values or FIRST..LAST (one value goes to `fixed`)"
            raise SweepError(source, where, f"given {quoted(options)}; valid: {valid}")
        if not options:
            raise SweepError(source, where, "is an empty axis; valid: a list of at least one value")
        values = [_value(source, where, name, option) for option in options]
        if len(set(values)) < len(values):
            raise SweepError(source, where, f"given {quoted(options)}, which repeats a value")
        axes[name] = tuple(values)
    return axes


def _expand_range(source: str, where: str, options: Any) -> Any:
    """Convert `0..99` to the list of these integers, both ends included; return anything else unchanged."""
    ends = re.fullmatch(r"([0-9]+)\.\.([0-9]+)", options) if isinstance(options, str) else None
    if not ends:
        return options
    first, last = (int(end) if len(end) < 20 else 0 for end in ends.groups())  # 0..0 is refused below
    if not first < last <= first + LONGEST_RANGE:
        valid = f"FIRST..LAST, rising, of at most {LONGEST_RANGE + 1:,} numbers"
        raise SweepError(source, where, f"given {shortened(options, LONGEST_VALUE)}; valid: {valid}")
    return list(range(first, last + 1))


def _check_field(source: str, where: str, name: object) -> None:
    if name in FIELDS and name not in settable():
        raise SweepError(source, where, "is filled in by memsweep and cannot be set; leave it out")
    if name not in settable():
        raise SweepError(source, where, f"unknown field; {choices(name, settable())}")


def _value(source: str, where: str, name: str, value: Any) -> Any:
    """Convert the value of a field, whose name is valid, to the type of the field."""
    try:
        return validate_value(name, value)
    except ValidationError:
        raise SweepError(source, where, f"given {quoted(value)}; valid: {valid_values(name)}") from None


def _evaluation(source: str, value: Any) -> Evaluation:
    if value == "log":
        return Evaluation()
    if value == "every":
        return Evaluation(every=1)
    if type(value) is int and 1 <= value <= MAX_EPOCH:
        return Evaluation(every=value)
    valid = f"log, every, or a number of epochs of 1 to {MAX_EPOCH:,}"
    raise SweepError(source, "evaluate", f"given {quoted(value)}; valid: {valid}")


def _measurement(source: str, value: Any) -> Measurement:
    """Parse `measure: [a, {b: [1, 20]}]`, which requests `a` at the grid's epochs and `b` at epochs 1 and 20."""
    if not isinstance(value, list):
        problem = f"given {quoted(value)}; valid: a list of measures, or of {{measure: epochs}}"
        raise SweepError(source, "measure", problem)
    epochs: dict[str, tuple[int, ...] | None] = {}
    for index, item in enumerate(value):
        where = f"measure[{index}]"
        single = isinstance(item, dict) and len(item) == 1
        name, at = next(iter(item.items())) if single else (item, None)
        if not isinstance(name, str) or name not in MEASURES_ON_DEMAND:
            raise SweepError(source, where, f"unknown measure; {choices(name, MEASURES_ON_DEMAND)}")
        if name in epochs:
            raise SweepError(source, where, f"asks for {name} a second time; give all its epochs in one list")
        epochs[name] = None
        if single:
            if not (
                isinstance(at, list) and at and all(type(epoch) is int and 0 <= epoch <= MAX_EPOCH for epoch in at)
            ):
                valid = f"a list of epochs, each 0 to {MAX_EPOCH:,}"
                raise SweepError(source, f"{where}.{name}", f"given {quoted(at)}; valid: {valid}")
            epochs[name] = tuple(sorted(set(at)))
    return Measurement(epochs)


def _figures(source: str, value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not all(isinstance(figure, dict) for figure in value):
        problem = f"given {quoted(value)}; valid: a list of mappings with kind, x, y, value, ..."
        raise SweepError(source, "figures", problem)
    return tuple(value)
