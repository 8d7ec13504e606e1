"""`hub:NAME`: a data set of the Hugging Face hub, or a local folder laid out as one, through `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import DataError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

    from lightning_modules.data.columns import Columns

SPLITS = ("train", "test")


def hub(name: str) -> Dataset:
    """The arrays; an example's id is its row, the test split's counted after the training split's.

    Inputs are the column `features` or `image`, or else the only one with the feature Image; labels are the column
    `label`, or else the only one with the feature ClassLabel. The splits `train` and `test` must both be there.
    """
    return _read(name).dataset(f"hub:{name}")


def hub_digest(name: str) -> str:
    return _read(name).digest()


def _read(name: str) -> Columns:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "data", f"hub:{name} needs the package datasets, which is not installed: pip install memsweep[hub]"
        ) from error

    try:
        with _quietly(datasets):
            found = datasets.load_dataset(name)
    except Exception as error:
        # What a data set's name can lead to (network, authentication, another's files) has no common base class.
        raise DataError("data", f"hub:{name} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(found, datasets.DatasetDict) or not set(SPLITS) <= set(found):
        splits = ", ".join(sorted(str(split) for split in found)) if isinstance(found, datasets.DatasetDict) else "none"
        raise DataError("data", f"hub:{name} has the splits {splits}; it needs train and test")
    from lightning_modules.data.columns import concatenate

    columns = concatenate([_split(found[split], split, f"hub:{name} ({split})") for split in SPLITS])
    labels = found["train"].features[_label(found["train"].features, datasets, name)]
    return replace(columns, classes=labels.num_classes) if isinstance(labels, datasets.ClassLabel) else columns


def _split(part: datasets.Dataset, split: str, place: str) -> Columns:
    import datasets
    import pyarrow as pa

    from lightning_modules.data.columns import read_columns

    table = part.with_format("arrow")[:]
    # The library's own metadata is about its features, and its extension types are not Arrow's.
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
        f"{place}: found the columns {', '.join(f'`{name}`' for name in features)}; valid is one of {wanted}, or one "
        f"with the feature {kind.__name__}",
    )


@contextmanager
def _quietly(datasets: Any) -> Iterator[None]:
    """Without progress bars, unless they were off already."""
    if datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()
