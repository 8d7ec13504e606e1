from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.schedules import learning_rates
from lightning_modules.training.flat import Layout
from lightning_modules.training.optimizers import OPTIMIZERS
from sweeps.spec.point import Point

rates = st.floats(1e-4, 1.0)


@given(st.lists(st.tuples(rates, st.floats(0, 0.99), st.floats(0, 0.5)), min_size=1, max_size=4), st.integers(0, 99))
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_each_member_is_updated_as_torch_updates_it_alone(name, settings, seed):
    members = [Point(optimizer=name, learning_rate=r, momentum=m, weight_decay=d) for r, m, d in settings]
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(len(members), 3, 2, generator=generator, dtype=torch.float64)
    gradients = [torch.randn(start.shape, generator=generator, dtype=torch.float64) for _ in range(4)]
    layout = Layout.of({"weight": start})
    matrix = layout.filled({"weight": start})
    ours = OPTIMIZERS[name](layout, matrix, members)
    rates_of_updates = np.tile([member.learning_rate for member in members], (2, 1))
    scalars = torch.cat([ours.schedule(rates_of_updates) for _ in range(2)])  # two epochs of two updates
    for row, gradient in zip(scalars, gradients, strict=True):
        ours.begin()
        ours.update({"weight": gradient}, row)
    stacked = layout.views(matrix)["weight"]
    for k, member in enumerate(members):
        alone = torch.nn.Parameter(start[k].clone())
        keywords = {"lr": member.learning_rate, "weight_decay": member.weight_decay}
        theirs: torch.optim.Optimizer = (
            torch.optim.SGD([alone], momentum=member.momentum, **keywords)
            if name == "sgd"
            else torch.optim.AdamW([alone], **keywords)
        )
        for gradient in gradients:
            alone.grad = gradient[k].clone()
            theirs.step()
        torch.testing.assert_close(stacked[k], alone, rtol=1e-10, atol=1e-12)


@given(st.integers(1, 50), st.integers(1, 40), rates)
def test_cosine_goes_from_the_rate_to_nothing(per_epoch, epochs, rate):
    point = Point(lr_schedule="cosine", learning_rate=rate, epochs=epochs)
    found = learning_rates(point, np.arange(per_epoch * epochs + 1), per_epoch)
    assert found[0] == pytest.approx(rate)
    assert found[-1] == pytest.approx(0, abs=1e-12)
    assert (np.diff(found) <= 0).all()


def test_step_and_inverse_square_root_by_hand():
    updates = np.arange(8)
    step = Point(lr_schedule="step", learning_rate=1.0, lr_decay_epochs=2, lr_decay_factor=0.5)
    assert learning_rates(step, updates, 2).tolist() == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]
    root = Point(lr_schedule="inverse_sqrt", learning_rate=1.0, lr_decay_updates=3)
    expected = [1, 1, 1, 2**-0.5, 2**-0.5, 2**-0.5, 3**-0.5, 3**-0.5]
    assert learning_rates(root, updates, 2).tolist() == pytest.approx(expected)
