"""Trainings in a store whose code or data have changed since, so that their points count as missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lightning_modules.data import sources
from lightning_modules.hashing import hash_of_text
from lightning_modules.models import families
from lightning_modules.settings import DEFAULTS
from sweeps.planning.plan import Cell, Plan, resolved
from sweeps.spec.point import Point, training_form
from sweeps.spec.sweep import Sweep

MOST_VERSIONS = 8
"""The newest versions that are compared, since every version takes an id per missing training."""

_IDENTITY = ("data", "data_digest", "model", "model_digest")


@dataclass(frozen=True)
class _Version:
    """The data and the model of some trainings in the store."""

    data: str
    data_digest: str
    model: str
    model_digest: str
    code: str | None

    def of(self, cell: Cell) -> str | None:
        """Return the id of the training of a cell with this version, or None if the cell has other data or models."""
        point = cell.point
        if (point.data, point.model) != (self.data, self.model) or self._is(point):
            return None
        older = resolved(point).with_(data_digest=self.data_digest, model_digest=self.model_digest)
        return hash_of_text(training_form(older))

    def words(self, point: Point) -> str:
        """Say in which way this version differs from that of a point."""
        differences = []
        if self.model_digest != point.model_digest:
            before = json.loads(self.code) if self.code else {}
            now = families.files(self.model)
            changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name)) if before else []
            since = f" ({', '.join(changed)} changed since)" if changed else ""
            differences.append(f"another version of {self.model}{since}")
        if self.data_digest != point.data_digest:
            differences.append(f"other data of {self.data}")
        return " and ".join(differences)

    def _is(self, point: Point) -> bool:
        return (point.data_digest, point.model_digest) == (self.data_digest, self.model_digest)


def columns(sweep: Sweep) -> tuple[str, ...]:
    """Return the columns of a store that `superseded` needs: none if the sweep has only data and models of memsweep."""
    own = {"model": families.BUILT_IN, "data": {name for name, source in sources.BUILT_IN.items() if not source.digest}}
    for name, ours in own.items():
        values = [value for axes in (*sweep.grids, {name: (sweep.fixed.get(name, DEFAULTS[name]),)})
                  for value in axes.get(name, ())]  # fmt: skip
        if {*values} - {*ours}:
            return *_IDENTITY, "code", "finished_at"
    return ()


def superseded(plan: Plan, table: pa.Table) -> list[str]:
    """Say how many missing trainings are in the store under other code or data, in one sentence per difference.

    Args:
        table: rows of the store; without `columns`, nothing is said.
    """
    if "code" not in table.column_names or not plan.missing:
        return []
    missing = [*{cell.trajectory_id: cell for cell in reversed(plan.missing)}.values()]
    stored: frozenset[str] | None = None
    counts: dict[str, int] = {}
    counted: set[str] = set()
    for version in _versions(table, missing):
        if stored is None:
            stored = frozenset(pc.unique(table["trajectory_id"].cast(pa.string())).to_pylist())
        for cell in missing:
            if cell.trajectory_id not in counted and version.of(cell) in stored:
                counted.add(cell.trajectory_id)
                words = version.words(cell.point)
                counts[words] = counts.get(words, 0) + 1
    return [_sentence(number, words) for words, number in counts.items()]


def _sentence(number: int, words: str) -> str:
    start = "1 training in the store was" if number == 1 else f"{number:,} trainings in the store were"
    return f"{start} made with {words}: {'it is' if number == 1 else 'they are'} trained anew"


def _versions(table: pa.Table, missing: Sequence[Cell]) -> Iterable[_Version]:
    """Return the versions of the missing cells' data and models in the store, the newest first."""
    now = {tuple(getattr(cell.point, name) for name in _IDENTITY) for cell in missing}
    asked = {(data, model) for data, _, model, _ in now}
    plain = [table[name].cast(pa.string()) for name in (*_IDENTITY, "code")]
    groups = pa.table([*plain, table["finished_at"]], names=[*_IDENTITY, "code", "finished_at"])
    groups = groups.group_by([*_IDENTITY, "code"]).aggregate([("finished_at", "max")])
    groups = groups.sort_by([("finished_at_max", "descending")])

    def older() -> Iterator[_Version]:
        for row in groups.select([*_IDENTITY, "code"]).to_pylist():
            if (row["data"], row["model"]) in asked and tuple(row[name] for name in _IDENTITY) not in now:
                yield _Version(**row)

    return [version for version, _ in zip(older(), range(MOST_VERSIONS), strict=False)]
