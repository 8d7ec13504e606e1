"""Tests of `parquet:PATH` on valid files and, with one readable error for each kind of damage, on malformed files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lightning_modules.data.files import parquet, parquet_digest
from lightning_modules.data.images import FORMATS, decode
from lightning_modules.errors import DataError

ROWS: dict[str, Any] = {
    "features": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]],
    "label": [0, 1, 0, 1],
    "split": ["train", "test", "train", "test"],
}
REST: dict[str, Any] = {name: ROWS[name] for name in ("label", "split")}
LEVELS = np.arange(4 * 2 * 3).reshape(4, 2, 3) * 11


def written(path: Path, columns: dict[str, Any], *, shape: str | None = None, **options: Any) -> str:
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata({"shape": shape}) if shape else table, path, **options)
    return str(path)


def picture(array: Any, mode: str = "L", kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(array, dtype=np.uint8)).convert(mode).save(stream, kind)
    return stream.getvalue()


def images(*encoded: bytes | None) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": part, "path": f"{i}.png"} for i, part in enumerate(encoded)], kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind):
    """The formats after MPO, which Pillow opens as JPEG alone, were refused with `not an image: 'MPO'`."""
    white = decode([picture(255 * np.ones((4, 2)), kind=kind)], str)
    assert white.shape in ((1, 1, 4, 2), (1, 3, 4, 2))
    assert white.min() > 0.97


class TestNumbers:
    def test_rows_go_to_their_split_and_ids_are_rows(self, tmp_path):
        dataset = parquet(written(tmp_path / "d.parquet", ROWS))
        assert dataset.train_inputs.tolist() == [[1, 2], [5, 6]]
        assert dataset.test_inputs.tolist() == [[3, 4], [7, 8]]
        assert dataset.train_labels.tolist() == [0, 0]
        assert dataset.test_labels.tolist() == [1, 1]
        assert dataset.train_ids.tolist() == [0, 2]
        assert dataset.test_ids.tolist() == [1, 3]
        assert dataset.classes == 2

    @pytest.mark.parametrize(
        "kind",
        [pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.large_list(pa.int16()), pa.list_(pa.float16())],
        ids=str,
    )
    @pytest.mark.parametrize("label", [pa.int8(), pa.uint64()], ids=str)
    def test_arrow_types_do_not_matter(self, tmp_path, kind, label):
        values = np.array(ROWS["features"]).astype(kind.value_type.to_pandas_dtype()).tolist()
        split = pa.array(ROWS["split"]).dictionary_encode()
        if pa.types.is_float16(kind.value_type):
            values = [[np.float16(number) for number in row] for row in values]
        columns = {"features": pa.array(values, kind), "label": pa.array(ROWS["label"], label), "split": split}
        dataset = parquet(written(tmp_path / "d.parquet", columns))
        assert dataset.train_inputs.tolist() == [[1, 2], [5, 6]]

    def test_other_columns_are_not_read(self, tmp_path):
        dataset = parquet(written(tmp_path / "d.parquet", ROWS | {"comment": ["a", None, "b", "c"]}))
        assert dataset.shape == (2,)

    @pytest.mark.parametrize(
        ("column", "length", "metadata", "shape"),
        [
            ("features", 12, None, (12,)),
            ("features", 12, "2,6", (2, 6)),
            ("features", 12, "12", (12,)),
            ("image", 9, None, (1, 3, 3)),
            ("image", 12, None, (3, 2, 2)),
            ("image", 12, "1,4,3", (1, 4, 3)),
        ],
    )
    def test_shapes(self, tmp_path, column, length, metadata, shape):
        values = np.arange(4.0 * length).reshape(4, length)
        columns = {column: values.tolist(), "label": ROWS["label"], "split": ROWS["split"]}
        dataset = parquet(written(tmp_path / "d.parquet", columns, shape=metadata))
        assert np.array_equal(dataset.train_inputs, values[[0, 2]].reshape(2, *shape))


class TestFolders:
    def test_files_are_read_in_the_order_of_their_names_whatever_lies_beside_them(self, tmp_path):
        whole = parquet(written(tmp_path / "whole.parquet", ROWS))
        folder = tmp_path / "parts"
        (folder / "kind=b").mkdir(parents=True)
        (folder / "_temporary").mkdir()
        written(folder / "kind=b" / "0.parquet", {name: values[2:] for name, values in ROWS.items()})
        written(folder / "a.parquet", {name: values[:2] for name, values in ROWS.items()})
        (folder / ".a.parquet").write_text("not data")
        (folder / "_temporary" / "b.parquet").write_text("not data")
        (folder / "README.md").write_text("not data")
        parts = parquet(str(folder))
        for name, array in vars(whole).items():
            assert np.array_equal(array, vars(parts)[name]), name

    def test_an_error_names_the_file_and_its_row(self, tmp_path):
        written(tmp_path / "a.parquet", ROWS)
        bad = written(tmp_path / "b.parquet", ROWS | {"label": [0, 1, -1, 1]})
        with pytest.raises(DataError) as caught:
            parquet(str(tmp_path))
        assert str(caught.value) == f"{bad}: column `label` is -1 in row 2; valid are integers from 0"

    def test_an_undecodable_image_is_named_by_its_file_and_row(self, tmp_path):
        good, rest = picture(np.zeros((2, 2))), {"label": [0, 1], "split": ["train", "test"]}
        written(tmp_path / "a.parquet", {"image": images(good, good), **rest})
        bad = written(tmp_path / "b.parquet", {"image": images(good, b"junk"), **rest})
        with pytest.raises(DataError, match=f"{bad}, row 1: column `image` has 4 bytes that are not an image"):
            parquet(str(tmp_path))

    def test_files_must_agree_in_shape(self, tmp_path):
        written(tmp_path / "a.parquet", ROWS)
        written(tmp_path / "b.parquet", ROWS | {"features": [[1.0]] * 4})
        with pytest.raises(
            DataError, match=r"b.parquet: inputs are numbers of shape \(1,\), but in .*a.parquet numbers"
        ):
            parquet(str(tmp_path))

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"the folder holds no file that ends in \.parquet"):
            parquet(str(tmp_path))


class TestImages:
    @pytest.mark.parametrize("plain", [False, True], ids=["struct", "binary"])
    def test_grey_levels_are_scaled_to_minus_one_and_one(self, tmp_path, plain):
        encoded = [picture(levels) for levels in LEVELS]
        column = pa.array(encoded) if plain else images(*encoded)
        dataset = parquet(written(tmp_path / "d.parquet", {"image": column, **REST}))
        assert dataset.shape == (1, 2, 3)
        assert np.array_equal(np.rint((dataset.train_inputs[:, 0] + 1) * 127.5), LEVELS[[0, 2]])
        black_and_white = images(*[picture([[0, 255]])] * 4)
        extremes = parquet(written(tmp_path / "e.parquet", {"image": black_and_white, **REST}))
        assert extremes.train_inputs[0].tolist() == [[[-1, 1]]]

    def test_colour_has_channels_first_and_grey_among_it_is_colour_too(self, tmp_path):
        colours = np.random.default_rng(0).integers(0, 256, (3, 2, 3, 3), dtype=np.uint8)
        encoded = [picture(LEVELS[0]), *(picture(levels, "RGB") for levels in colours)]
        dataset = parquet(written(tmp_path / "d.parquet", {"image": images(*encoded), **REST}))
        assert dataset.shape == (3, 2, 3)
        levels = np.rint((dataset.train_inputs + 1) * 127.5)
        assert np.array_equal(levels[0], np.broadcast_to(LEVELS[0], (3, 2, 3)))
        assert np.array_equal(levels[1], colours[1].transpose(2, 0, 1))

    def test_palettes_and_jpeg_are_decoded(self, tmp_path):
        flat = np.full((8, 8, 3), [0, 204, 51], dtype=np.uint8)
        encoded = [picture(flat, "P"), picture(flat, "RGB", "JPEG"), picture(flat, "RGBA"), picture(flat, "RGB")]
        dataset = parquet(written(tmp_path / "d.parquet", {"image": images(*encoded), **REST}))
        everything = np.concatenate([dataset.train_inputs, dataset.test_inputs])
        assert np.abs((everything + 1) * 127.5 - flat.transpose(2, 0, 1)).max() < 3

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            (b"", "row 1: column `image` has 0 bytes that are not an image"),
            (b"not an image", "row 1: column `image` has 12 bytes that are not an image"),
            (
                picture(np.arange(4096).reshape(64, 64) % 251)[:200],
                "row 1: column `image` has 200 bytes that are not an image",
            ),
            (None, "column `image` has no bytes in row 1; images must be inside the file, not named by a path"),
            (picture(np.zeros((3, 2))), "row 1: the image is 2 x 3 pixels, and the first is 64 x 64"),
        ],
        ids=["empty", "text", "truncated", "path", "size"],
    )
    def test_a_bad_image_is_refused_with_its_row(self, tmp_path, second, message):
        good = picture(np.zeros((64, 64)))
        path = written(tmp_path / "d.parquet", {"image": images(good, second, good, good), **REST})
        with pytest.raises(DataError, match=message) as caught:
            parquet(path)
        assert str(caught.value).startswith(path)

    def test_more_than_8_bits_a_channel_are_refused(self, tmp_path):
        stream = io.BytesIO()
        Image.fromarray(np.full((2, 2), 40_000, dtype=np.uint16)).save(stream, "PNG")
        path = written(tmp_path / "d.parquet", {"image": images(*[stream.getvalue()] * 4), **REST})
        with pytest.raises(DataError, match="row 0: the image is of mode I;16; valid are at most 8 bits per channel"):
            parquet(path)


class TestMalformed:
    def test_missing(self, tmp_path):
        with pytest.raises(DataError) as caught:
            parquet(str(tmp_path / "no.parquet"))
        assert caught.value.field == "data"
        assert str(caught.value) == (
            f"{tmp_path / 'no.parquet'}: there is no such file or folder; valid is parquet:PATH of one that exists"
        )

    @pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PAR1 and then nothing PAR1"])
    def test_not_parquet(self, tmp_path, content):
        path = tmp_path / "d.parquet"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"d\.parquet: not a readable Parquet file: ") as caught:
            parquet(str(path))
        assert "\n" not in str(caught.value)

    def test_truncated_and_corrupt(self, tmp_path):
        path = tmp_path / "d.parquet"
        written(path, ROWS)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match="not a readable Parquet file"):
            parquet(str(path))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"label": None}, "column `label` (integers from 0) is missing; found `features`, `split`"),
            (
                {"features": None},
                "found the columns `label`, `split`; valid is one column of inputs, `features` or `image`",
            ),
            (
                {"image": [[1.0]] * 4},
                "found `features` and `image`; valid is one column of inputs, `features` or `image`",
            ),
            ({"label": [0, None, 1, 1]}, "column `label` is null in row 1; every row needs integers from 0"),
            ({"label": [0.0, 1.0, 0.0, 1.0]}, "column `label` is of type double; it must hold integers from 0"),
            ({"label": ["a", "b", "a", "b"]}, "column `label` is of type string; it must hold integers from 0"),
            ({"label": [True, False] * 2}, "column `label` is of type bool; it must hold integers from 0"),
            ({"label": [0, 1, -3, 1]}, "column `label` is -3 in row 2; valid are integers from 0"),
            (
                {"label": [1, 2, 1, 2]},
                "labels go up to 2 but none is 0; number the classes 0, 1, 2, ... without gaps",
            ),
            (
                {"split": ["train", "test", "val", "test"]},
                "column `split` is 'val' in row 2; valid is `train` or `test`",
            ),
            ({"split": [0, 1, 0, 1]}, "column `split` is of type int64; it must hold `train` or `test`"),
            ({"split": ["train", None] * 2}, "column `split` is null in row 1; every row needs `train` or `test`"),
            ({"split": ["train"] * 4}, "there is no example of the split 'test'; both splits are needed"),
            ({"split": ["test"] * 4}, "there is no example of the split 'train'; both splits are needed"),
            ({"features": [1.0, 2.0, 3.0, 4.0]}, "column `features` is of type double; it must hold lists of numbers"),
            (
                {"features": [["a"], ["b"], ["c"], ["d"]]},
                "column `features` is of type list<element: string>; it must hold lists of numbers",
            ),
            (
                {"features": [[[1.0]]] * 4},
                "column `features` is of type list<element: list<element: double>>; it must hold lists of numbers",
            ),
            (
                {"features": [[1.0, 2.0], [3.0], [4.0, 5.0], [6.0, 7.0]]},
                "column `features` has 1 numbers in row 1 and 2 in row 0; every row needs the same number, at least 1",
            ),
            (
                {"features": pa.array([[]] * 4, pa.list_(pa.float32()))},
                "column `features` has 0 numbers in row 0 and 0 in row 0; every row needs the same number, at least 1",
            ),
            (
                {"features": [[1.0, 2.0], None, [4.0, 5.0], [6.0, 7.0]]},
                "column `features` is null in row 1; every row needs lists of numbers",
            ),
            (
                {"features": [[1.0, 2.0], [3.0, 4.0], [5.0, None], [7.0, 8.0]]},
                "column `features` has a null in row 2; every number must be there",
            ),
            (
                {"features": [[1.0, 2.0], [3.0, float("nan")], [5.0, 6.0], [7.0, 8.0]]},
                "column `features` has nan in row 1; every number must be finite",
            ),
            (
                {"features": None, "image": [[1.0, 2.0]] * 4},
                "column `image` has 2 numbers per row, which is not a square image of 1 or 3 channels; give the shape "
                "in the schema's metadata, as shape='1,28,20'",
            ),
            (
                {"features": None, "image": ["a", "b", "c", "d"]},
                "column `image` is of type string; it must hold lists of numbers, or encoded images as bytes or a "
                "struct with `bytes`",
            ),
        ],
    )
    def test_the_message_names_the_file_the_column_and_what_is_valid(self, tmp_path, changes, message):
        columns = {name: values for name, values in (ROWS | changes).items() if values is not None}
        path = written(tmp_path / "d.parquet", columns)
        with pytest.raises(DataError) as caught:
            parquet(path)
        assert caught.value.field == "data"
        assert str(caught.value) == f"{path}: {message}"

    def test_a_missing_split_points_to_the_hub_layout(self, tmp_path):
        path = written(tmp_path / "d.parquet", {name: ROWS[name] for name in ("features", "label")})
        with pytest.raises(DataError, match=r"column `split` .* is missing; .* is read by hub:PATH\)"):
            parquet(path)

    @pytest.mark.parametrize("shape", ["3,3", "a,b", "", "0,2", "-1,-2", "1,1,1,2"])
    def test_a_shape_that_does_not_fit(self, tmp_path, shape):
        path = tmp_path / "d.parquet"
        pq.write_table(pa.table(ROWS).replace_schema_metadata({"shape": shape}), path)
        with pytest.raises(
            DataError, match=rf"the schema's metadata has shape '{shape}' and column `features` 2 numbers"
        ):
            parquet(str(path))

    def test_no_rows(self, tmp_path):
        path = tmp_path / "d.parquet"
        pq.write_table(pa.table(ROWS).slice(0, 0), path)
        with pytest.raises(DataError, match="column `features` has no rows"):
            parquet(str(path))


class TestDigest:
    def test_is_of_the_content_not_of_path_compression_or_partition(self, tmp_path):
        one = written(tmp_path / "one.parquet", ROWS)
        other = written(tmp_path / "other.parquet", ROWS, compression="zstd", row_group_size=1, use_dictionary=False)
        folder = tmp_path / "parts"
        folder.mkdir()
        for part in range(2):
            rows = {name: values[2 * part : 2 * part + 2] for name, values in ROWS.items()}
            written(folder / f"{part}.parquet", rows)
        assert parquet_digest(one) == parquet_digest(other) == parquet_digest(str(folder))

    @pytest.mark.parametrize(
        "changes",
        [
            {"features": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.5]]},
            {"label": [0, 1, 1, 1]},
            {"split": ["train", "test", "train", "train"]},
        ],
    )
    def test_changes_with_every_column(self, tmp_path, changes):
        path = written(tmp_path / "d.parquet", ROWS)
        assert parquet_digest(written(tmp_path / "e.parquet", ROWS | changes)) != parquet_digest(path)

    def test_changes_with_the_shape(self, tmp_path):
        path = written(tmp_path / "d.parquet", ROWS)
        assert parquet_digest(written(tmp_path / "e.parquet", ROWS, shape="1,2")) != parquet_digest(path)

    def test_of_images_is_of_their_bytes_and_needs_no_decoding(self, tmp_path):
        rest = {"label": [0, 1], "split": ["train", "test"]}
        paths = [
            written(tmp_path / f"{i}.parquet", {"image": images(*encoded), **rest})
            for i, encoded in enumerate([(b"ab", b"c"), (b"a", b"bc"), (b"ab", b"c")])
        ]
        first, moved, again = map(parquet_digest, paths)
        assert first == again != moved
