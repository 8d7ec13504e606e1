from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.training.dropout import DropoutMasks, MaskedDropout, mask_shapes, replace_dropout
from sweeps.spec.point import Point

CPU = torch.device("cpu")
UPDATES = 3


def masks(
    *members: Point, shapes: dict[str, tuple[int, ...]] | None = None, dtype: torch.dtype = torch.float64
) -> DropoutMasks:
    drawing = DropoutMasks(members, {"drop.keep0": (31,)} if shapes is None else shapes, CPU, dtype)
    drawing.begin_epoch([0] * len(members), UPDATES)
    return drawing


def first(drawing: DropoutMasks, batch: int) -> Tensor:
    return drawing.draw(drawing.keys[0], batch)["drop.keep0"]


def test_every_dropout_of_a_network_is_found_with_its_shape():
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Dropout2d(), nn.Sequential(nn.Dropout(), nn.Flatten()), nn.Linear(108, 5), nn.Dropout()
    )
    replace_dropout(network, masked=True)
    assert not any(isinstance(module, nn.Dropout | nn.Dropout2d) for module in network.modules())
    assert mask_shapes(network, torch.zeros(1, 1, 8, 8)) == {
        "1.keep0": (3, 1, 1),
        "2.0.keep0": (3, 6, 6),
        "4.keep0": (5,),
    }


def test_a_module_that_is_used_twice_has_a_mask_for_each_use():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.wide = nn.Dropout(), nn.Linear(2, 5)
            self.same = self.drop

        def forward(self, x):
            return self.same(self.wide(self.drop(x)))

    network = replace_dropout(Twice(), masked=True)
    assert mask_shapes(network, torch.zeros(1, 2)) == {"drop.keep0": (2,), "drop.keep1": (5,)}
    network.train()
    network.drop.keep0, network.drop.keep1 = torch.tensor([0.0, 0.0]), torch.full((5,), 2.0)
    for _ in range(2):
        assert torch.equal(network(torch.ones(1, 2))[0], 2 * network.wide.bias)


def test_where_no_member_drops_there_is_nothing_left_of_it():
    network = replace_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.9)), masked=False)
    assert not any(isinstance(module, MaskedDropout | nn.Dropout) for module in network.modules())


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_kept_activations_are_scaled_to_the_same_mean(rate):
    drawn = first(masks(Point(dropout=rate)), 4000)
    assert drawn.shape == (1, 4000, 31)
    assert drawn.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)], rel=1e-4)  # rates in steps of 2**-16
    # 124,000 draws: the standard error of the mean is below 0.009 at 0.9.
    assert drawn.mean().item() == pytest.approx(1, abs=0.04)


def test_a_member_draws_the_same_alone_and_beside_others():
    member, others = Point(dropout=0.3, seed=7), [Point(dropout=0.6, seed=1), Point(dropout=0.0, seed=2)]
    alone, beside = masks(member), masks(*others, member)
    for batch, own, shared in zip((20, 20, 3), alone.keys, beside.keys, strict=True):
        assert torch.equal(alone.draw(own, batch)["drop.keep0"][0], beside.draw(shared, batch)["drop.keep0"][2])


def test_a_member_without_dropout_keeps_everything():
    drawn = first(masks(Point(dropout=0.0), Point(dropout=0.5)), 50)
    assert (drawn[0] == 1).all()
    assert (drawn[1] == 0).any()


def test_layers_and_steps_draw_anew():
    drawing = masks(Point(dropout=0.5), shapes={"a.keep0": (40,), "b.keep0": (40,)})
    a, b = (mask.clone() for mask in drawing.draw(drawing.keys[0], 30).values())
    assert not torch.equal(a, b)
    assert not torch.equal(a, drawing.draw(drawing.keys[1], 30)["a.keep0"])


def test_a_rate_next_to_one_drops_nearly_all_and_is_the_rate_it_is_scaled_by():
    drawn = first(masks(Point(dropout=0.999999)), 1000)
    assert (drawn == 0).double().mean() > 0.999
    assert drawn.max().item() in (0.0, 65536.0)
