"""Losses and predicted classes, from the logits of K members."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def judged(logits: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy in float64 and the predicted classes, both [K, n], for logits [K, n, classes]."""
    return cross_entropy(logits.double(), given), most_likely(logits)


def most_likely(logits: Tensor) -> Tensor:
    """Return the class with the largest logit, the first of several, [K, n], for logits [K, n, classes].

    `max` finds the same classes as `argmax`, in a sixth of the time where the examples are last in memory.
    """
    return logits.max(2).indices


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy [K, n] in nats, for logits [K, n, classes].

    The axes are passed in the order that they have in memory, because torch copies the logits otherwise, and vectorises
    softmax over the classes or over the examples, whichever are last. Members are computed separately, so bits do not
    depend on the stack.
    """
    if logits.stride(2) == 1:
        losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return losses.unflatten(0, tuple(labels.shape))
    return functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
