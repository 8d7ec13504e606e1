"""Tests on a zoo of users' networks, in `zoo/`: those in `sound_*.py` train with equal bits in any stack, and those in
`unsound_*.py` are refused, each with its sentence in `zoo/refused.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import ModelError
from lightning_modules.models import resolve
from lightning_modules.settings import Settings
from lightning_modules.training.entry import Entry
from lightning_modules.training.inspection.inspect import inspect
from lightning_modules.training.stack import Stack

ZOO = Path(__file__).parent / "zoo"
SHAPE, CLASSES = (1, 6, 6), 3
EPOCHS = 2


def names(prefix: str) -> list[str]:
    """Return the import paths of the networks in some files of the zoo, which are not imported for that."""
    found = []
    for file in sorted(ZOO.glob(f"{prefix}_*.py")):
        for line in file.read_text().splitlines():
            word, _, rest = line.partition(" ")
            name = rest.partition("(")[0].partition(":")[0]
            if word in ("def", "class") and not name.startswith("_") and name not in ("Base", "Returns"):
                found.append(f"{file.stem}:{name}")
    return found


SOUND, UNSOUND = names("sound"), names("unsound")
HEAVY = (
    "Loop", "Residual", "Scaled", "Attention", "transformer_layer", "silu_and_elu", "transposed", "convolutions_1d",
    "instance_norm", "upsampled",
)  # fmt: skip
"""Networks of many calls, which train with the slow tests."""
REFUSED = dict(line.split(" ", 1) for line in (ZOO / "refused.txt").read_text().splitlines())
"""Model -> its sentence, after "MODEL "."""


@pytest.fixture(autouse=True)
def _zoo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ZOO))
    monkeypatch.setenv("MEMSWEEP_CACHE", str(tmp_path))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Return a few examples of the numbers 0 to 3, which a network may take as grey levels or as words."""
    draw = np.random.default_rng(0)
    inputs, tests = draw.integers(0, 4, (12, *SHAPE)), draw.integers(0, 4, (12, *SHAPE))
    return Dataset.of(inputs, np.arange(12) % CLASSES, tests, np.arange(12) % CLASSES, classes=CLASSES)


def trained(model: str, seeds: list[int], precision: str, dataset: Dataset) -> list[dict[str, Tensor]]:
    """Train a stack, and return the tensors and the measures of each member."""
    settings = {"data": "x", "dataset_size": 12, "model": model, "epochs": EPOCHS, "batch_size": 6, "dropout": 0.3}
    entries = [Entry(str(seed), Settings(**settings, seed=seed, precision=precision), (1, 2)) for seed in seeds]
    stack = Stack(dataset)
    stack.change(joining=entries)
    stack.advance(EPOCHS)
    states = [entry.checkpoint for entry in stack.entries(range(len(seeds)))]
    stack.change(leaving=range(len(seeds)))
    return [
        {
            **state.parameters,
            **state.constants,
            "measures": torch.tensor([[value or 0.0 for value in row.values()] for _, row in state.rows]).double(),
        }
        for state in states
        if state
    ]


def check_bits(model: str, precision: str, dataset: Dataset) -> None:
    whole = trained(model, [0, 1, 2], precision, dataset)
    assert any(not torch.equal(whole[0][name], whole[1][name]) for name in whole[0])
    for seeds in ([1], [2, 0]):
        for seed, member in zip(seeds, trained(model, seeds, precision, dataset), strict=True):
            unequal = [name for name, value in member.items() if not torch.equal(value, whole[seed][name])]
            assert unequal == [], f"seed {seed} in {seeds}"


def test_the_zoo_is_large_enough_and_every_refusal_is_written_down() -> None:
    assert len(SOUND) >= 20
    assert len(UNSOUND) >= 20
    assert [*REFUSED] == UNSOUND


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(
    "model",
    [pytest.param(name, marks=[pytest.mark.slow] * (name.partition(":")[2] in HEAVY)) for name in SOUND],
)
def test_a_sound_network_passes_and_trains_with_equal_bits_in_any_stack(model: str, dataset: Dataset) -> None:
    resolve(model, SHAPE, CLASSES)
    assert inspect(Settings(data="x", model=model, precision="float64"), lambda: dataset)
    check_bits(model, "float64", dataset)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("model", SOUND)
def test_it_does_in_float32_too(model: str, dataset: Dataset) -> None:
    assert inspect(Settings(data="x", model=model), lambda: dataset)
    check_bits(model, "float32", dataset)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", UNSOUND)
def test_an_unsound_network_is_refused_in_one_sentence(model: str, dataset: Dataset) -> None:
    def plan() -> None:
        resolve(model, SHAPE, CLASSES)
        inspect(Settings(data="x", model=model), lambda: dataset)

    with pytest.raises(ModelError) as caught:
        plan()
    assert caught.value.field == "model"
    assert str(caught.value) == f"{model} {REFUSED[model]}"
