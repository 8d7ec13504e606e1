"""Tests of forgetting, cumulative loss, input gradients and correctness against a plain training that logs updates."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from memsweep.testing import make_entries

from lightning_modules.measures.cumulative_loss import CumulativeLoss
from lightning_modules.measures.forgetting import Forgetting
from lightning_modules.measures.gini import gini
from lightning_modules.measures.input_gradients import InputGradients
from lightning_modules.measures.on_demand import Presentation
from lightning_modules.training.train import train_cohort
from sweeps.spec.point import Point

POINT = Point(data="digits", dataset_size=60, batch_size=13, epochs=4, precision="float64", width=6, depth=1,
              learning_rate=0.3, label_noise=0.4, seed=3)  # fmt: skip
NEIGHBOUR = POINT.with_(seed=4, learning_rate=0.1, label_noise=0.1)


def probed(name, digits, point=POINT):
    """Train the point beside a neighbour, and return its row and its per-example measures at the last epoch."""
    measured = {point.epochs: (name,)}
    neighbour = NEIGHBOUR.with_(subset_fraction=point.subset_fraction)
    result = train_cohort(make_entries([neighbour, point], [point.epochs], measured), digits).members[1]
    (_, row), examples = result.rows[0], [each for _, each in result.examples]
    return row, examples


def test_forgetting_as_counted_by_hand(digits, plain, by_id):
    row, (events,) = probed("forgetting", digits)
    seen: dict[int, list[bool]] = {}
    diary = plain(POINT)
    for update in diary.updates:
        for i, logits in zip(update.ids, update.logits, strict=True):
            seen.setdefault(i, []).append(int(logits.argmax()) == diary.given[i])
    counts = {i: sum(a and not b for a, b in pairwise(s)) for i, s in seen.items() if any(s)}
    found = by_id(events)
    assert {i: n for i, n in found.items() if not math.isnan(n)} == counts
    assert found.keys() == seen.keys()
    assert any(counts.values()), "nothing was forgotten, so nothing was compared"
    assert row["forgetting_events"] == pytest.approx(np.mean(list(counts.values())))
    assert row["never_learned"] == pytest.approx((60 - len(counts)) / 60)
    assert row["unforgettable"] == pytest.approx(sum(n == 0 for n in counts.values()) / 60)
    assert 0 < row["never_learned"] < 1
    assert (events.measure, events.split) == ("forgetting_events", "train")


def presentation(correct: list[bool], positions: list[int] | None = None) -> Presentation:
    """Return a presentation of one member's examples at `positions`, all of class 1 of 2, correct or not."""
    logits = torch.tensor([[[0.0, 1.0] if right else [1.0, 0.0] for right in correct]])
    at = torch.tensor([positions or list(range(len(correct)))])
    ones = torch.ones_like(at)
    return Presentation(at, torch.zeros(1, len(correct), 64), logits, ones, ones.double())


def test_forgetting_of_four_examples_by_hand(digits, stack):
    probe = Forgetting(*stack([POINT.with_(dataset_size=10)]))
    for first, second in [([1, 0], [0, 0]), ([0, 1], [0, 1]), ([1, 1], [0, 1]), ([0, 1], [1, 1])]:
        probe.on_update(presentation(list(map(bool, first)), [0, 1]))
        probe.on_update(presentation(list(map(bool, second)), [2, 3]))
    (reading,) = probe.read(4)
    # 0: right, wrong, right, wrong. 1: wrong, then right. 2: always wrong. 3: wrong, then right. 4 to 9: not shown yet.
    assert reading.examples[0].values[:4].tolist() == [2, 0, 0, 0]
    assert np.isnan(reading.examples[0].values[4:]).all()
    assert reading.scalars == {"forgetting_events": 0.5, "never_learned": 0.6, "unforgettable": 0.3}


def test_before_training_nothing_is_learned_and_no_loss_added_up(stack):
    made = stack([POINT])
    (forgetting,), (loss,), (gradient,) = (kind(*made).read(0) for kind in (Forgetting, CumulativeLoss, InputGradients))
    assert forgetting.scalars == {"never_learned": 1.0, "forgetting_events": None, "unforgettable": 0.0}
    assert loss.scalars == {"cumulative_loss": 0.0}
    assert gradient.scalars == {"input_gradient_norm": None, "input_gradient_gini": None}
    assert np.isnan(forgetting.examples[0].values).all()
    assert np.isnan(gradient.examples[0].values).all()


def test_cumulative_loss_is_what_the_diary_adds_up_to(digits, plain, by_id):
    row, (losses,) = probed("cumulative_loss", digits)
    totals: dict[int, float] = {}
    for update in plain(POINT).updates:
        for i, loss in zip(update.ids, update.losses.tolist(), strict=True):
            totals[i] = totals.get(i, 0.0) + loss
    assert by_id(losses) == pytest.approx(totals, rel=1e-9)
    assert row["cumulative_loss"] == pytest.approx(np.mean(list(totals.values())))


def test_input_gradients_are_those_of_examples_taken_one_by_one(digits, plain, by_id):
    row, (norms,) = probed("input_gradient", digits)
    diary: dict[int, list[float]] = {}
    for update in plain(POINT).updates:
        for i, norm in zip(update.ids, update.input_norms, strict=True):
            diary.setdefault(i, []).append(norm)
    means = {i: np.mean(each) for i, each in diary.items()}
    assert by_id(norms) == pytest.approx(means, rel=1e-9)
    assert row["input_gradient_norm"] == pytest.approx(np.mean(list(means.values())))
    assert row["input_gradient_gini"] == pytest.approx(gini(list(means.values())))


def test_input_gradients_have_to_be_there(stack):
    with pytest.raises(ValueError, match="without input gradients"):
        InputGradients(*stack([POINT])).on_update(presentation([True]))


@pytest.mark.parametrize("fraction", [1.0, 0.7])
def test_correctness_is_that_of_a_plain_network(fraction, digits, plain, by_id):
    point = POINT.with_(subset_fraction=fraction)
    row, parts = probed("example_correctness", digits, point)
    splits = {each.split: each for each in parts}
    diary = plain(point, splits["train"].example_ids)

    def right(inputs, labels, ids):
        with torch.no_grad():
            predicted = diary.network(torch.from_numpy(inputs[ids]).double()).argmax(1)
        return {i: float(p == labels[i]) for i, p in zip(ids.tolist(), predicted.tolist(), strict=True)}

    trained = right(digits.train_inputs, diary.given, splits["train"].example_ids)
    assert by_id(splits["train"]) == trained
    everything = np.arange(len(digits.test_labels))
    assert by_id(splits["test"]) == right(digits.test_inputs, digits.test_labels, everything)
    left_out = {}
    if fraction < 1:
        left_out = right(digits.train_inputs, diary.given, splits["left_out"].example_ids)
        assert by_id(splits["left_out"]) == left_out
        assert row["left_out_accuracy"] == pytest.approx(np.mean(list(left_out.values())))
        assert len(left_out) == 18
    else:
        assert splits.keys() == {"train", "test"}
        assert row["left_out_accuracy"] is None
    assert {**trained, **left_out}.keys() == diary.given.keys()
    assert row["correct_fraction"] == pytest.approx(np.mean([*trained.values(), *left_out.values()]))
    assert row["train_accuracy"] == pytest.approx(np.mean(list(trained.values())))
