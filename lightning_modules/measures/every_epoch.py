"""The per-epoch measures, computed for each member on the full training, held-out and test sets.

`catalogue.MEASURES` names the function in this module that computes each measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lightning_modules.data.datamodule import Examples, Splits
from lightning_modules.measures.catalogue import MEASURES
from lightning_modules.measures.chunks import chunk_size


@dataclass(frozen=True)
class Predictions:
    """The predictions of K members on the n examples of a split. Every tensor is [K, n].

    Attributes:
        loss: Cross-entropy with the given label, in nats, float64.
        predicted: The class with the largest logit.
        given: The labels that the member is trained on.
        true: The labels before any noise.
    """

    loss: Tensor
    predicted: Tensor
    given: Tensor
    true: Tensor

    @cached_property
    def corrupted(self) -> Tensor:
        """bool [K, n]: whether the given label differs from the true label."""
        return self.given != self.true


@dataclass(frozen=True)
class EvaluatedStack:
    """The state of K members at one epoch, from which the per-epoch measures are computed.

    Attributes:
        splits: The predictions on `train`, on `test` and, if a part is held out, on `validation`.
        parameters: The trainable parameters by name, each [K, ...].
        classes: The number of classes.
    """

    splits: Mapping[str, Predictions]
    parameters: Mapping[str, Tensor]
    classes: int

    @property
    def train(self) -> Predictions:
        return self.splits["train"]


Compute = Callable[[EvaluatedStack], Tensor]

Predict = Callable[[Examples, int, int], tuple[Tensor, Tensor]]
"""(examples, start, stop) -> losses and predicted classes [K, n] of these examples, as `logits.judged` returns them.
The next call may overwrite both."""


def evaluate(
    predict: Predict, parameters: Mapping[str, Tensor], data: Splits, classes: int
) -> list[dict[str, float | None]]:
    """Compute the per-epoch measures.

    Args:
        predict: Runs the K networks in evaluation mode.
        parameters: The trainable parameters by name, each [K, ...].
        data: The examples of the K members.
        classes: The number of classes.

    Returns:
        One dict of measures per member. A measure is None if it is not defined. It is omitted if it needs a held-out
        part and no part is held out.

    Raises:
        ValueError: A measure did not return one number per member.
    """
    parts = {"train": data.train, "test": data.test, "validation": data.validation}
    splits = {name: _predict(predict, examples) for name, examples in parts.items() if examples is not None}
    stack = EvaluatedStack(splits, parameters, classes)
    members, columns = len(data.train.given), {}
    for name, metric in MEASURES.items():
        if metric.needs == "held_out" and data.validation is None:
            continue
        column = metric.function(stack)
        if column.shape != (members,):
            raise ValueError(f"measure {name}: returned shape {[*column.shape]}; valid: [{members}]")
        columns[name] = column.to(data.train.given.device, torch.float64)
    values = dict(zip(columns, torch.stack([*columns.values()]).tolist(), strict=True))  # one copy from a GPU
    return [
        {name: None if math.isnan(column[k]) else column[k] for name, column in values.items()} for k in range(members)
    ]


def _loss_on(split: str) -> Compute:
    return lambda stack: stack.splits[split].loss.mean(1)


def _accuracy_on(split: str) -> Compute:
    return lambda stack: fraction(stack.splits[split].predicted == stack.splits[split].given)


train_loss, validation_loss, test_loss = map(_loss_on, ("train", "validation", "test"))
train_accuracy, validation_accuracy, test_accuracy = map(_accuracy_on, ("train", "validation", "test"))


def clean_accuracy(stack: EvaluatedStack) -> Tensor:
    return fraction(stack.train.predicted == stack.train.true, ~stack.train.corrupted)


def clean_loss(stack: EvaluatedStack) -> Tensor:
    return _mean(stack.train.loss, ~stack.train.corrupted)


# The next three measures divide the corrupted examples by the predicted class (Liu et al. 2020, arXiv 2007.00151): the
# given (wrong) label, the true label, or any other class.


def memorized_fraction(stack: EvaluatedStack) -> Tensor:
    return fraction(stack.train.predicted == stack.train.given, stack.train.corrupted)


def recovered_fraction(stack: EvaluatedStack) -> Tensor:
    return fraction(stack.train.predicted == stack.train.true, stack.train.corrupted)


def other_fraction(stack: EvaluatedStack) -> Tensor:
    train = stack.train
    return fraction((train.predicted != train.given) & (train.predicted != train.true), train.corrupted)


def corrupted_loss(stack: EvaluatedStack) -> Tensor:
    return _mean(stack.train.loss, stack.train.corrupted)


def bits_memorized(stack: EvaluatedStack) -> Tensor:
    """Compute N log2 C + sum of log2 p(label as given), the measure of Morris et al. 2025 adapted to classifiers.

    The value is at most N log2 C bits, and negative for a network that is worse than guessing.
    """
    losses = stack.train.loss
    return losses.shape[1] * math.log2(stack.classes) - losses.sum(1) / math.log(2)


def weight_norm(stack: EvaluatedStack) -> Tensor:
    parameters = [values for _, values in sorted(stack.parameters.items())]  # a sum's bits depend on its terms' order
    squares = sum(values.detach().double().reshape(len(values), -1).square().sum(1) for values in parameters)
    return torch.as_tensor(squares).sqrt().expand(len(stack.train.loss))


def _predict(predict: Predict, examples: Examples) -> Predictions:
    chunk = chunk_size(examples)
    losses = torch.empty(examples.given.shape, dtype=torch.float64, device=examples.given.device)
    predicted = torch.empty_like(examples.given)
    for start in range(0, examples.size, chunk):
        stop = min(start + chunk, examples.size)
        losses[:, start:stop], predicted[:, start:stop] = predict(examples, start, stop)
    return Predictions(losses, predicted, examples.given, examples.true)


def fraction(hits: Tensor, among: Tensor | None = None) -> Tensor:
    """Return the fraction of hits in each row, float64 [K], among the marked entries; NaN if none is marked."""
    if among is None:
        return hits.double().mean(1)
    return (hits & among).sum(1).double() / among.sum(1)


def _mean(values: Tensor, among: Tensor) -> Tensor:
    """Return the mean of the marked values in each row, [K]; NaN if none is marked."""
    return torch.where(among, values, 0.0).sum(1) / among.sum(1)
