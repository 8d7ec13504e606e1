"""Data files, parts and checkpoints that nobody would write, and a process that reads them.

    python -m tests.contracts.hostile KIND COUNT SEED

reads COUNT files of a KIND in a process with a limit on its memory and a limit on the time of each file, and prints one
line of JSON: what became of the files.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lightning_modules.errors import CheckpointError, MemsweepError
from sweeps.store.checkpoints import HASH_BYTES, Checkpoints, _hash
from sweeps.store.compaction import compact
from sweeps.store.parts import encode, name_of
from sweeps.store.records import STORED_OUTCOMES, table_of
from sweeps.store.store import Store
from tests.peak_memory import peak_bytes

SECONDS = 10
BYTES = 2**30
LONGEST = 2000

Case = tuple[str, Callable[[], object]]
"""A label, and a function that reads a file."""


def mutated(content: bytes, draws: random.Random) -> bytes:
    """Flip, cut, repeat, overwrite or insert bytes, more often near the end, where Parquet and zip have their index."""
    for _ in range(draws.choice((1, 1, 2, 5, 30))):
        near_end = draws.random() < 0.5
        start = max(0, len(content) - 2000) if near_end else 0
        place = draws.randrange(start, max(start + 1, len(content)))
        length = draws.choice((1, 4, 16, 300))
        what = draws.randrange(5)
        if what == 0:
            content = content[:place]
        elif what == 1:
            content = content[:place] + draws.randbytes(length) + content[place + length :]
        elif what == 2:
            content = content[:place] + content[place : place + length] * 2 + content[place + length :]
        elif what == 3:
            content = content[:place] + draws.choice((b"\0", b"\xff", b"\x7f")) * length + content[place + length :]
        elif content:
            place = min(place, len(content) - 1)
            content = content[:place] + bytes([content[place] ^ 1 << draws.randrange(8)]) + content[place + 1 :]
    return content


ODD: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2**31, 2**62, -(2**63), 0.5, float("nan"), float("inf"), 1e300, "", "train", "test",
    "a" * 50_000, "\x1b[2J", "$x$", b"", b"\xff\xfe", [], [None], [1.0], [1, 2], [[1], [2, 3]], [float("nan")],
    {"bytes": b"no image"}, {"bytes": None, "path": "/etc/passwd"}, {"a": {"b": [1]}},
)  # fmt: skip
NAMES = (
    "features", "image", "label", "split", "x", "", "a" * 5000, "f\n", "\x1b[31m", "$\\frac$", "label.list.element",
)  # fmt: skip


def odd_column(rows: int, draws: random.Random) -> pa.Array | None:
    """Return values of one or two kinds, if these have a common type."""
    kinds = draws.choices(ODD, k=draws.choice((1, 1, 2)))
    try:
        return pa.array([draws.choice(kinds) for _ in range(rows)])
    except (pa.ArrowException, OverflowError, TypeError):
        return None


def odd_table(good: pa.Table, names: tuple[str, ...], draws: random.Random) -> pa.Table:
    """Replace, drop, add, double or rename columns of a table."""
    columns = [*zip(good.column_names, good.columns, strict=True)]
    for _ in range(draws.choice((1, 1, 2, 3))):
        place = draws.randrange(len(columns)) if columns else 0
        what = draws.randrange(5)
        if what == 0 and columns:
            del columns[place]
        elif what == 1 and columns:
            columns.insert(place, columns[place])
        elif what == 2 and columns:
            columns[place] = (draws.choice(names), columns[place][1])
        elif (column := odd_column(good.num_rows, draws)) is not None:
            name = draws.choice([*names, *good.column_names])
            columns = [each for each in columns if each[0] != name or draws.random() < 0.1]
            columns.append((name, column))
    return pa.Table.from_arrays([column for _, column in columns], [name for name, _ in columns])


def image(draws: random.Random) -> bytes:
    kind = draws.choice(("PNG", "PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "EPS", "ICO"))
    mode = draws.choice(("L", "RGB", "RGB", "1", "I;16", "CMYK", "P", "RGBA"))
    size = draws.choice(((3, 4), (3, 4), (1, 1), (200, 1)))
    stream = io.BytesIO()
    try:
        Image.new(mode, size).save(stream, kind)
    except (OSError, ValueError, KeyError):
        Image.new("RGB", size).save(stream, "PNG")
    content = stream.getvalue()
    if kind == "PNG" and draws.random() < 0.3:  # a header with another size, which its checksum does not fit
        sides = (draws.choice((0, 1, 9000, 60_000, 2**31 - 1)), draws.choice((1, 9000, 60_000)))
        content = content[:16] + b"".join(side.to_bytes(4, "big") for side in sides) + content[24:]
    return mutated(content, draws) if draws.random() < 0.5 else content


def parquet_bytes(table: pa.Table, draws: random.Random) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=draws.choice(("none", "snappy", "zstd", "gzip", "lz4")))
    return sink.getvalue().to_pybytes()


def data_table(draws: random.Random) -> pa.Table:
    rows = 6
    split, label = ["train", "test"] * 3, [0, 0, 1, 1, 2, 2]
    which = draws.randrange(5)
    if which == 0:
        encoded = [image(draws)] * rows if draws.random() < 0.5 else [image(draws) for _ in range(rows)]
        return pa.table({"image": encoded, "label": label, "split": split})
    table = pa.table({"features": [[1.0, 2.0, 3.0]] * rows, "label": label, "split": split})
    if which == 1:
        return odd_table(table, NAMES, draws)
    if which == 2:
        shape = draws.choice(("3", "1,3", "0", "-1", "x", "9" * 5000, "1,1,1,3", "3,1,1", ",", "1e3"))
        return table.replace_schema_metadata({"shape": shape})
    if which == 3:
        rows = draws.choice((10**5, 10**7))
        every = {"features": pa.repeat(pa.scalar([0.5] * draws.choice((1, 40))), 6), "label": label, "split": split}
        equal = {"label": pa.repeat(0, rows), "split": pa.repeat("train", rows)}
        return pa.table(every) if draws.random() < 0.5 else pa.table(equal)
    return table


def data_cases(folder: Path, count: int, draws: random.Random) -> Iterator[Case]:
    from lightning_modules.data import sources

    def read(path: Path) -> Callable[[], object]:
        return lambda: (sources.facts(f"parquet:{path}"), sources.content_digest(f"parquet:{path}"))

    for i in range(count):
        path = folder / f"{i}.parquet"
        which = draws.randrange(20)
        if which == 0:
            odd_path(path, draws)
            yield "no file", read(path)
            continue
        content = parquet_bytes(data_table(draws), draws)
        if which < 8:
            content = mutated(content, draws)
        elif which == 8:  # the names of columns lie in the footer without a checksum
            content = content.replace(draws.choice((b"label", b"split")), b"\xff\xfe\xfa\xfb\xfc")
        path.write_bytes(content)
        yield "mutated" if which < 9 else "written", read(path)
        path.unlink()


def odd_path(path: Path, draws: random.Random) -> None:
    """Create something that is not a file of data."""
    which = draws.randrange(6)
    if which == 0:
        os.mkfifo(path)
    elif which == 1:
        path.symlink_to(path)
    elif which == 2:
        path.symlink_to("/dev/zero")
    elif which == 3:
        path.mkdir()
        (path / "loop").symlink_to(path)
        (path / "a.parquet").write_bytes(draws.randbytes(100))
    elif which == 4:
        path.write_bytes(draws.choice((b"", b"PAR1", b"PAR1PAR1", b"\x89PNG", b"a,b\n1,2\n", bytes(10**6))))


def part_cases(folder: Path, count: int, draws: random.Random) -> Iterator[Case]:
    from memsweep.testing import make_record

    store = Store(folder / "store")
    store.prepare()
    sound = store.append([make_record("a", (1,))])
    good = table_of([make_record("bad", (1, 2, 3, 4), diverged=5)])
    names = ("trajectory_id", "epoch", "outcome", "test_loss", "seed", "data", "finished_at", "reason", "x")

    def read(path: Path) -> Callable[[], object]:
        def both() -> object:
            contents = store.read()
            assert ("a", 1) in store.done().rows
            assert compact(store, small=1).parts_after >= 1
            rows = contents.table.select(["trajectory_id", "epoch", "outcome"]).to_pylist()
            assert len(contents.damaged) in (0, 1)
            assert all(row["epoch"] >= 0 and row["outcome"] in STORED_OUTCOMES for row in rows)
            for named, reason in contents.damaged.items():
                assert named == str(path)
                raise MemsweepError(reason)
            return rows

        return both

    for _ in range(count):
        which = draws.randrange(10)
        if which < 5:
            table = odd_table(good, names, draws)
            versions = ("2", "2", "2", "1", "0", "-1", "99", "x", "9" * 5000)
            content = encode(table.replace_schema_metadata({"memsweep_schema": draws.choice(versions)}))
        else:
            content = mutated(encode(good), draws)
        path = folder / "store" / "parts" / name_of(content)
        path.write_bytes(content)
        yield "written" if which < 5 else "mutated", read(path)
        if path.name != sound:
            path.unlink(missing_ok=True)


def checkpoint_cases(folder: Path, count: int, draws: random.Random) -> Iterator[Case]:
    from lightning_modules.training.checkpoint import load
    from tests.lightning_modules.training.wrong_checkpoints import good_checkpoint, odd_checkpoints

    checkpoints = Checkpoints(Store(folder).location)
    good = good_checkpoint()

    def read() -> object:
        content = checkpoints.read("a")
        assert content is not None
        try:
            state = load(content)
        except CheckpointError as error:
            raise MemsweepError(str(error)) from None
        return state and state.serves(99, (), {})

    for content in odd_checkpoints(good, count, draws.randrange(2**30)):
        broken = draws.random() < 0.5
        stored = mutated(content if draws.random() < 0.5 else good, draws) if broken else content
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "a.pt").write_bytes(_hash(stored) + stored)
        assert len(_hash(stored)) == HASH_BYTES
        yield "mutated" if broken else "written", read


KINDS = {"data": data_cases, "parts": part_cases, "checkpoints": checkpoint_cases}


def main(kind: str, count: int, seed: int) -> None:
    draws = random.Random(seed)
    np.random.seed(seed)
    warnings.simplefilter("ignore")
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    longest, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEMSWEEP_CACHE"] = f"{folder}/cache"
        for i, (label, read) in enumerate(KINDS[kind](Path(folder), count, draws)):
            if i == 0:
                limit_memory()
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            began = time.monotonic()
            try:
                read()
                outcomes[f"{label}, read"] += 1
            except MemsweepError as error:
                outcomes[f"{label}, refused"] += 1
                longest = max(longest, len(str(error)))
            except Exception:
                faults.append(f"{kind} {i}: {traceback.format_exc()[-3000:]}")
            slowest = max(slowest, time.monotonic() - began)
            faulthandler.cancel_dump_traceback_later()
    peak = peak_bytes()
    print(json.dumps({"outcomes": outcomes, "faults": faults, "longest": longest, "slowest": slowest, "peak": peak}))


def limit_memory() -> None:
    """Limit this process to BYTES more than it has mapped."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + BYTES, mapped + BYTES))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
