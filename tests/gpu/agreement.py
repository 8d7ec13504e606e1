"""How far numbers of the same training may differ on a GPU, and the trainings that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeps.spec.point import Point

TOLERANCE = {"float32": 1e-3, "float64": 1e-9, "tf32": 2e-2, "bfloat16": 5e-2}
"""The largest relative difference of a loss or of the weights' norm after three epochs, by precision."""

COMPARED = ("train_loss", "test_loss", "weight_norm")
"""The measures that are continuous. An accuracy jumps when a logit is as large as another one."""

EPOCHS = 3

STACKS = {
    "mlp, SGD": {"width": 20, "depth": 2, "weight_decay": 0.01},
    "mlp, AdamW, dropout": {"width": 20, "depth": 2, "optimizer": "adamw", "learning_rate": 0.003, "dropout": 0.2},
    "convnet": {"model": "convnet", "width": 4},
    "resnet": {"model": "resnet", "width": 4, "depth": 1},
    "transformer": {"model": "transformer", "width": 8, "depth": 1},
}

Rows = Sequence[tuple[int, Mapping[str, float | None]]]


def points(stack: str, count: int, precision: str = "float32") -> list[Point]:
    fields = {"learning_rate": 0.02, "momentum": 0.5, **STACKS[stack]}
    base = Point(data="digits", dataset_size=200, batch_size=40, epochs=EPOCHS, label_noise=0.2, precision=precision,
                 **fields)  # fmt: skip
    return [base.with_(seed=seed) for seed in range(count)]


def difference(found: Rows, expected: Rows) -> float:
    """Return the largest relative difference of the compared measures at all evaluated epochs."""
    assert [epoch for epoch, _ in found] == [epoch for epoch, _ in expected], "evaluated at other epochs"
    largest = 0.0
    for (_, one), (_, other) in zip(found, expected, strict=True):
        for name in COMPARED:
            a, b = one[name], other[name]
            assert a is not None
            assert b is not None
            largest = max(largest, abs(a - b) / max(abs(b), 1e-12))
    return largest
