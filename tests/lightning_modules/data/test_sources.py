"""Tests of the names of data sets, and that planning loads no data and imports no heavy library."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_modules.data.sources import BUILT_IN, Facts, content_digest, facts, forms, load, reference
from lightning_modules.errors import DataError
from lightning_modules.settings import Settings


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mnist1", "; did you mean mnist1d?"),
        ("digit", "; did you mean digits?"),
        ("paquet:/tmp/x.parquet", "; did you mean parquet?"),
        ("zzz", ";"),
        ("my.module:", ";"),
        ("my module:make", ";"),
        ("", ";"),
    ],
)
@pytest.mark.parametrize("ask", [load, facts, content_digest])
def test_an_unknown_name_is_refused_with_the_valid_forms(ask, name, hint):
    with pytest.raises(DataError) as caught:
        ask(name)
    assert caught.value.field == "data"
    assert str(caught.value) == (
        f"given {name!r}{hint} valid: mnist1d, mnist1d_16k, digits, clusters, parquet:PATH, "
        "hub:NAME, package.module:function"
    )


@pytest.mark.parametrize("name", ["parquet:", "hub:"])
def test_a_prefix_alone_names_nothing(name):
    with pytest.raises(DataError, match="which names nothing; valid are mnist1d"):
        load(name)


def test_built_in_sources_have_no_digest_and_are_listed():
    assert {content_digest(name) for name in BUILT_IN} == {""}
    assert set(BUILT_IN) <= set(forms())


def test_complexity_is_read_by_clusters_alone():
    assert [reference(Settings(data=name, complexity=5)) for name in ("digits", "clusters")] == [
        ("digits",), ("clusters", 5),
    ]  # fmt: skip
    assert not np.array_equal(load("clusters", 5).train_inputs, load("clusters").train_inputs)


def test_facts_of_outside_data_come_from_loading_it(tmp_path):
    path = tmp_path / "d.parquet"
    rows = {"features": [[1.0, 2.0]] * 3, "label": [0, 1, 1], "split": ["train", "train", "test"]}
    pq.write_table(pa.table(rows), path)
    assert facts(f"parquet:{path}") == Facts(2, 1, (2,), 2)
    assert len(content_digest(f"parquet:{path}")) == 20
