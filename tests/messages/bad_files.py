"""Files of users that memsweep refuses, one reason each."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROWS = 20
SPLIT = ["train"] * 15 + ["test"] * 5
FEATURES = [[float(row), 1.0, 2.0, 3.0] for row in range(ROWS)]
LABELS = [row % 2 for row in range(ROWS)]

THEIR = """
import sys
import numpy as np
import torch
from torch import nn

number = 3
X, Y = np.arange(80.0).reshape(40, 2), np.arange(40) % 2
calls = []

def raises(**given): raise ValueError("the disk is on fire")
def exits(**given): sys.exit(0)
def asks(): return input("which data? ")
def nothing(**given): return None
def three(): return X, Y, X
def other_keys(): return {"x": X, "y": Y}
def changing():
    calls.append(1)
    return X + len(calls), Y, X, Y
def float_labels(): return X, Y + 0.5, X, Y
def few_labels(): return X, Y[:-1], X, Y
def other_test_shape(): return X, Y, np.ones((40, 3)), Y
def flat_inputs(): return X[:, 0], Y, X[:, 0], Y
def text_inputs(): return X.astype(str), Y, X, Y
def needs_width(shape, classes, width): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10))
def wrong_outputs(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
def wrong_inputs(): return nn.Sequential(nn.Flatten(), nn.Linear(3, 10))
class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(64, 10, dtype=torch.complex64))
    def forward(self, x):
        return (x.flatten(1).to(torch.complex64) @ self.w).real
def complex_parameters(): return Complex()
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def make_files(folder: Path) -> None:
    """Write all files into the folder."""
    (folder / "their.py").write_text(THEIR)
    (folder / "broken_module.py").write_text("def make(:\n")
    (folder / "folder.yaml").mkdir()
    (folder / "empty").mkdir()
    (folder / "broken.yaml").write_text("name: s\nfixed: {data: digits\n")
    (folder / "latin1.yaml").write_bytes("name: s\nquestion: Größe?\n".encode("latin-1"))
    (folder / "notes.parquet").write_text("no Parquet")
    for name, changes in PARQUET.items():
        columns = {"features": FEATURES, "label": LABELS, "split": SPLIT} | changes
        pq.write_table(pa.table({key: value for key, value in columns.items() if value is not None}),
                       folder / f"{name}.parquet")  # fmt: skip


def _image(size: int = 8) -> dict[str, Any]:
    content = io.BytesIO()
    Image.fromarray(np.zeros((size, size), np.uint8)).save(content, "png")
    return {"bytes": content.getvalue(), "path": None}


def _changed(values: list[Any], row: int, value: Any) -> list[Any]:
    return [*values[:row], value, *values[row + 1 :]]


IMAGES: Mapping[str, Any] = {"features": None, "image": [_image()] * ROWS}
PARQUET: Mapping[str, Mapping[str, Any]] = {
    "no_label": {"label": None},
    "no_inputs": {"features": None},
    "no_split": {"split": None},
    "only_train": {"split": ["train"] * ROWS},
    "other_split": {"split": _changed(SPLIT, 3, "dev")},
    "text_labels": {"label": ["cat", "dog"] * (ROWS // 2)},
    "negative_label": {"label": _changed(LABELS, 3, -1)},
    "null_label": {"label": _changed(LABELS, 3, None)},
    "gap_in_labels": {"label": [2 * label for label in LABELS]},
    "uneven": {"features": _changed(FEATURES, 3, [1.0])},
    "not_finite": {"features": _changed(FEATURES, 3, [1.0, float("nan"), 2.0, 3.0])},
    "image_by_path": {**IMAGES, "image": _changed([*IMAGES["image"]], 3, {"bytes": None, "path": "cat.png"})},
    "broken_image": {**IMAGES, "image": _changed([*IMAGES["image"]], 3, {"bytes": b"\x89PNG no image", "path": None})},
    "mixed_images": {**IMAGES, "image": _changed([*IMAGES["image"]], 3, _image(9))},
    "wrong_shape": {"features": None, "image": [[0.0] * 7] * ROWS},
}
