"""Registry of all measures by name, with the meaning, appearance, requirements and implementation of each.

Per-epoch measures are computed at every evaluation. On-demand measures cost more and are computed only when a sweep
requests them; one such measure may fill several columns. To add a measure, add an entry to this module, or call
`memsweep.register_measure` from your own code. The order of the entries is the order of the columns in a store.

This module does not import torch until a measure is computed, because planning and the store's schema use it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from lightning_modules.data.dataset import Facts
from lightning_modules.errors import InputError, choices
from lightning_modules.measures.applicability import MAX_UNROLLED_UPDATES, check_presented, check_unrolled
from lightning_modules.measures.metric import Metric
from lightning_modules.settings import Settings

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData
    from lightning_modules.measures.on_demand import OnDemandMeasure, StackedNetworks


@dataclass(frozen=True)
class Measure:
    """An on-demand measure.

    Attributes:
        summary: A short definition of the measure.
        cost: The time that the measure adds to a training.
        columns: The values per training and epoch, by column name. The first column is never null if the measure was
            computed.
        paper: The publication that the measure is from or is related to.
        implementation: `module:Class` of an `on_demand.OnDemandMeasure`, imported when a training computes the measure.
        examples: The values per example, training and epoch, as a mapping from name to description (unit, range).
        check: Raises InputError if the measure cannot be computed for a training at an epoch.
        slowdown: The share of a training's time that the measure adds to every update.
        effort: Maps the numbers of updates after which it is computed and the examples per update to the number of
            examples whose training takes as long as these computations.
    """

    summary: str
    cost: str
    columns: Mapping[str, Metric]
    paper: str
    implementation: str
    examples: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Settings, Facts, int], None] = lambda settings, facts, epoch: None
    slowdown: float = 0.0
    effort: Callable[[Sequence[int], int], float] = lambda updates, batch: 0.0


_PACKAGE = "lightning_modules.measures"
_EVERY_EPOCH = f"{_PACKAGE}.every_epoch"

MEASURES: dict[str, Metric] = {
    "train_loss": Metric(
        "mean cross-entropy on the training set, labels as given, in nats",
        "training loss", "nats", better="lower", colormap="cividis", compute=f"{_EVERY_EPOCH}:train_loss",
    ),
    "train_accuracy": Metric.share(
        "accuracy on the training set, labels as given",
        "training accuracy, labels as given", compute=f"{_EVERY_EPOCH}:train_accuracy",
    ),
    "validation_loss": Metric(
        "mean cross-entropy on the held-out part of the training data, labels as given, in nats",
        "validation loss", "nats", better="lower", colormap="cividis", needs="held_out",
        compute=f"{_EVERY_EPOCH}:validation_loss",
    ),
    "validation_accuracy": Metric.share(
        "accuracy on the held-out part of the training data, labels as given",
        "validation accuracy, labels as noisy as training", better="higher", needs="held_out",
        compute=f"{_EVERY_EPOCH}:validation_accuracy",
    ),
    "test_loss": Metric(
        "mean cross-entropy on the clean test set, in nats",
        "test loss", "nats", better="lower", colormap="cividis", compute=f"{_EVERY_EPOCH}:test_loss",
    ),
    "test_accuracy": Metric.share(
        "accuracy on the clean test set",
        "clean test accuracy", better="higher", chance=True, compute=f"{_EVERY_EPOCH}:test_accuracy",
    ),
    "clean_accuracy": Metric.share(
        "accuracy on the training examples whose label is true",
        "accuracy on uncorrupted training examples", better="higher", chance=True, needs="clean",
        compute=f"{_EVERY_EPOCH}:clean_accuracy",
    ),
    "clean_loss": Metric(
        "mean cross-entropy on the training examples whose label is true, in nats",
        "loss on uncorrupted training examples", "nats", better="lower", colormap="cividis", needs="clean",
        compute=f"{_EVERY_EPOCH}:clean_loss",
    ),
    "memorized_fraction": Metric.share(
        "corrupted training examples predicted as their wrong label",
        "corrupted labels memorized", better="lower", colormap="rocket_r", needs="corrupted",
        compute=f"{_EVERY_EPOCH}:memorized_fraction",
    ),
    "recovered_fraction": Metric.share(
        "corrupted training examples predicted as their true label",
        "corrupted labels recovered", better="higher", colormap="mako", chance=True, needs="corrupted",
        compute=f"{_EVERY_EPOCH}:recovered_fraction",
    ),
    "other_fraction": Metric.share(
        "corrupted training examples predicted as neither",
        "corrupted labels answered otherwise, neither given nor true", needs="corrupted",
        compute=f"{_EVERY_EPOCH}:other_fraction",
    ),
    "corrupted_loss": Metric(
        "mean cross-entropy on the corrupted training examples, labels as given, in nats",
        "loss on corrupted training examples, labels as given", "nats", colormap="cividis", needs="corrupted",
        compute=f"{_EVERY_EPOCH}:corrupted_loss",
    ),
    "bits_memorized": Metric(
        "N log2 C + sum of log2 p(label as given), over the training set, in bits",
        "memorized information", "bits", colormap="cividis", compute=f"{_EVERY_EPOCH}:bits_memorized",
    ),
    "weight_norm": Metric(
        "L2 norm of all trainable parameters",
        "L2 norm of the weights", colormap="cividis", compute=f"{_EVERY_EPOCH}:weight_norm",
    ),
}  # fmt: skip
"""The per-epoch measures. A measure is null if it is not defined, e.g. if there are no corrupted examples."""

MEASURES_ON_DEMAND: dict[str, Measure] = {
    "critical_sample_ratio": Measure(
        summary="how often the prediction changes within a small box around an example (LASS search)",
        cost="expensive: a measurement is up to 200 passes of 500 examples, as much as some 24 epochs of 4,000",
        columns={
            "critical_sample_ratio": Metric.share(
                "held-out (or test) examples with another prediction within 0.3/255 of the input's range, 0..1",
                "critical samples", better="lower", colormap="rocket_r",
            ),
            "critical_sample_ratio_wide": Metric.share(
                "the same within 3/255 of the input's range, 0..1",
                "critical samples, box ten times as wide", better="lower", colormap="rocket_r",
            ),
        },
        paper="Arpit et al. 2017, arXiv 1706.05394",
        implementation=f"{_PACKAGE}.critical_samples:CriticalSamples",
        effort=lambda updates, batch: len(updates) * 24 * 4000,
    ),
    "input_gradient": Measure(
        summary="L1 norm of the gradient of an example's loss with respect to its input, averaged over presentations",
        cost="up to a quarter on top of training: the backward pass goes on to the inputs",
        columns={
            "input_gradient_norm": Metric(
                "mean over training examples, in nats per unit of input, at least 0",
                "input gradient, L1 norm", "nats per unit of input", colormap="cividis",
            ),
            "input_gradient_gini": Metric(
                "Gini coefficient over training examples, 0..1",
                "Gini of input gradients over examples", "0 to 1", limits=(0.0, 1.0),
            ),
        },
        paper="the cheap relative of the loss sensitivity of Arpit et al. 2017, arXiv 1706.05394",
        implementation=f"{_PACKAGE}.input_gradients:InputGradients",
        examples={"input_gradient_norm": "mean over presentations so far, in nats per unit of input, at least 0"},
        check=check_presented,
        slowdown=0.25,
    ),
    "loss_sensitivity": Measure(
        summary="L1 norm of the gradient of the mean training loss with respect to an example, through all of the "
        "training, averaged over updates",
        cost="very expensive: rises with the square of the updates (200 of a small MLP on 1,000 digits: 8 s), "
        f"of which {MAX_UNROLLED_UPDATES:,} are allowed",
        columns={
            "loss_sensitivity": Metric(
                "mean over training examples, in nats per unit of input, at least 0",
                "loss sensitivity, L1 norm", "nats per unit of input", colormap="cividis",
            ),
            "loss_sensitivity_gini": Metric(
                "Gini coefficient over training examples, 0..1",
                "Gini of loss sensitivity over examples", "0 to 1", limits=(0.0, 1.0),
            ),
        },
        paper="Arpit et al. 2017, arXiv 1706.05394",
        implementation=f"{_PACKAGE}.unrolled:LossSensitivity",
        examples={"loss_sensitivity": "mean over updates so far, in nats per unit of input, at least 0"},
        check=check_unrolled,
        effort=lambda updates, batch: 2.4 * batch * max(updates, default=0) ** 2 / 2,
    ),
    "forgetting": Measure(
        summary="how often a training example that was classified correctly no longer is",
        cost="about a tenth on top of training at most: what training computes anyway is added up",
        columns={
            "never_learned": Metric.share(
                "training examples never classified as their given label at a presentation, 0..1",
                "training examples never learned",
            ),
            "forgetting_events": Metric(
                "mean number of events over the training examples that were ever learned, at least 0",
                "forgetting events per learned example", "events", colormap="cividis",
            ),
            "unforgettable": Metric.share(
                "training examples learned and never forgotten, 0..1",
                "training examples learned and never forgotten",
            ),
        },
        paper="Toneva et al. 2019, arXiv 1812.05159",
        implementation=f"{_PACKAGE}.forgetting:Forgetting",
        slowdown=0.1,
        examples={"forgetting_events": "number of events so far, a whole number; null: never learned"},
    ),
    "cumulative_loss": Measure(
        summary="cross-entropy of a training example, added up over all its presentations",
        cost="about a tenth on top of training at most: what training computes anyway is added up",
        columns={
            "cumulative_loss": Metric(
                "mean over training examples, labels as given, in nats, at least 0",
                "loss summed over epochs, mean example", "nats", better="lower", colormap="cividis",
            ),
        },
        paper="a learning-speed proxy of the C-score, Jiang et al. 2021, arXiv 2002.03206",
        implementation=f"{_PACKAGE}.cumulative_loss:CumulativeLoss",
        slowdown=0.1,
        examples={"cumulative_loss": "sum over presentations so far, label as given, in nats, at least 0"},
    ),
    "example_correctness": Measure(
        summary="which examples are classified correctly, trained on or left out",
        cost="an evaluation",
        columns={
            "correct_fraction": Metric.share(
                "training examples, left-out ones included, predicted as their given label, 0..1",
                "training examples answered as labelled, left-out ones too",
            ),
            "left_out_accuracy": Metric.share(
                "left-out training examples predicted as their given label, 0..1",
                "accuracy on left-out examples, labels as given", better="higher",
            ),
        },
        paper="Arpit et al. 2017, arXiv 1706.05394, figure 1; Feldman & Zhang 2020, arXiv 2008.03703",
        implementation=f"{_PACKAGE}.correctness:ExampleCorrectness",
        examples={"correct": "1 if predicted as its given label (test: its true one), else 0"},
    ),
}  # fmt: skip
"""The on-demand measures."""

COLUMNS_ON_DEMAND: dict[str, Metric] = {
    column: metric for measure in MEASURES_ON_DEMAND.values() for column, metric in measure.columns.items()
}
"""The columns of the on-demand measures. They are null at epochs at which no sweep requested the measure."""

ALL_MEASURES: Mapping[str, Metric] = ChainMap(COLUMNS_ON_DEMAND, MEASURES)
"""The columns of all measures in the order of a store: first the per-epoch measures, then the on-demand measures."""


def measure_of(column: str) -> str:
    """Return the name of the on-demand measure that fills a column."""
    return next(name for name, measure in MEASURES_ON_DEMAND.items() if column in measure.columns)


def _find(name: str) -> Measure:
    if name not in MEASURES_ON_DEMAND:
        raise InputError("measure", choices(name, MEASURES_ON_DEMAND, ordered=True))
    return MEASURES_ON_DEMAND[name]


def check(name: str, settings: Settings, facts: Facts, epoch: int) -> None:
    """Raise InputError, which names the invalid field, if a measure cannot be computed for a training at an epoch.

    `construct` reports problems that are visible only in the network itself, such as buffers in a user's network.
    """
    _find(name).check(settings, facts, epoch)


def construct(name: str, module: StackedNetworks, data: CohortData) -> OnDemandMeasure:
    """Construct an on-demand measure for a stack that has not been updated yet.

    Raises:
        InputError: The measure cannot be computed for these networks.
    """
    measure: OnDemandMeasure = resolve_name(_find(name).implementation)(module, data)
    return measure
