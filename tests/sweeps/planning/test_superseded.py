"""What `plan` says of trainings in the store whose code or data have changed since."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_modules.hashing import hash_of_text
from sweeps.planning.plan import Plan, resolved
from sweeps.planning.superseded import MOST_VERSIONS, columns, superseded
from sweeps.spec.point import training_form
from sweeps.spec.sweep_file import load_sweep, parse_sweep
from sweeps.store.records import Record, table_of

SWEEP = """
name: x
fixed: {data: "old_code_data:make", model: "old_code_model:make"}
grid: {seed: [0, 1, 2], epochs: [1, 2]}
"""
MODEL = """
from torch import nn

def make(shape, classes):
    return nn.Linear(shape[0], classes)
"""
DATA = """
import numpy as np

def make():
    numbers = np.random.default_rng(0).normal(size=(6, 2))
    return numbers[:4], np.arange(4) % 2, numbers[4:], np.arange(2) % 2
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    folder: Path = tmp_path_factory.mktemp("user")
    (folder / "old_code_model.py").write_text(MODEL)
    (folder / "old_code_data.py").write_text(DATA)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield Plan.of(parse_sweep(SWEEP, "x.yaml"))
    del sys.modules["old_code_model"], sys.modules["old_code_data"]


def stored(plan: Plan, make_record, count: int, when: int = 1, code: str | None = None, **digests: str) -> list[Record]:
    """Return records of some trainings of a plan with other digests."""
    records = []
    for training in plan.trainings[:count]:
        point = resolved(training.settings).with_(**digests)
        finished_at = datetime.datetime(2026, 1, when, tzinfo=datetime.UTC)
        fields = {name: value for name, value in vars(point).items() if value is not None}
        trajectory_id = hash_of_text(training_form(point))
        records.append(make_record(trajectory_id, (1,), code=code, finished_at=finished_at, **fields))
    return records


CODE = json.dumps({"old_code_model.py": "another", "gone.py": "any"})


@pytest.mark.parametrize(
    ("digests", "code", "said"),
    [
        ({"model_digest": "m"}, CODE,
         "another version of old_code_model:make (gone.py, old_code_model.py changed since)"),
        ({"model_digest": "m"}, None, "another version of old_code_model:make"),
        ({"data_digest": "d"}, CODE, "other data of old_code_data:make"),
        ({"data_digest": "d", "model_digest": "m"}, None,
         "another version of old_code_model:make and other data of old_code_data:make"),
    ],
)  # fmt: skip
def test_a_sentence_says_how_many_and_what_changed(plan, make_record, digests, code, said) -> None:
    table = table_of(stored(plan, make_record, 2, code=code, **digests))
    assert superseded(plan, table) == [f"2 trainings in the store were made with {said}: they are trained anew"]
    one = table_of(stored(plan, make_record, 1, code=code, **digests))
    assert superseded(plan, one) == [f"1 training in the store was made with {said}: it is trained anew"]


def test_every_training_counts_once_with_its_newest_version(plan, make_record) -> None:
    older = stored(plan, make_record, 3, when=1, model_digest="1")
    newer = stored(plan, make_record, 1, when=2, model_digest="2", code=CODE)
    first, second = superseded(plan, table_of([*older, *newer]))
    assert first.startswith("1 training in the store was made with another version of old_code_model:make (gone.py, ")
    assert second == (
        "2 trainings in the store were made with another version of old_code_model:make: they are trained anew"
    )
    many = [record for i in range(MOST_VERSIONS) for record in stored(plan, make_record, 1, 3, model_digest=f"{i}_")]
    assert [text[:11] for text in superseded(plan, table_of([*older, *many]))] == ["1 training "]


def test_nothing_is_said_of_the_same_code_of_other_models_or_of_done_points(plan, make_record) -> None:
    same = stored(plan, make_record, 3)
    assert superseded(plan, table_of(same)) == []
    assert superseded(plan, table_of(stored(plan, make_record, 3, model_digest="m", model="other:make"))) == []
    assert superseded(plan, table_of(stored(plan, make_record, 3, model_digest="m")).drop_columns(["code"])) == []


def test_columns_are_read_only_for_a_sweep_with_own_data_or_models() -> None:
    assert columns(load_sweep("quickstart")) == ()
    for settings in (["model=[mlp, 'a:b']"], ["model=a:b"], ["data=parquet:x"], ["data=a:b"]):
        assert "code" in columns(load_sweep("quickstart", settings))
