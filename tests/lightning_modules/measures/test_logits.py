from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from lightning_modules.measures.logits import cross_entropy, most_likely

LAYOUTS = {
    "classes last": lambda logits: logits.contiguous(),
    "examples last": lambda logits: logits.transpose(1, 2).contiguous().transpose(1, 2),
}


@pytest.fixture(params=LAYOUTS, ids=str)
def in_layout(request):
    return LAYOUTS[request.param]


def test_the_most_likely_class_is_the_first_of_equal_ones_and_nan_is_the_largest(in_layout):
    logits = torch.tensor([[[1.0, 3.0, 3.0], [2.0, 1.0, 2.0], [math.inf, 0.0, math.inf], [0.0, math.nan, 9.0]]])
    assert most_likely(in_layout(logits)).tolist() == [[1, 0, 0, 1]]


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_most_likely_class_is_that_of_argmax(in_layout, classes):
    logits = torch.randint(-3, 3, (5, 67, classes), generator=torch.Generator().manual_seed(classes)).float()
    assert torch.equal(most_likely(in_layout(logits)), logits.argmax(2))


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("members", [1, 3])
def test_the_cross_entropy_has_the_bits_of_each_member_alone(in_layout, classes, members):
    generator = torch.Generator().manual_seed(classes)
    logits = in_layout(torch.randn(members, 67, classes, dtype=torch.float64, generator=generator) * 9)
    labels = torch.randint(0, classes, (members, 67), generator=generator)
    losses = cross_entropy(logits, labels)
    for k in range(members):
        expected = functional.cross_entropy(logits[k].contiguous(), labels[k], reduction="none")
        torch.testing.assert_close(losses[k], expected, rtol=1e-13, atol=1e-13)
        assert torch.equal(losses[k : k + 1], cross_entropy(in_layout(logits[k : k + 1]), labels[k : k + 1]))
