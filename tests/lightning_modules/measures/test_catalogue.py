from __future__ import annotations

import pytest
import torch

from lightning_modules.data.dataset import Facts
from lightning_modules.errors import InputError, ModelError
from lightning_modules.measures import critical_samples
from lightning_modules.measures.applicability import MAX_UNROLLED_UPDATES, updates
from lightning_modules.measures.catalogue import ALL_MEASURES, MEASURES, MEASURES_ON_DEMAND, check, construct
from lightning_modules.measures.every_epoch import evaluate
from lightning_modules.measures.logits import judged
from lightning_modules.measures.metric import Metric
from lightning_modules.models import build
from lightning_modules.models.families import FAMILIES
from sweeps.spec.point import Point

POINT = Point(data="digits", dataset_size=40, batch_size=16, epochs=2, width=5, depth=1)
FACTS = Facts(1000, 100, (1, 8, 8), 10)


@pytest.fixture(autouse=True)
def short_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the searches for critical samples, which otherwise take most of the time."""
    monkeypatch.setattr(critical_samples, "EXAMPLES", 20)
    monkeypatch.setattr(critical_samples, "STEPS", 6)


def test_no_two_measures_share_a_column():
    columns = [*MEASURES, *(column for measure in MEASURES_ON_DEMAND.values() for column in measure.columns)]
    assert len(columns) == len(set(columns))
    assert [*ALL_MEASURES] == columns


def test_an_evaluation_has_every_measure_in_order_and_those_of_a_held_out_part_where_there_is_one(stack, monkeypatch):
    def evaluated(fraction):
        module, data = stack([POINT.with_(validation_fraction=fraction)])

        def predict(examples, start, stop):
            return judged(module(examples.slice(start, stop)), examples.given[:, start:stop])

        return evaluate(predict, module.network.parameters, data.splits(), 10)[0]

    assert [*evaluated(0.2)] == [*MEASURES]
    assert [*evaluated(0.0)] == [name for name, about in MEASURES.items() if about.needs != "held_out"]
    monkeypatch.setitem(MEASURES, "own", Metric("", "own", compute=lambda stack: stack.train.loss))
    with pytest.raises(ValueError, match=r"measure own: returned shape \[1, 40\]; valid: \[1\]"):
        evaluated(0.0)


@pytest.mark.parametrize("name", MEASURES_ON_DEMAND)
def test_a_probe_reads_the_columns_that_are_announced(name, stack):
    module, data = stack([POINT, POINT.with_(seed=1)])
    probe = construct(name, module, data)
    assert probe.name == name
    readings = probe.read(0)
    assert len(readings) == 2
    for reading in readings:
        assert list(reading.scalars) == list(MEASURES_ON_DEMAND[name].columns)
        assert {each.measure for each in reading.examples} == set(MEASURES_ON_DEMAND[name].examples)
        for each in reading.examples:
            assert each.example_ids.dtype == "int64"
            assert each.values.dtype == "float64"
            assert each.example_ids.shape == each.values.shape


def test_an_unknown_measure_is_told_the_valid_ones(stack):
    with pytest.raises(InputError, match="did you mean forgetting\\? valid: critical_sample_ratio, ") as caught:
        check("forgeting", POINT, FACTS, 1)
    assert caught.value.field == "measure"
    with pytest.raises(InputError, match="valid: critical_sample_ratio"):
        construct("sharpness", *stack([POINT]))


@pytest.mark.parametrize(
    ("name", "fields", "epoch", "field", "message"),
    [
        ("loss_sensitivity", {"optimizer": "adamw"}, 1, "optimizer", "given adamw; .* sgd alone"),
        ("loss_sensitivity", {"dropout": 0.2}, 1, "dropout", "given 0.2; .* use 0"),
        ("loss_sensitivity", {"augment_noise": 0.1}, 1, "augment_noise", "given 0.1; .* use 0"),
        ("loss_sensitivity", {"rotation": 10.0}, 1, "rotation", "given 10.0; .* use 0"),
        ("loss_sensitivity", {"model": "resnet", "depth": 1}, 1, "model", "given resnet .* BatchNorm"),
        ("loss_sensitivity", {"model": "convnet"}, 1, "model", r"given convnet for data of shape \(1, 8, 8\)"),
        ("loss_sensitivity", {}, 334, "epochs", "epoch 334, which is 1,002 updates; .* at most 1,000: "),
        ("loss_sensitivity", {}, 0, "epochs", "given epoch 0"),
        ("input_gradient", {}, 0, "epochs", "given epoch 0"),
    ],
)
def test_what_a_measure_cannot_do_is_said_before_training(name, fields, epoch, field, message):
    with pytest.raises(InputError, match=message) as caught:
        check(name, POINT.with_(**fields), FACTS, epoch)
    assert caught.value.field == field


@pytest.mark.parametrize("name", MEASURES_ON_DEMAND)
def test_what_a_measure_can_do_is_let_pass(name):
    check(name, POINT, FACTS, MAX_UNROLLED_UPDATES // 3)
    if name != "loss_sensitivity":
        check(name, POINT.with_(optimizer="adamw", dropout=0.5, rotation=10.0, model="resnet"), FACTS, 10**6)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 40), (40,)])
@pytest.mark.parametrize("model", FAMILIES)
def test_networks_with_buffers_are_those_refused_before_training(model, shape):
    try:
        buffers = [*build(model, shape, 10).buffers()]
    except ModelError:
        assert model == "resnet"
        return
    point = POINT.with_(model=model, width=None, depth=None)
    facts = Facts(1000, 100, shape, 10)
    if buffers:
        with pytest.raises(InputError, match="BatchNorm"):
            check("loss_sensitivity", point, facts, 1)
    else:
        check("loss_sensitivity", point, facts, 1)


@pytest.mark.parametrize(
    "fields",
    [{}, {"dataset_size": None}, {"validation_fraction": 0.5}, {"subset_fraction": 0.7, "validation_fraction": 0.2}],
)
def test_updates_are_those_of_the_training(fields, stack, digits):
    point = POINT.with_(**fields)
    _, data = stack([point])
    assert updates(point, digits.facts, 7) == 7 * data.updates_per_epoch


@pytest.mark.parametrize("name", MEASURES_ON_DEMAND)
def test_reading_leaves_everything_as_it_was(name, stack, monkeypatch):
    """This includes BatchNorm, whose running statistics would change in a forward pass in training mode."""
    monkeypatch.setattr(critical_samples, "EXAMPLES", 10)
    model = {} if name == "loss_sensitivity" else {"model": "resnet", "width": 2}
    module, data = stack([POINT.with_(**model), POINT.with_(seed=1, **model)])
    probe = construct(name, module, data)
    state = module.network.state
    before = {key: value.detach().clone() for key, value in state.items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    module.train()
    probe.read(1)
    assert module.training
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[key]) for key, value in state.items())
    assert all(value.grad is None for value in module.network.parameters.values())
