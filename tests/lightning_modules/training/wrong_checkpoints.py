"""Files that `torch.load` reads, but from which no training can resume, made from a good checkpoint."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

from lightning_modules.measures.catalogue import MEASURES
from lightning_modules.training.checkpoint import Checkpoint, encode

Fields = dict[str, Any]

BY_ITSELF: dict[str, Callable[[Fields], Any]] = {
    "a list": lambda fields: [*fields],
    "a tensor": lambda fields: torch.zeros(3),
    "nothing": lambda fields: {},
    "no version": lambda fields: without(fields, "version"),
    "a version in a list": lambda fields: {**fields, "version": [1]},
    "a field more": lambda fields: {**fields, "more": 1},
    "a field less": lambda fields: without(fields, "rows"),
    "epoch of text": lambda fields: {**fields, "epoch": "3"},
    "a negative epoch": lambda fields: {**fields, "epoch": -1},
    "a half epoch": lambda fields: {**fields, "epoch": 2.5},
    "parameters in a list": lambda fields: {**fields, "parameters": [*fields["parameters"].values()]},
    "no parameters": lambda fields: {**fields, "parameters": {}},
    "parameters of numbers": lambda fields: {**fields, "parameters": dict.fromkeys(fields["parameters"], 0.5)},
    "parameters that are not finite": lambda fields: tensors(fields, "parameters", lambda value: value * torch.nan),
    "sparse parameters": lambda fields: tensors(fields, "parameters", lambda value: value.to_sparse()),
    "expanded parameters": lambda fields: tensors(
        fields, "parameters", lambda value: torch.zeros(()).expand(10**6, 10**6)
    ),
    "no momentum": lambda fields: {**fields, "optimizer": {}},
    "an optimizer of lists": lambda fields: {**fields, "optimizer": {"velocity": [1, 2]}},
    "rows without measures": lambda fields: {**fields, "rows": [(epoch, {}) for epoch, _ in fields["rows"]]},
    "rows in reverse": lambda fields: {**fields, "rows": fields["rows"][::-1]},
    "rows twice": lambda fields: {**fields, "rows": fields["rows"] * 2},
    "rows of later epochs": lambda fields: {**fields, "rows": [(epoch + 99, row) for epoch, row in fields["rows"]]},
    "rows in a tensor of which the file holds one number": lambda fields: {
        **fields, "rows": torch.zeros(()).expand(10**9, 10**9)
    },
    "rows of text": lambda fields: {**fields, "rows": "rows"},
    "measures of text": lambda fields: {
        **fields, "rows": [(epoch, dict.fromkeys(row, "0.5")) for epoch, row in fields["rows"]]
    },
    "examples of nothing": lambda fields: {**fields, "examples": [(1, "correct", "train", None, None)]},
    "examples of other lengths": lambda fields: {
        **fields,
        "examples": [(fields["rows"][-1][0], "m", "train", torch.arange(3), torch.zeros(2, dtype=torch.float64))],
    },
    "seconds that are infinite": lambda fields: {**fields, "seconds": float("inf")},
    "divergence before the first epoch": lambda fields: {**fields, "diverged": 0},
    "divergence in the future": lambda fields: {**fields, "diverged": fields["epoch"] + 2},
    "measured in a number": lambda fields: {**fields, "measured": 3},
    "probes of text": lambda fields: {**fields, "probes": {"forgetting": "events"}},
}  # fmt: skip
"""What a checkpoint shows by itself."""

BESIDE_ITS_TRAINING: dict[str, Callable[[Fields], Any]] = {
    "a parameter of another shape": lambda fields: tensors(fields, "parameters", lambda value: value[:1].clone()),
    "one that would broadcast": lambda fields: tensors(fields, "parameters", lambda value: value.sum().reshape(1)),
    "another precision": lambda fields: tensors(fields, "parameters", lambda value: value.half()),
    "a parameter less": lambda fields: {**fields, "parameters": dict([*fields["parameters"].items()][1:])},
    "another name": lambda fields: {
        **fields, "parameters": {f"x{name}": value for name, value in fields["parameters"].items()}
    },
    "a buffer more": lambda fields: {**fields, "constants": {"more": torch.zeros(2)}},
    "another optimizer": lambda fields: {
        **fields, "optimizer": {name: {"first": value} for name, value in fields["parameters"].items()}
    },
    "momentum that would broadcast": lambda fields: {
        **fields,
        "optimizer": {
            name: {part: value.sum().reshape(1) for part, value in state.items()}
            for name, state in fields["optimizer"].items()
        },
    },
    "sums of other examples": lambda fields: {
        **fields,
        "probes": {
            name: {part: value[:1].clone() for part, value in state.items()} for name, state in fields["probes"].items()
        },
    },
}  # fmt: skip
"""What is wrong only for the network, optimizer or examples of its training."""


def without(fields: Fields, name: str) -> Fields:
    return {key: value for key, value in fields.items() if key != name}


def tensors(fields: Fields, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Fields:
    return {**fields, name: {key: change(value) for key, value in fields[name].items()}}


def fields_of(content: bytes) -> Fields:
    return torch.load(io.BytesIO(content), weights_only=True)


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def wrong(content: bytes, kind: str) -> bytes:
    """Return a copy of a checkpoint's bytes with something wrong in it."""
    return saved({**BY_ITSELF, **BESIDE_ITS_TRAINING}[kind](fields_of(content)))


ODD = (None, True, -1, 0, 2**70, 0.5, float("nan"), float("inf"), "", "a" * 10_000, b"\0", [], (), {}, {"a": 1}, [[]],
       {1: {2: 3}}, [(1, {})], ((1, {"a": 0.5}),), set(), torch.zeros(0), torch.zeros(2, 2), torch.ones(3).to_sparse(),
       torch.zeros(()).expand(10**5, 10**5), torch.zeros(2, dtype=torch.complex64), torch.arange(3))  # fmt: skip


def odd_checkpoints(good: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield checkpoints in which a value, at any depth, is replaced, removed, renamed or doubled at random."""
    draws = random.Random(seed)

    def changed(value: Any, depth: int) -> Any:
        if depth and isinstance(value, dict) and value:
            key = draws.choice([*value])
            rest = {name: inner for name, inner in value.items() if name != key}
            what = draws.randrange(6)
            if what == 0:
                return rest
            if what == 1:
                return {**rest, draws.choice(["x", 7, (1, 2), "a" * 3000]): value[key]}
            return {**value, key: changed(value[key], depth - 1)}
        if depth and isinstance(value, list | tuple) and value:
            place = draws.randrange(len(value))
            what = draws.randrange(4)
            if what == 0:
                return type(value)([*value[:place], *value[place + 1 :]])
            if what == 1:
                return type(value)([*value, value[place]])
            return type(value)([*value[:place], changed(value[place], depth - 1), *value[place + 1 :]])
        if isinstance(value, torch.Tensor) and draws.random() < 0.5:
            return draws.choice([
                value[..., None].clone(), value.flatten()[:1].clone(), value.to(torch.float16), value[None].clone(),
                value.to(torch.int64), value.new_full(value.shape, 9).to_sparse(), value.reshape(-1)[:0].clone(),
            ])  # fmt: skip
        return draws.choice(ODD)

    for _ in range(count):
        yield saved(changed(fields_of(good), draws.randrange(1, 6)))


def good_checkpoint(**changes: Any) -> bytes:
    """Return the checkpoint of a network with two parameters."""
    weights = {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}
    row: dict[str, float | None] = dict.fromkeys(MEASURES, 0.5)
    given = {
        "epoch": 3, "device": "cpu", "parameters": weights, "constants": {},
        "optimizer": {name: {"velocity": value} for name, value in weights.items()},
        "probes": {"forgetting": {"_events": torch.zeros(5, dtype=torch.int64)}}, "rows": [(1, row), (3, row)],
        "examples": [], "measured": {3: ("forgetting",)}, "diverged": None, "seconds": 0.5, **changes,
    }  # fmt: skip
    return encode(Checkpoint(**given))
