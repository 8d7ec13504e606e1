"""Tests of `hub:NAME` on small local data sets written by the `datasets` library itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_modules.data.hub import hub, hub_digest
from lightning_modules.errors import DataError

pytestmark = pytest.mark.xdist_group("hub")

datasets: Any = None
"""The library. A fixture imports it, because that takes seconds and would delay the collection of the tests."""

LEVELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
LABELS = [0, 2, 1, 0, 2, 1]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "datasets", pytest.importorskip("datasets"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def saved(folder: Path, columns: dict[str, Any], features: Any, splits: tuple[str, ...] = ("train", "test")) -> str:
    """Write a folder in the hub's layout: one Parquet file per split, two thirds of the rows in the first."""
    (folder / "data").mkdir(parents=True)
    whole = datasets.Dataset.from_dict(columns, features=features)
    for split, rows in zip(splits, (range(4), range(4, 6)), strict=False):
        whole.select(rows).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)


def image_features(image: str = "image", label: str = "label", names: tuple[str, ...] = ("a", "b", "c")) -> Any:
    return datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=list(names))})


@pytest.mark.parametrize(("image", "label"), [("image", "label"), ("img", "fine_label")])
def test_images_and_class_labels_are_found_by_name_or_by_feature(tmp_path, image, label):
    from PIL import Image

    pictures = [Image.fromarray(levels) for levels in LEVELS]
    name = saved(tmp_path / "d", {image: pictures, label: LABELS}, image_features(image, label))
    dataset = hub(name)
    assert dataset.shape == (3, 4, 4)
    assert dataset.classes == 3
    assert np.array_equal(np.rint((dataset.train_inputs + 1) * 127.5), LEVELS[:4].transpose(0, 3, 1, 2))
    assert dataset.train_labels.tolist() == LABELS[:4]
    assert dataset.test_labels.tolist() == LABELS[4:]
    assert dataset.train_ids.tolist() == [0, 1, 2, 3]
    assert dataset.test_ids.tolist() == [4, 5]


def numbers(tmp_path: Path, folder: str = "d", **options: Any) -> str:
    features = datasets.Features(
        {"features": datasets.List(datasets.Value("float32")), "label": datasets.Value("int64")}
    )
    values = [[float(i), -float(i)] for i in range(6)]
    return saved(tmp_path / folder, {"features": values, "label": LABELS}, features, **options)


def test_numbers_and_plain_labels(tmp_path):
    dataset = hub(numbers(tmp_path))
    assert dataset.train_inputs.tolist() == [[0, 0], [1, -1], [2, -2], [3, -3]]
    assert dataset.classes == 3


def test_declared_classes_count_though_some_have_no_example(tmp_path):
    from PIL import Image

    pictures = [Image.fromarray(levels) for levels in LEVELS]
    features = image_features(names=("a", "b", "c", "d", "e"))
    assert hub(saved(tmp_path / "d", {"image": pictures, "label": LABELS}, features)).classes == 5


def test_the_digest_is_of_the_content_not_of_the_place(tmp_path):
    one, other = numbers(tmp_path, "one"), numbers(tmp_path, "other")
    assert hub_digest(one) == hub_digest(other)
    changed = datasets.Dataset.from_dict({"features": [[9.0, 9.0]] * 2, "label": [0, 1]})
    changed.to_parquet(Path(other) / "data" / "test-00000-of-00001.parquet")
    assert hub_digest(one) != hub_digest(other)


def test_progress_bars_are_as_they_were(tmp_path, capsys):
    assert not datasets.are_progress_bars_disabled()
    name = numbers(tmp_path)
    capsys.readouterr()
    hub(name)
    assert not datasets.are_progress_bars_disabled()
    assert capsys.readouterr() == ("", "")


def test_both_splits_are_needed(tmp_path):
    name = numbers(tmp_path, splits=("train", "validation"))
    with pytest.raises(DataError) as caught:
        hub(name)
    assert str(caught.value) == f"hub:{name} has the splits train, validation; it needs train and test"


def test_columns_that_are_not_there_are_named(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.Value("int64")})
    name = saved(tmp_path / "d", {"text": list("abcdef"), "label": LABELS}, features)
    with pytest.raises(DataError, match=r"\(train\): found the columns `text`, `label`; valid is one of inputs"):
        hub(name)


def test_several_class_labels_are_no_guess(tmp_path):
    kind = datasets.ClassLabel(names=["a", "b", "c"])
    features = datasets.Features({"features": datasets.List(datasets.Value("float32")), "fine": kind, "coarse": kind})
    columns = {"features": [[1.0]] * 6, "fine": LABELS, "coarse": LABELS}
    with pytest.raises(DataError, match="valid is one of labels, `label`, or one with the feature ClassLabel"):
        hub(saved(tmp_path / "d", columns, features))


def test_unlabelled_examples_are_refused(tmp_path):
    features = datasets.Features(
        {"features": datasets.List(datasets.Value("float32")), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    name = saved(tmp_path / "d", {"features": [[1.0]] * 6, "label": [0, 1, 2, 0, -1, -1]}, features)
    with pytest.raises(DataError, match=r"\(test\): column `label` is -1 in row 0; valid are integers from 0"):
        hub(name)


def test_a_data_set_that_cannot_be_loaded_is_one_error(tmp_path):
    with pytest.raises(DataError, match=r"hub:.*nowhere cannot be loaded: ") as caught:
        hub(str(tmp_path / "nowhere"))
    assert caught.value.field == "data"


def test_without_the_extra_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError) as caught:
        hub("someone/something")
    assert str(caught.value) == (
        "hub:someone/something needs the package datasets, which is not installed: pip install memsweep[hub]"
    )
