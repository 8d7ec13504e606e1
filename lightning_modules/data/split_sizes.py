"""Sizes of the splits of the training examples: trained on, left out of the subset, and held out for validation."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from lightning_modules.settings import Settings


def rounded_share(fraction: float, total: int) -> int:
    """Return `fraction * total` rounded to the nearest whole number, halves upwards.

    The fraction is the decimal number that its repr shows: 0.15 of 10 is 2, although the float 0.15 is slightly less
    than 15 / 100.
    """
    return int((Decimal(repr(float(fraction))) * total).to_integral_value(ROUND_HALF_UP))


@dataclass(frozen=True)
class SplitSizes:
    """The sizes of the splits of a training's examples."""

    trained: int
    left_out: int
    held_out: int

    @property
    def total(self) -> int:
        """The number of training examples that the training takes from the data set."""
        return self.trained + self.left_out + self.held_out

    def updates(self, batch_size: int) -> int:
        """Return the number of updates per epoch. The last batch may be smaller than the others."""
        return -(-self.trained // batch_size)

    def last_batch(self, batch_size: int) -> int:
        """Return the number of examples of the last batch of an epoch, which is the smallest."""
        return (self.trained - 1) % batch_size + 1

    @classmethod
    def of(cls, total: int, validation_fraction: float, subset_fraction: float) -> SplitSizes:
        """Split `total` examples: first the validation part, then the subset of what remains."""
        held_out = rounded_share(validation_fraction, total)
        trained = rounded_share(subset_fraction, total - held_out)
        return cls(trained, total - held_out - trained, held_out)


def split_sizes(settings: Settings, available: int) -> SplitSizes:
    """Split the examples of a training.

    Args:
        settings: the settings of the training. An unset `dataset_size` means all examples.
        available: the number of training examples in the data set.
    """
    total = settings.dataset_size or available
    return SplitSizes.of(total, settings.validation_fraction, settings.subset_fraction)
