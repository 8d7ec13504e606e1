"""An update that is launched as a CUDA graph has the bits that its program has without."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from memsweep.testing import make_entries

from lightning_modules.data import sources
from lightning_modules.data.datamodule import CohortData
from lightning_modules.training.cohort import CohortModule
from lightning_modules.training.program import graphs
from tests.gpu.agreement import STACKS, TOLERANCE, points

FURTHER = {
    "mlp, SGD, augmented": ("mlp, SGD", {"rotation": 10.0, "crop_flip": 2, "augment_noise": 0.1, "dropout": 0.2}),
    "convnet, AdamW, augmented": ("convnet", {"rotation": 10.0, "crop_flip": 2, "dropout": 0.2, "optimizer": "adamw"}),
    "resnet, AdamW, dropout": ("resnet", {"dropout": 0.2, "optimizer": "adamw"}),
    "transformer, AdamW, dropout": ("transformer", {"dropout": 0.2, "optimizer": "adamw"}),
}
EPOCHS = 4


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """A function that returns the number of launches of graphs so far."""
    count = 0
    replay = torch.cuda.CUDAGraph.replay

    def counted(graph: torch.cuda.CUDAGraph) -> None:
        nonlocal count
        count += 1
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", counted, raising=False)
    return lambda: count


def train(stack: str, device: str) -> tuple[torch.Tensor, torch.Tensor, list[object]]:
    """Train three members, and return their parameters, losses and measures."""
    base, fields = FURTHER.get(stack, (stack, {}))
    members = [point.with_(**fields) for point in points(base, 3)]
    data = CohortData(members, sources.load("digits"), torch.device(device), torch.float32)
    module = CohortModule(make_entries(members, range(EPOCHS + 1)), data)
    for _ in range(EPOCHS):
        module.train()
        module.on_train_epoch_start()
        module.training_step(data.order(module.epochs), 0)
        module.epochs = [epoch + 1 for epoch in module.epochs]
        module.measure()
    return module.network.matrix.cpu(), module._losses.cpu(), list(module.rows)


@pytest.mark.parametrize("stack", [*STACKS, *FURTHER])
def test_a_graph_has_the_bits_of_its_program(stack, device, monkeypatch, launches, report):
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "DEVICES", frozenset())
        plain, again = (train(stack, device) for _ in range(2))
        assert launches() == 0
    graphed = train(stack, device)
    assert (launches() > 0) == (device == "cuda")
    deterministic = torch.equal(plain[0], again[0]) and torch.equal(plain[1], again[1])
    report("launches of graphs", launches())
    report("equal bits in two runs", float(deterministic))
    if deterministic:
        assert torch.equal(graphed[0], plain[0])
        assert torch.equal(graphed[1], plain[1])
        assert graphed[2] == plain[2]
    else:
        torch.testing.assert_close(graphed[0], plain[0], rtol=TOLERANCE["float32"], atol=TOLERANCE["float32"])
