"""The measures on demand by name: what each is, which columns it fills, and what it cannot be taken of.

Planning and the store's schema read this, so nothing here imports torch until a probe is made. A new measure is one
module with a class that meets `probe.Probe`, and its entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from lightning_modules.data.applicability import AUGMENTATIONS
from lightning_modules.data.dataset import Facts
from lightning_modules.data.split_sizes import split_sizes
from lightning_modules.errors import InputError, choices
from lightning_modules.measures.reading import PerExample, Reading
from lightning_modules.models import families as models
from lightning_modules.models import layers
from lightning_modules.models.family import Family
from lightning_modules.models.layers import Layer
from lightning_modules.settings import Settings

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData
    from lightning_modules.measures.probe import Probe, StackedNetworks

__all__ = ["MAX_UNROLLED_UPDATES", "PROBES", "Measure", "PerExample", "Reading", "check", "make_probe"]

MAX_UNROLLED_UPDATES = 1000
"""Updates that the loss sensitivity is differentiated through at most: its cost rises with their square."""


@dataclass(frozen=True)
class Measure:
    """One measure on demand. `columns` and `examples`: name -> description with unit and range."""

    summary: str
    cost: str
    columns: Mapping[str, str]
    """Of every reading, one number a training and epoch. The first is never null where the measure was taken."""
    paper: str
    implementation: str
    """module:class below `lightning_modules.measures`."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """Of the table of examples, one number an example, training and epoch."""
    check: Callable[[Settings, Facts, int], None] = lambda settings, facts, epoch: None
    """Raises InputError for a training, and an epoch of it, that it cannot be taken of."""


def updates(settings: Settings, facts: Facts, epochs: int) -> int:
    """Return how many updates a training makes in this many epochs."""
    return split_sizes(settings, facts.train_size).updates(settings.batch_size) * epochs


def _check_presented(settings: Settings, facts: Facts, epoch: int) -> None:
    if epoch < 1:
        raise InputError(
            "epochs", "given epoch 0, before which no example was presented; this measure takes epochs of at least 1"
        )


def _normalises(layer: Layer) -> bool:
    """Whether there is a BatchNorm in it."""
    match layer:
        case layers.Chain(parts):
            return any(map(_normalises, parts))
        case layers.Residual(body, shortcut):
            return _normalises(body) or (shortcut is not None and _normalises(shortcut))
    return isinstance(layer, layers.BatchNorm)


def _check_unrolled(settings: Settings, facts: Facts, epoch: int) -> None:
    _check_presented(settings, facts, epoch)
    if settings.optimizer != "sgd":
        raise InputError("optimizer", f"given {settings.optimizer}; loss_sensitivity differentiates through sgd alone")
    for name in ("dropout", *AUGMENTATIONS):
        if strength := getattr(settings, name):
            raise InputError(name, f"given {strength}; loss_sensitivity takes trainings without it: use 0")
    family = models.find(settings.model)
    if isinstance(family, Family) and _normalises(
        family.network(facts.shape, facts.classes, settings.width, settings.depth)
    ):
        raise InputError(
            "model",
            f"given {settings.model} for data of shape {facts.shape}, whose BatchNorm keeps running statistics; "
            "loss_sensitivity takes networks of parameters alone",
        )
    through = updates(settings, facts, epoch)
    if through > MAX_UNROLLED_UPDATES:
        raise InputError(
            "epochs",
            f"given epoch {epoch:,}, which is {through:,} updates; loss_sensitivity goes through at most "
            f"{MAX_UNROLLED_UPDATES:,}: measure an earlier epoch, or take fewer examples or larger batches",
        )


MEASURES: dict[str, str] = {
    "train_loss": "mean cross-entropy on the training set, labels as given, in nats",
    "train_accuracy": "accuracy on the training set, labels as given",
    "validation_loss": "mean cross-entropy on the held-out part of the training data, labels as given, in nats",
    "validation_accuracy": "accuracy on the held-out part of the training data, labels as given",
    "test_loss": "mean cross-entropy on the clean test set, in nats",
    "test_accuracy": "accuracy on the clean test set",
    "clean_accuracy": "accuracy on the training examples whose label is true",
    "clean_loss": "mean cross-entropy on the training examples whose label is true, in nats",
    "memorized_fraction": "corrupted training examples predicted as their wrong label",
    "recovered_fraction": "corrupted training examples predicted as their true label",
    "other_fraction": "corrupted training examples predicted as neither",
    "corrupted_loss": "mean cross-entropy on the corrupted training examples, labels as given, in nats",
    "bits_memorized": "N log2 C + sum of log2 p(label as given), over the training set, in bits",
    "weight_norm": "L2 norm of all trainable parameters",
}
"""Measures of every evaluated epoch. Null where they are not defined: no corrupted examples, no held-out part."""

PROBES: dict[str, Measure] = {
    "critical_sample_ratio": Measure(
        summary="how often the prediction changes within a small box around an example (LASS search)",
        cost="expensive: a reading is up to 200 passes of 500 examples, as much as some 15 epochs of 4,000",
        columns={
            "critical_sample_ratio": "held-out (or test) examples with another prediction within 0.3/255 of the "
            "input's range, 0..1",
            "critical_sample_ratio_wide": "the same within 3/255 of the input's range, 0..1",
        },
        paper="Arpit et al. 2017, arXiv 1706.05394",
        implementation="critical_samples:CriticalSamples",
    ),
    "input_gradient": Measure(
        summary="L1 norm of the gradient of an example's loss with respect to its input, averaged over presentations",
        cost="up to a quarter on top of training: the backward pass goes on to the inputs",
        columns={
            "input_gradient_norm": "mean over training examples, in nats per unit of input, at least 0",
            "input_gradient_gini": "Gini coefficient over training examples, 0..1",
        },
        paper="the cheap relative of the loss sensitivity of Arpit et al. 2017, arXiv 1706.05394",
        implementation="input_gradients:InputGradients",
        examples={"input_gradient_norm": "mean over presentations so far, in nats per unit of input, at least 0"},
        check=_check_presented,
    ),
    "loss_sensitivity": Measure(
        summary="L1 norm of the gradient of the mean training loss with respect to an example, through all of the "
        "training, averaged over updates",
        cost="very expensive: rises with the square of the updates (200 of a small MLP on 1,000 digits: 4 s), "
        f"of which {MAX_UNROLLED_UPDATES:,} are allowed",
        columns={
            "loss_sensitivity": "mean over training examples, in nats per unit of input, at least 0",
            "loss_sensitivity_gini": "Gini coefficient over training examples, 0..1",
        },
        paper="Arpit et al. 2017, arXiv 1706.05394",
        implementation="unrolled:LossSensitivity",
        examples={"loss_sensitivity": "mean over updates so far, in nats per unit of input, at least 0"},
        check=_check_unrolled,
    ),
    "forgetting": Measure(
        summary="how often a training example that was classified correctly no longer is",
        cost="about a tenth on top of training at most: what training computes anyway is added up",
        columns={
            "never_learned": "training examples never classified as their given label at a presentation, 0..1",
            "forgetting_events": "mean number of events over the training examples that were ever learned, at least 0",
            "unforgettable": "training examples learned and never forgotten, 0..1",
        },
        paper="Toneva et al. 2019, arXiv 1812.05159",
        implementation="forgetting:Forgetting",
        examples={"forgetting_events": "number of events so far, a whole number; null: never learned"},
    ),
    "cumulative_loss": Measure(
        summary="cross-entropy of a training example, added up over all its presentations",
        cost="about a tenth on top of training at most: what training computes anyway is added up",
        columns={"cumulative_loss": "mean over training examples, labels as given, in nats, at least 0"},
        paper="a learning-speed proxy of the C-score, Jiang et al. 2021, arXiv 2002.03206",
        implementation="cumulative_loss:CumulativeLoss",
        examples={"cumulative_loss": "sum over presentations so far, label as given, in nats, at least 0"},
    ),
    "example_correctness": Measure(
        summary="which examples are classified correctly, trained on or left out",
        cost="an evaluation",
        columns={
            "correct_fraction": "training examples, left-out ones included, predicted as their given label, 0..1",
            "left_out_accuracy": "left-out training examples predicted as their given label, 0..1",
        },
        paper="Arpit et al. 2017, arXiv 1706.05394, figure 1; Feldman & Zhang 2020, arXiv 2008.03703",
        implementation="correctness:ExampleCorrectness",
        examples={"correct": "1 if predicted as its given label (test: its true one), else 0"},
    ),
}

ON_DEMAND: dict[str, str] = {column: words for probe in PROBES.values() for column, words in probe.columns.items()}
"""Measures that a sweep asks for, at the epochs it asks for. Null elsewhere."""


def _find(name: str) -> Measure:
    if name not in PROBES:
        raise InputError("measure", choices(name, PROBES, ordered=True))
    return PROBES[name]


def check(name: str, settings: Settings, facts: Facts, epoch: int) -> None:
    """Raise InputError, blaming the field, where this measure cannot be taken of this training at this epoch.

    What takes the network itself to know is refused by `make_probe`: buffers in a network of the user's own.
    """
    _find(name).check(settings, facts, epoch)


def make_probe(name: str, module: StackedNetworks, data: CohortData) -> Probe:
    """The probe of this name, for a stack that has not been updated yet. Raises InputError for what it cannot take."""
    path, _, kind = _find(name).implementation.partition(":")
    made: Probe = getattr(import_module(f"lightning_modules.measures.{path}"), kind)(module, data)
    return made
