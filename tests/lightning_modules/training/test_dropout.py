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


def test_members_of_equal_seed_and_rate_have_equal_masks_and_a_higher_rate_drops_more_of_the_same():
    mild, hard, other = Point(dropout=0.3, seed=4), Point(dropout=0.6, seed=4), Point(dropout=0.3, seed=5)
    together = first(masks(mild, other, mild, hard), 20).clone()
    assert torch.equal(together[0], together[2])
    assert not torch.equal(together[0], together[1])
    assert ((together[0] != 0) >= (together[3] != 0)).all()
    for k, member in enumerate((mild, other, mild, hard)):
        assert torch.equal(first(masks(member), 20)[0], together[k])


def test_both_precisions_drop_the_same_and_float32_is_float64_rounded():
    members = [Point(dropout=rate, seed=seed) for rate in (0.1, 0.3, 0.9) for seed in (0, 1)]
    single, double = (first(masks(*members, dtype=dtype), 33) for dtype in (torch.float32, torch.float64))
    assert single.dtype == torch.float32
    assert torch.equal(single, double.float())


def test_an_example_has_the_same_mask_in_a_shorter_batch():
    drawing = masks(Point(dropout=0.5), shapes={"a.keep0": (7,), "b.keep0": (3, 5)})
    whole = {name: mask.clone() for name, mask in drawing.draw(drawing.keys[1], 20).items()}
    for name, mask in drawing.draw(drawing.keys[1], 3).items():
        assert torch.equal(mask, whole[name][:, :3])


def test_masks_depend_on_the_keys_alone_and_stay_in_their_memory():
    drawing = masks(Point(dropout=0.5), Point(dropout=0.2, seed=1), dtype=torch.float32)
    keys = drawing.keys[0].clone()
    before = drawing.draw(keys, 10)["drop.keep0"]
    expected = before.clone()
    keys.copy_(drawing.keys[1])
    assert drawing.draw(keys, 10)["drop.keep0"].data_ptr() == before.data_ptr()
    assert not torch.equal(before, expected)
    keys.copy_(drawing.keys[0])
    drawing.draw(keys, 10)
    assert torch.equal(before, expected)


def test_a_member_that_joins_later_has_the_masks_of_its_own_updates():
    members = [Point(dropout=0.5, seed=seed) for seed in (0, 0, 1)]
    mixed = DropoutMasks(members, {"drop.keep0": (31,)}, CPU, torch.float64, [0, 2, 2])
    mixed.begin_epoch([0, 6, 6], UPDATES)
    drawn = first(mixed, 10)
    assert not torch.equal(drawn[0], drawn[1])
    for k, update in enumerate((0, 6, 6)):
        alone = DropoutMasks([members[k]], {"drop.keep0": (31,)}, CPU, torch.float64)
        alone.begin_epoch([0], 9)
        assert torch.equal(alone.draw(alone.keys[update], 10)["drop.keep0"][0], drawn[k])


def test_masks_of_training_mode_are_found_and_leave_buffers_alone() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.norm = nn.Dropout(), nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.norm(x)
            return self.drop(self.drop(x)[:, :2]) if self.training else x

    network = replace_dropout(Network(), True).eval()
    before = {name: value.clone() for name, value in network.named_buffers()}
    assert mask_shapes(network, torch.randn(1, 3)) == {"drop.keep0": (3,), "drop.keep1": (2,)}
    assert not network.training
    buffers = dict(network.named_buffers())
    assert all(torch.equal(buffers[name], value) for name, value in before.items())
