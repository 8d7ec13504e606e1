"""Results of papers as claims on the presets that repeat the experiments, written before the data were seen."""

from __future__ import annotations

from analysis.claims.choices import AtChosen, Below, Cheapest, First, Last, PeakAfter, Reading, Threshold
from analysis.claims.claim import Claim, Contrast, Source
from analysis.claims.digest import ARPIT, ARXIV
from analysis.claims.effects import Difference, FirstAt, Level, PeakOf, Slope, Sooner, Spread
from analysis.claims.rows import HIGHEST, LOWEST, Between
from analysis.claims.rule import about, above, at_least, at_most, between

GREYDANUS = Source("Greydanus & Kobak 2020", "", "2011.14439")
NAKKIRAN = Source("Nakkiran et al. 2019", "figure 4", "1912.02292")
NOISY = {"label_noise": 0.15}
FITS = Threshold("train_error", 10)
"""The lowest level with a mean training error of at most 10 %, where Nakkiran's EMC reaches the size of the data."""
PRICE = {
    "fit": Reading("train_accuracy", {"label_noise": 1, "weight_decay": 0, "augment_noise": 0}),
    "best": Reading("best_validation_accuracy", {"label_noise": 0, "weight_decay": 0, "augment_noise": 0}),
}
STRENGTH = Cheapest("fit", "best", 3)


def _descent(noise: float) -> tuple[Contrast, ...]:
    """Build contrasts for a test error that peaks at the width where networks just fit, and is lower on both sides."""
    where = {"label_noise": noise, "epochs": HIGHEST}
    readings = {"value": Reading("test_error", where), "train_error": Reading("train_error", where)}
    words = f"{100 * noise:g} % noise"
    return (
        Contrast(
            f"training error at the width where test error peaks, chosen on the other seeds, {words}",
            "training error", "%", at_most(10),
            AtChosen("width", PeakAfter(Below(FITS)), None, readings, read="train_error"), "10 to 0 %",
        ),
        Contrast(
            f"first width under 10 % training error minus the best narrower one, {words}", "test error, difference",
            "points", above(0), AtChosen("width", FITS, Below(FITS), readings), "a rise",
        ),
        Contrast(
            f"first width under 10 % training error minus the widest, {words}", "test error, difference", "points",
            above(0), AtChosen("width", FITS, Last(), readings), "a second descent",
        ),
    )  # fmt: skip


PAPERS: tuple[Claim, ...] = (
    Claim(
        "random-inputs-alike", "Random inputs are learned like coin tosses: no example is easier than another.",
        Source(ARPIT, "figure 1", ARXIV), "arpit2017-easy-hard",
        (
            Contrast(
                "overdispersion of first-epoch misclassification, random inputs", "overdispersion", "",
                between(0.7, 1.5), Spread({"input_noise": 1, "label_noise": 0}), "like Binomial(100, p): 1",
            ),
        ),
    ),
    Claim(
        "real-easy-and-hard", "Real data have examples that are easy, and others that are hard, for every network.",
        Source(ARPIT, "figure 1", ARXIV), "arpit2017-easy-hard",
        (
            Contrast(
                "overdispersion of first-epoch misclassification, real data", "overdispersion", "", above(3),
                Spread({"input_noise": 0, "label_noise": 0}), "far above 1",
            ),
        ),
    ),
    Claim(
        "sensitivity-concentrated", "In real data the loss is sensitive to fewer examples than in random inputs.",
        Source(ARPIT, "figures 3 and 4", ARXIV), "arpit2017-sensitivity",
        (
            Contrast(
                "Gini of loss sensitivity, real data minus random inputs", "Gini, difference", "", above(0),
                Difference(
                    "loss_sensitivity_gini", {"input_noise": 0}, {"input_noise": 1},
                    {"label_noise": 0, "epochs": HIGHEST},
                ), "higher for real data",
            ),
        ),
    ),
    Claim(
        "validation-peaks-first", "On random labels validation peaks before the training labels are fitted.",
        Source(ARPIT, "figure 7", ARXIV), "arpit2017-phases",
        (
            Contrast(
                "epochs until training accuracy is 90 %, over the epoch of best validation, 40 to 80 % noise",
                "how many times later", "×", above(1),
                Sooner(
                    PeakOf("validation_accuracy"), FirstAt("train_accuracy", 0.9),
                    {"label_noise": Between(0.4, 0.8), "epochs": HIGHEST},
                ), "validation peaks first",
            ),
        ),
    ),
    Claim(
        "critical-samples", "Under more label noise more samples are critical.",
        Source(ARPIT, "figure 8", ARXIV), "arpit2017-phases",
        (
            Contrast(
                "critical sample ratio at the end, most minus least noise", "critical samples, difference", "points",
                above(0),
                Difference(
                    "critical_sample_ratio", {"label_noise": HIGHEST}, {"label_noise": LOWEST}, {"epochs": HIGHEST}
                ), "rises with noise",
            ),
        ),
    ),
    Claim(
        "every-family-fits", "Every family of networks that is large enough fits random labels.",
        Source("Zhang et al. 2017", "table 1", "1611.03530"), "architectures",
        (
            Contrast(
                "final training accuracy of the worst family, every label random", "training accuracy", "%",
                at_least(99), Level("train_accuracy", {"label_noise": 1, "epochs": HIGHEST}, across="min"),
                "99.3 to 100 % (CIFAR-10)",
            ),
        ),
    ),
    Claim(
        "noise-takes-time", "The more noise, the longer it takes to fit the training labels.",
        Source(ARPIT, "figure 6", ARXIV), "arpit2017-convergence",
        (
            Contrast(
                "epochs until training accuracy is 100 %, most over least noise", "how many times longer", "×",
                above(1),
                Difference(
                    "epochs_to_100", {"label_noise": HIGHEST}, {"label_noise": LOWEST}, {"epochs": HIGHEST},
                    ratio=True, censored=True,
                ), "longer, and steeper in n and 1/capacity",
            ),
        ),
    ),
    Claim(
        "double-descent", "Test error peaks where a network becomes just large enough to fit its noisy labels.",
        NAKKIRAN, "mnist1d-double-descent", _descent(0.15),
    ),
    Claim(
        "double-descent-long", "With more noise and faster learning, too, test error peaks where networks just fit.",
        NAKKIRAN, "nakkiran2019-width-epochs", _descent(0.2),
    ),
    Claim(
        "fits-everything", "The same network, trained in the same way, fits every randomization of labels and inputs.",
        Source("Zhang et al. 2017", "figure 1", "1611.03530"), "zhang2017-randomization",
        (
            Contrast(
                "final training accuracy, the worst randomization", "training accuracy", "%", at_least(99),
                Level("train_accuracy", {"epochs": HIGHEST}, across="min"), "zero training error",
            ),
        ),
    ),
    Claim(
        "wrong-labels-forgotten", "Where labels are wrong, examples are forgotten more often.",
        Source("Toneva et al. 2019", "figure 3", "1812.05159"), "toneva2019-forgetting",
        (
            Contrast(
                "forgetting events per learned example, most minus least label noise", "forgetting events, difference",
                "events", above(0),
                Difference(
                    "forgetting_events", {"label_noise": HIGHEST}, {"label_noise": LOWEST}, {"epochs": HIGHEST}
                ), "more often",
            ),
        ),
    ),
    Claim(
        "dropout-cheap", "Dropout limits memorization at almost no cost in validation.",
        Source(ARPIT, "figure 10", ARXIV), "arpit2017-regularizers",
        (
            Contrast(
                "none minus one strength chosen on the other seeds, every label random", "training accuracy, fall",
                "points", at_least(20), AtChosen("dropout", First(), STRENGTH, PRICE, read="fit"), "a fall",
            ),
            Contrast(
                "none minus the same strength, clean labels", "best clean validation accuracy, fall", "points",
                at_most(3), AtChosen("dropout", First(), STRENGTH, PRICE, read="best"), "almost none",
            ),
        ),
    ),
    Claim(
        "bits-per-parameter", "The information a network memorizes grows with its parameters.",
        Source("Morris et al. 2025", "", "2505.24832"), "capacity-bits",
        (
            Contrast(
                "slope of bits memorized against parameters, random labels, under 90 % training accuracy",
                "slope", "bits per parameter", above(0),
                Slope("bits_memorized", ("train_accuracy", 90), {"label_noise": 1, "epochs": HIGHEST}),
                "3.6 (GPT-style, random sequences)",
            ),
        ),
    ),
    Claim(
        "mnist1d-benchmark", "MNIST-1D's networks reach their published accuracy.", GREYDANUS, "mnist1d-benchmark",
        tuple(
            Contrast(
                f"{words}: clean test accuracy", "clean test accuracy", "%", about(published, 3),
                Level("test_accuracy", {"model": model, "epochs": HIGHEST}), f"{published:g} %",
            )
            for model, words, published in (
                ("linear", "linear", 31.5),
                ("residual_mlp", "MLP with a residual layer", 65.1),
                ("convnet", "CNN", 92.3),
            )
        ),
    ),
    Claim(
        "mnist1d-double-descent", "MNIST-1D's double descent has its published heights.", GREYDANUS,
        "mnist1d-double-descent",
        tuple(
            Contrast(
                f"width {width}: clean test error, 15 % noise", "clean test error", "%", about(published, 3),
                Level("test_error", {"width": width, **NOISY}), f"{published:g} %",
            )
            for width, published in ((16, 47.24), (47, 54.05), (300, 45.47))
        ),
    ),
)  # fmt: skip
