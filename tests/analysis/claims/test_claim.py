"""Tests of the rule for verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.claims import Claim, Contrast, Source, decide
from analysis.claims.effects import Difference, Level
from analysis.claims.rule import above, at_least, between

DROPOUT = Difference("memorized_fraction", {"dropout": 0}, {"dropout": 0.5})


def contrast(effect: Any = DROPOUT, claimed: Any = None, unit: str = "points") -> Contrast:
    return Contrast("none minus dropout", "memorized", unit, claimed or above(0), effect, "less")


def claim(*contrasts: Contrast) -> Claim:
    source = Source("A 2017", "figure 1", "1706.05394")
    return Claim("key", "It holds.", source, "preset", contrasts or (contrast(),))


def rows(*effects: float, **outcomes: str) -> list[dict[str, Any]]:
    """Build one pair per seed at 0.5 plus and minus half the effect in points. `s2` is the outcome of seed 2's pair."""
    return [
        {"seed": seed, "dropout": dropout, "memorized_fraction": 0.5 + sign * effect / 200,
         "outcome": outcomes.get(f"s{seed}", "finished") if dropout else "finished"}
        for seed, effect in enumerate(effects) for dropout, sign in ((0.0, 1), (0.5, -1))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [((20, 21, 22), "supported"), ((-20, -21, -22), "contradicted"), ((20, -21, 22), "undecided"), ((0, 0, 0),
      "contradicted")],
)  # fmt: skip
def test_where_the_interval_lies_decides(tables, effects, verdict):
    decision = decide(claim(), tables(rows(*effects)))
    (finding,) = decision.findings
    assert decision.verdict == finding.verdict == verdict
    assert finding.effect == pytest.approx(np.mean(effects))
    assert finding.low <= finding.effect <= finding.high
    assert (finding.n, finding.of, finding.how) == (3, "seeds", "95 % t interval over seeds")
    assert dict(finding.per_seed) == pytest.approx(dict(enumerate(effects)))
    assert bool(finding.missing) == (verdict == "undecided")


@pytest.mark.parametrize(("outcome", "again"), [("missing", ""), ("failed", " --retry-failed")])
def test_while_a_training_waits_there_is_no_verdict_however_clear_the_rest(tables, outcome, again):
    (finding,) = decide(claim(), tables(rows(20, 21, 22, 20, s2=outcome)), run="memsweep run x").findings
    assert (finding.verdict, finding.missing) == ("undecided", "1 of 8 trainings to run or measure")
    assert finding.command == f"memsweep run x{again}"
    assert np.isnan(finding.effect)


def test_a_finished_training_without_the_measure_waits_too(tables):
    lacking = rows(20, 21, 22)
    del lacking[3]["memorized_fraction"]
    (finding,) = decide(claim(), tables(lacking)).findings
    assert finding.missing == "1 of 6 trainings to run or measure"
    assert finding.command == "memsweep run preset"


def test_a_diverged_training_takes_its_seed_out_and_is_told(tables):
    (finding,) = decide(claim(), tables(rows(20, 21, 22, 20, s3="diverged"))).findings
    assert (finding.verdict, finding.n) == ("supported", 3)
    assert finding.detail == "1 of 4 seeds have no number; 1 training diverged"
    (finding,) = decide(claim(), tables(rows(20, 21, 22, s0="diverged"))).findings
    assert (finding.verdict, finding.n) == ("undecided", 2)
    assert finding.missing == "numbers of at least 3 seeds, here of 2"


def test_points_that_the_sweep_does_not_have(tables):
    (finding,) = decide(claim(), tables([{"seed": 0, "dropout": 0.2, "memorized_fraction": 0.1}])).findings
    assert (finding.verdict, finding.missing) == ("undecided", "the sweep has no such points")


def test_too_wide_an_interval_says_how_many_seeds_would_do(tables):
    """For mean 10 and sd 10, t(0.975, 6) 10/√7 = 9.25 < 10 with seven seeds, but 10.49 with six."""
    (finding,) = decide(claim(), tables(rows(0, 10, 20)), run="memsweep run x --store s").findings
    assert finding.missing == "about 7 seeds, if mean and spread stay"
    assert finding.command == "memsweep run x --store s --set 'seed=[0, 1, 2, 3, 4, 5, 6]'"


def test_ratios_find_their_way_to_the_margin_on_their_own_scale(tables):
    """For ratios 1, 4, 16, the mean log2 is 2 and sd is 2, so seven seeds are needed as above."""
    effect = Difference("epochs_to_100", {"label_noise": 1}, {"label_noise": 0}, ratio=True)

    def run(seed: int, noise: float, at: int) -> dict[str, Any]:
        curve = {e: {"train_accuracy": float(e >= at)} for e in (1, 4, 16, 64)}
        return {"seed": seed, "label_noise": noise, "epochs": 64, "curve": curve}

    evidence = tables(run(s, noise, at) for s, late in enumerate((1, 4, 16)) for noise, at in ((0.0, 1), (1.0, late)))
    (finding,) = decide(claim(contrast(effect, above(1), "×")), evidence).findings
    assert finding.effect == pytest.approx(4)
    assert (finding.verdict, finding.missing) == ("undecided", "about 7 seeds, if mean and spread stay")


def test_at_the_margin_no_number_of_seeds_is_promised(tables):
    (finding,) = decide(claim(), tables(rows(-10, 0.01, 10))).findings
    assert finding.missing == "more than 200 seeds, if mean and spread stay: the effect is too near the margin"
    assert finding.command == ""


def test_every_contrast_must_hold(tables):
    evidence = tables(rows(20, 21, 22))
    high, low = contrast(), contrast(Level("memorized_fraction"), at_least(90), "%")
    assert decide(claim(high, high), evidence).verdict == "supported"
    both = decide(claim(high, low), evidence)
    assert [finding.verdict for finding in both.findings] == ["supported", "contradicted"]
    assert both.verdict == "contradicted"


def test_the_order_of_rows_changes_nothing(tables):
    given = rows(3, 9, -2, 5)
    one, other = (decide(claim(), tables(order)).findings[0] for order in (given, given[::-1]))
    assert (one.effect, one.low, one.high, one.verdict) == (other.effect, other.low, other.high, other.verdict)


def test_words_of_the_rule():
    assert contrast().rule == "supported if the whole 95 % interval of the effect is above 0 points"
    assert contrast(claimed=between(1, 2), unit="").rule.endswith("is within 1 to 2")
    assert claim().source.words == "A 2017, figure 1 (arXiv 1706.05394)"
