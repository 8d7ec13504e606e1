"""The ten claims of a digest of Arpit et al. 2017, each with the contrasts that test it.

The claims were written before the data were seen.
"""

from __future__ import annotations

from analysis.claims.choices import AtChosen, First, Highest, Last, Lowest, Reading, one
from analysis.claims.claim import Claim, Contrast, Source
from analysis.claims.effects import Difference, FirstAt, Level, Sooner
from analysis.claims.rows import ABOVE_ZERO, HIGHEST, LOWEST
from analysis.claims.rule import above, at_least

ARPIT = "Arpit et al. 2017"
ARXIV = "1706.05394"
MEMORIZED = "corrupted labels memorized, difference"
TESTED = "clean test accuracy, difference"

AUGMENTATIONS = ("rotation", "augment_noise", "color_jitter", "crop_flip", "shift", "scale")


def _augmented(field: str, words: str, data: str) -> Contrast:
    off = {other: 0 for other in AUGMENTATIONS if other != field}
    return Contrast(
        f"best strength of {words} minus none, chosen on the other seeds", TESTED, "points", above(0),
        AtChosen(field, Highest(beyond_first=True), First(), one("test_accuracy", {"data": data, **off})),
        "higher with augmentation",
    )  # fmt: skip


DIGEST: tuple[Claim, ...] = (
    Claim(
        "fits-random-labels", "Networks fit random labels completely.",
        Source("Zhang et al. 2017", "table 1", "1611.03530"), "zhang2017-randomization",
        (
            Contrast(
                "final training accuracy, every label random", "training accuracy", "%", at_least(99),
                Level("train_accuracy", {"label_noise": 1, "input_noise": 0, "epochs": HIGHEST}),
                "99.3 to 100 % (CIFAR-10)",
            ),
        ), digest=True,
    ),
    Claim(
        "less-data-memorizes", "With less data more of the wrong labels are memorized.",
        Source(ARPIT, "figure 6", ARXIV), "nakkiran2019-width-samples",
        (
            Contrast(
                "fewest minus most training examples, same networks, noise and epochs", MEMORIZED, "points", above(0),
                Difference(
                    "memorized_fraction", {"dataset_size": LOWEST}, {"dataset_size": HIGHEST},
                    {"label_noise": ABOVE_ZERO, "epochs": HIGHEST},
                ), "more",
            ),
        ), digest=True,
    ),
    Claim(
        "more-parameters-memorize", "With more parameters more of the wrong labels are memorized.",
        Source(ARPIT, "figures 5 and 6", ARXIV), "arpit2017-capacity",
        (
            Contrast(
                "widest minus narrowest network, same data and noise", MEMORIZED, "points", above(0),
                Difference(
                    "memorized_fraction", {"width": HIGHEST}, {"width": LOWEST},
                    {"label_noise": ABOVE_ZERO, "epochs": HIGHEST},
                ), "more",
            ),
        ), digest=True,
    ),
    Claim(
        "complex-patterns-memorize", "Of more complex patterns more is memorized.",
        Source(ARPIT, "section 3", ARXIV), "complexity",
        (
            Contrast(
                "most minus fewest sub-clusters a class, same networks, noise and training length", MEMORIZED, "points",
                above(0),
                Difference(
                    "memorized_fraction", {"complexity": HIGHEST}, {"complexity": LOWEST}, {"label_noise": ABOVE_ZERO}
                ), "more",
            ),
        ), digest=True,
    ),
    Claim(
        "dropout-holds-back", "Dropout holds memorization back.",
        Source(ARPIT, "figure 10", ARXIV), "regularization-map",
        (
            Contrast(
                "no dropout minus the strongest, no weight decay", MEMORIZED, "points", above(0),
                Difference(
                    "memorized_fraction", {"dropout": 0}, {"dropout": HIGHEST},
                    {"label_noise": ABOVE_ZERO, "weight_decay": 0, "epochs": HIGHEST},
                ), "less with dropout",
            ),
        ), digest=True,
    ),
    Claim(
        "weight-decay-holds-back", "Weight decay holds memorization back.",
        Source(ARPIT, "figure 10", ARXIV), "regularization-map",
        (
            Contrast(
                "no weight decay minus the strongest, no dropout", MEMORIZED, "points", above(0),
                Difference(
                    "memorized_fraction", {"weight_decay": 0}, {"weight_decay": HIGHEST},
                    {"label_noise": ABOVE_ZERO, "dropout": 0, "epochs": HIGHEST},
                ), "less with weight decay",
            ),
        ), digest=True,
    ),
    Claim(
        "augmentation-generalizes", "Augmentation by rotation, noise and colour helps generalization.",
        Source(ARPIT, "", ARXIV), "augmentation",
        (
            _augmented("rotation", "rotation (digits)", "digits"),
            _augmented("augment_noise", "noise (digits)", "digits"),
            _augmented("color_jitter", "brightness and contrast (digits)", "digits"),
            _augmented("augment_noise", "noise (MNIST-1D)", "mnist1d"),
        ), digest=True,
    ),
    Claim(
        "sweet-spot", "Training too short underfits and too long memorizes; a sweet spot lies between.",
        Source(ARPIT, "figure 7", ARXIV), "training-time",
        (
            Contrast(
                "best training length minus the shortest, best chosen on the other seeds", TESTED, "points", above(0),
                AtChosen("epochs", Highest(), First(), one("test_accuracy", {"label_noise": ABOVE_ZERO})),
                "too short underfits",
            ),
            Contrast(
                "best training length minus the longest, best chosen on the other seeds", TESTED, "points", above(0),
                AtChosen("epochs", Highest(), Last(), one("test_accuracy", {"label_noise": ABOVE_ZERO})),
                "too long hurts",
            ),
            Contrast(
                "longest training minus the best, best chosen on the other seeds", MEMORIZED, "points", above(0),
                AtChosen(
                    "epochs", Last(), Highest(),
                    {
                        "value": Reading("test_accuracy", {"label_noise": ABOVE_ZERO}),
                        "memorized": Reading("memorized_fraction", {"label_noise": ABOVE_ZERO}),
                    }, read="memorized",
                ), "too long memorizes",
            ),
        ), digest=True,
    ),
    Claim(
        "architecture-matters", "At equal size the architecture decides how well a network generalizes.",
        Source(ARPIT, "", ARXIV), "architectures",
        (
            Contrast(
                "best minus worst family, chosen on the other seeds, clean labels", TESTED, "points", above(5),
                AtChosen(
                    "model", Highest(), Lowest(),
                    one("test_accuracy", {"data": "mnist1d", "label_noise": 0, "epochs": HIGHEST}),
                ), "it matters",
            ),
        ), digest=True,
    ),
    Claim(
        "simple-first", "Simple patterns are learned first, wrong labels later.",
        Source(ARPIT, "figure 7", ARXIV), "arpit2017-phases",
        (
            Contrast(
                "epochs until half the wrong labels are fitted, over those until clean test accuracy is at 90 % of its "
                "best", "how many times later", "×", above(1),
                Sooner(
                    FirstAt("test_accuracy", 0.9, of_best=True), FirstAt("memorized_fraction", 0.5),
                    {"label_noise": ABOVE_ZERO, "epochs": HIGHEST},
                ), "clean accuracy rises first",
            ),
        ), digest=True,
    ),
)  # fmt: skip
"""The claims, in the order of the digest."""
