"""The source `hub:NAME`: a data set of the Hugging Face hub, or a local folder in its layout, read by `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning_modules.data.border import listed
from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import DataError, MissingDataError, one_line

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

    from lightning_modules.data.columns import Columns

SPLITS = ("train", "test")


def hub(name: str) -> Dataset:
    """Load a data set with the splits `train` and `test`.

    An example's id is its row, with the test rows counted after the training rows. The inputs are the column `features`
    or `image`, or else the only column with the feature Image. The labels are the column `label`, or else the only
    column with the feature ClassLabel.
    """
    return _read(name).dataset(f"hub:{name}")


def hub_digest(name: str) -> str:
    return _read(name).digest()


def _read(name: str) -> Columns:
    try:
        import datasets
    except ImportError as error:
        raise MissingDataError(
            "data", f"hub:{name} needs the package datasets, which is not installed: pip install memsweep[hub]"
        ) from error

    try:
        with _quietly(datasets):
            loaded = datasets.load_dataset(name)
    except Exception as error:
        # The possible errors (network, authentication, malformed files) have no common base class.
        raise MissingDataError(
            "data", f"hub:{name} cannot be loaded: {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(loaded, datasets.DatasetDict) or not set(SPLITS) <= set(loaded):
        splits = ", ".join(sorted(map(str, loaded))) if isinstance(loaded, datasets.DatasetDict) else "none"
        raise DataError("data", f"hub:{name} has the splits {splits}; it needs train and test")
    from lightning_modules.data.columns import concatenate

    columns = concatenate([_split(loaded[split], split, f"hub:{name} ({split})") for split in SPLITS])
    labels = loaded["train"].features[_label(loaded["train"].features, datasets, name)]
    return replace(columns, classes=labels.num_classes) if isinstance(labels, datasets.ClassLabel) else columns


def _split(part: datasets.Dataset, split: str, place: str) -> Columns:
    import datasets
    import pyarrow as pa

    from lightning_modules.data.columns import read_columns

    table = part.with_format("arrow")[:]
    # Drop the library's metadata, which describes its features, and its extension types, which Arrow does not know.
    plain = pa.table({field.name: _storage(table.column(field.name)) for field in table.schema})
    inputs = _input(part.features, datasets, place)
    return read_columns(plain, place, split=split, inputs=inputs, label=_label(part.features, datasets, place))


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if not isinstance(column.type, pa.ExtensionType):
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _input(features: Any, datasets: Any, place: str) -> str:
    from lightning_modules.data.columns import NUMBERS

    return _one(features, NUMBERS, datasets.Image, "inputs, `features` or `image`", place)


def _label(features: Any, datasets: Any, place: str) -> str:
    return _one(features, ("label",), datasets.ClassLabel, "labels, `label`", place)


def _one(features: Any, names: tuple[str, ...], kind: type, wanted: str, place: str) -> str:
    named = [name for name in names if name in features]
    typed = [name for name, feature in features.items() if isinstance(feature, kind)]
    for candidates in (named, typed):
        if len(candidates) == 1:
            return candidates[0]
    raise DataError(
        "data",
        f"{place}: found the columns {listed(features)}; valid is one of {wanted}, or one "
        f"with the feature {kind.__name__}",
    )


@contextmanager
def _quietly(datasets: Any) -> Iterator[None]:
    """Disable progress bars, and enable them again on exit if they were enabled before."""
    if datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()
