"""Sweeps: named grids of points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from lightning_modules.data import applicability, sources
from lightning_modules.data.dataset import Facts
from lightning_modules.data.split_sizes import split_sizes
from lightning_modules.errors import InputError
from lightning_modules.measures import catalogue
from lightning_modules.models import families
from lightning_modules.settings import DEFAULTS
from sweeps.errors import SweepError
from sweeps.spec import stopping_file as reading_of_stopping
from sweeps.spec.evaluation import Evaluation, Measurement
from sweeps.spec.point import Point, contradiction
from sweeps.spec.stopping import EarlyStopping
from sweeps.spec.yaml_dialect import Dumper

MAX_POINTS = 250_000
"""The maximum number of cells, which take 9 s to plan and half a gigabyte of memory."""
MAX_EPOCH = 2**31 - 1
MAX_EVALUATIONS = 100_000
"""The maximum number of evaluations per training, and thus of rows in its learning curve."""


Axes = Mapping[str, tuple[Any, ...]]


def followed(name: str) -> tuple[str, ...]:
    """Return the fields that determine an automatically filled-in field, or () for any other field."""
    sources_of = {
        "data_digest": ("data",), "dataset_size": ("data", *sources.all_fields_read()), "model_digest": ("model",),
    }  # fmt: skip
    return sources_of.get(name, ())


@dataclass(frozen=True)
class Sweep:
    """A named grid: the union of one or more products of axes, with fixed fields, minus the excluded points."""

    name: str
    question: str
    fixed: Mapping[str, Any]
    grids: tuple[Axes, ...]
    exclude: tuple[Axes, ...] = ()
    evaluation: Evaluation = field(default_factory=Evaluation)
    measurement: Measurement = field(default_factory=Measurement)
    early_stopping: EarlyStopping | None = None
    figures: tuple[Mapping[str, Any], ...] = ()
    full: Sweep | None = None
    """The full variant: the same study at the size used in its paper, if the file defines it."""
    source: str = field(default="", compare=False)

    @property
    def axes(self) -> tuple[str, ...]:
        """The fields that take more than one value, in the order of the file."""
        values: dict[str, set[Any]] = {}
        for grid in self.grids:
            for name, options in grid.items():
                values.setdefault(name, set()).update(options)
        for name in values:
            if any(name not in grid for grid in self.grids):
                values[name].add(self.fixed.get(name, DEFAULTS[name]))
        return tuple(name for name, seen in values.items() if len(seen) > 1)

    @property
    def _epochs(self) -> set[int]:
        fixed = (self.fixed.get("epochs", DEFAULTS["epochs"]),)
        return {epoch for grid in self.grids for epoch in grid.get("epochs", fixed)}

    @property
    def horizon(self) -> int:
        """The last epoch of the longest training, ignoring exclusions."""
        return max(self._epochs)

    @property
    def requested_epochs(self) -> frozenset[int]:
        """The epochs of all points and of all on-demand measures."""
        return frozenset({*self._epochs, *self.measurement.at(self._epochs)})

    def size(self) -> int:
        """Return an upper bound on the number of points, ignoring exclusions and overlaps, without creating a point."""
        return sum(math.prod(len(options) for options in grid.values()) for grid in self.grids)

    def points(self) -> list[Point]:
        """Return all points without duplicates, in the order of the file (the last axis varies fastest).

        Raises:
            SweepError: if the grid is too large or empty, if fields contradict each other, or if the data does not
                exist or cannot provide what the sweep needs.
        """
        if self.size() > MAX_POINTS:
            problem = f"has {self.size():,} cells; at most {MAX_POINTS:,} are allowed"
            raise SweepError(self.source, "grid", f"{problem}: split it into sweeps, which can share a store")
        is_excluded, resolve = _rules(self.exclude), self._resolver()
        # Only points of several grids, or of data that may be the same under two names, can be equal.
        distinct = len(self.grids) == 1 and all(
            len(self.grids[0].get(name, ())) < 2 for name in ("data", "dataset_size")
        )
        data_has_seed = "seed" in sources.all_fields_read()
        seen: dict[Any, Point] = {}
        for grid in self.grids:
            names = tuple(grid)
            seed = names.index("seed") if "seed" in names and not data_has_seed else len(names)
            settings: dict[tuple[Any, ...], tuple[Point, Facts]] = {}  # what is valid does not depend on the seed
            checked: set[tuple[Any, ...]] = set()
            for values in itertools.product(*grid.values()):
                setting = (*values[:seed], *values[seed + 1 :])
                if setting not in settings:
                    if seed == len(names):
                        settings.clear()
                        checked.clear()
                    settings[setting] = resolve(dict(zip(names, values, strict=True)))
                point, facts = settings[setting]
                if seed < len(names):
                    point = point.with_(seed=values[seed])
                if is_excluded(point):
                    continue
                if setting not in checked:
                    self._check(point, facts)
                    checked.add(setting)
                seen.setdefault(values if distinct else point.canonical(), point)
        if not seen:
            raise SweepError(self.source, "exclude", "leaves no point of the grid")
        _check_horizon(self.source, max(point.epochs for point in seen.values()), self.measurement)
        if self.early_stopping:
            reading_of_stopping.check(
                self.early_stopping, self.source, seen.values(), self.evaluation, self.measurement
            )
        return list(seen.values())

    def _resolver(self) -> Callable[[dict[str, Any]], tuple[Point, Facts]]:
        """Return a function that completes the fields of a point, and returns the point with the facts of its data."""
        base = Point.model_construct(_fields_set=set(), **{**DEFAULTS, **self.fixed})
        known: dict[sources.Reference, tuple[Facts, str]] = {}
        code: dict[str, str] = {}

        def resolve(fields: dict[str, Any]) -> tuple[Point, Facts]:
            data = fields.get("data", base.data)
            key = data, *(fields.get(name, getattr(base, name)) for name in sources.fields_read(data))
            if key not in known:
                known[key] = _data(self.source, key)
            facts, fields["data_digest"] = known[key]
            model = fields.get("model", base.model)
            if model not in code:
                code[model] = _code(self.source, model)
            fields["model_digest"] = code[model]
            fields["dataset_size"] = fields.get("dataset_size", base.dataset_size) or facts.train_size
            return base.with_(**fields), facts

        return resolve

    def _check(self, point: Point, facts: Facts) -> None:
        _check(self.source, point, facts)
        _check_measures(self.source, point, facts, self.measurement)
        if self.evaluation.every and point.epochs // self.evaluation.every > MAX_EVALUATIONS:
            given = f"{point.epochs:,} epochs every {self.evaluation.every}"
            limit = f"at most {MAX_EVALUATIONS:,} evaluations of a training are allowed"
            raise SweepError(self.source, "evaluate", f"{given}: {limit}")

    def definition(self) -> str:
        """Return the sweep as YAML that parses to the same sweep."""
        grids = [{name: _written(values) for name, values in grid.items()} for grid in self.grids]
        content: dict[str, Any] = {"name": self.name, "question": self.question, "fixed": dict(self.fixed)}
        content["grid"] = grids[0] if len(grids) == 1 else grids
        if self.exclude:
            content["exclude"] = [{name: _written(values) for name, values in rule.items()} for rule in self.exclude]
        if self.evaluation.every:
            content["evaluate"] = self.evaluation.every
        if self.measurement.epochs:
            content["measure"] = [
                name if epochs is None else {name: list(epochs)} for name, epochs in self.measurement.epochs.items()
            ]
        if self.early_stopping:
            content |= self.early_stopping.definition()
        if self.figures:
            content["figures"] = [dict(figure) for figure in self.figures]
        return yaml.dump(
            content, Dumper=Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
        )


def _written(values: tuple[Any, ...]) -> list[Any] | str:
    """Write the values of an axis as a list, or as FIRST..LAST if they are more than 9 consecutive whole numbers."""
    first, count = values[0], len(values)
    is_range = count > 9 and type(first) is int and first >= 0 and values == tuple(range(first, first + count))
    return f"{first}..{first + count - 1}" if is_range else list(values)


def _check_horizon(source: str, horizon: int, measurement: Measurement) -> None:
    """Check that no measure is requested at an epoch that no training reaches."""
    for index, (name, epochs) in enumerate(measurement.epochs.items()):
        if epochs and epochs[-1] > horizon:
            given = f"given epoch {epochs[-1]:,}, beyond the horizon of {horizon:,} epochs"
            raise SweepError(source, f"measure[{index}].{name}", f"{given}; valid: 0 to {horizon:,}")


def _check_measures(source: str, point: Point, facts: Facts, measurement: Measurement) -> None:
    """Check that every on-demand measure can be computed for this training."""
    for epoch, names in measurement.at([point.epochs]).items():
        for name in names:
            try:
                catalogue.check(name, point, facts, epoch)
            except InputError as error:
                raise SweepError(source, f"measure.{name}", f"{error.field}: {error}") from None


def _rules(exclude: Sequence[Axes]) -> Callable[[Point], bool]:
    """Return a function that tells whether a rule excludes a point. It looks at few of the rules, however many."""
    rules = [{name: frozenset(values) for name, values in rule.items()} for rule in exclude]
    index: dict[str, dict[Any, list[dict[str, frozenset[Any]]]]] = {}
    for rule in rules:
        name = min(rule, key=lambda name: len(rule[name]))
        for value in rule[name]:
            index.setdefault(name, {}).setdefault(value, []).append(rule)
    return lambda point: any(
        all(getattr(point, name) in values for name, values in rule.items())
        for name, rules_of in index.items()
        for rule in rules_of.get(getattr(point, name), ())
    )


def _data(source: str, data: sources.Reference) -> tuple[Facts, str]:
    try:
        digest = sources.content_digest(data[0])  # first, since it looks at the files, and facts are kept in memory
        return sources.facts(*data), digest
    except InputError as error:
        raise SweepError(source, error.field, str(error)) from None


def _code(source: str, model: str) -> str:
    try:
        return families.digest(model)
    except InputError as error:
        raise SweepError(source, error.field, str(error)) from None


def _check(source: str, point: Point, facts: Facts) -> None:
    """Check that no fields contradict each other, and that the data provides what the point needs."""
    if problem := contradiction(point):
        raise SweepError(source, *problem)
    try:
        applicability.check_applicable(vars(point), facts.shape)
    except InputError as error:
        raise SweepError(source, error.field, str(error)) from None
    if facts.classes < 2 and point.label_noise and point.label_noise_kind != "uniform":
        given = f"given {point.label_noise_kind} for {point.data}, which has one class; valid: uniform"
        raise SweepError(source, "label_noise_kind", given)
    if point.validation_fraction or point.subset_fraction < 1:
        sizes = split_sizes(point, facts.train_size)
        remaining = sizes.total - sizes.held_out
        if point.validation_fraction and not 0 < sizes.held_out < sizes.total:
            given = f"given {point.validation_fraction} of {sizes.total} examples, which leaves no example on one side"
            raise SweepError(source, "validation_fraction", given)
        if point.subset_fraction < 1 and not 0 < sizes.trained < remaining:
            given = f"given {point.subset_fraction} of {remaining} examples, which leaves none on one side"
            raise SweepError(source, "subset_fraction", given)
    if point.dataset_size and point.dataset_size > facts.train_size:
        given = f"given {point.dataset_size}; {point.data} has {facts.train_size} training examples"
        raise SweepError(source, "dataset_size", given)
