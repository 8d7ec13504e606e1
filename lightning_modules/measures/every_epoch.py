"""What is measured at every evaluated epoch, for each member, on the full training, held-out and test sets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lightning_modules.data.datamodule import Examples, Splits
from lightning_modules.measures.chunks import chunk_examples


@dataclass(frozen=True)
class _Predictions:
    """Per example, [K, n]."""

    loss: Tensor
    """Cross-entropy with the given label, in nats, float64."""
    predicted: Tensor


def evaluate(forward: Callable[[Tensor], Tensor], data: Splits, classes: int) -> list[dict[str, float | None]]:
    """One row of measures for each member.

    `forward` maps [K, n, *shape] to logits [K, n, classes] in evaluation mode. Accuracies and fractions are in 0..1,
    losses in nats, `bits_memorized` in bits: N log2 C + sum of log2 p(label as given), after Morris et al. 2025 applied
    to classifiers; at most N log2 C, negative for a network that is worse than guessing. The three fractions split the
    corrupted examples by what they are predicted as (Liu et al. 2020, arXiv 2007.00151): the given wrong label, the
    true one, another. None where a measure has no examples to be taken on: no corrupted ones, no held-out part.
    """
    train = _predict(forward, data.train)
    test = _predict(forward, data.test)
    given, true = data.train.given, data.train.true
    corrupted = given != true
    columns: dict[str, Tensor] = {
        "train_loss": train.loss.mean(1),
        "train_accuracy": _fraction(train.predicted == given),
        "test_loss": test.loss.mean(1),
        "test_accuracy": _fraction(test.predicted == data.test.given),
        "clean_accuracy": _fraction(train.predicted == true, ~corrupted),
        "clean_loss": _mean(train.loss, ~corrupted),
        "memorized_fraction": _fraction(train.predicted == given, corrupted),
        "recovered_fraction": _fraction(train.predicted == true, corrupted),
        "other_fraction": _fraction((train.predicted != given) & (train.predicted != true), corrupted),
        "corrupted_loss": _mean(train.loss, corrupted),
        "bits_memorized": data.train.size * math.log2(classes) - train.loss.sum(1) / math.log(2),
    }
    if data.validation is not None:
        held_out = _predict(forward, data.validation)
        columns["validation_loss"] = held_out.loss.mean(1)
        columns["validation_accuracy"] = _fraction(held_out.predicted == data.validation.given)
    values = {name: column.tolist() for name, column in columns.items()}
    return [
        {name: None if math.isnan(column[k]) else column[k] for name, column in values.items()}
        for k in range(len(given))
    ]


def chunk_size(examples: Examples) -> int:
    """How many examples of a member are evaluated at once."""
    return chunk_examples(math.prod(examples.inputs.shape[1:]))


def _predict(forward: Callable[[Tensor], Tensor], examples: Examples) -> _Predictions:
    chunk = chunk_size(examples)
    losses, predicted = [], []
    for start in range(0, examples.size, chunk):
        stop = min(start + chunk, examples.size)
        logits = forward(examples.slice(start, stop)).double()
        given = examples.given[:, start:stop]
        losses.append(cross_entropy(logits, given))
        predicted.append(logits.argmax(2))
    return _Predictions(torch.cat(losses, 1), torch.cat(predicted, 1))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """[K, n] in nats, for logits [K, n, classes].

    Classes come before examples, because torch's softmax is vectorised along what comes after: 5 times as fast for 10
    classes. It treats each member by itself, so bits do not depend on the stack.
    """
    return functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")


def _fraction(hits: Tensor, among: Tensor | None = None) -> Tensor:
    """[K], float64: the part of each row that is true, among the marked ones; NaN where none is marked."""
    if among is None:
        return hits.double().mean(1)
    return (hits & among).sum(1).double() / among.sum(1)


def _mean(values: Tensor, among: Tensor) -> Tensor:
    """[K]: the mean of each row's marked values; NaN where none is marked."""
    return torch.where(among, values, 0.0).sum(1) / among.sum(1)
