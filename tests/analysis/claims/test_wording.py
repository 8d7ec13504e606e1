from __future__ import annotations

import json
import math
from typing import Any

import pytest

from analysis.claims import CLAIMS, Decision, Finding
from analysis.claims.wording import effect_words, n_words, record, remark, rules_table

CLAIM = {claim.key: claim for claim in CLAIMS}
DROPOUT = CLAIM["dropout-holds-back"]


def finding(
    effect: float = math.nan, low: float = math.nan, high: float = math.nan, key: str = "", **more: Any
) -> Finding:
    contrast = CLAIM[key or "dropout-holds-back"].contrasts[0]
    return Finding(contrast, "undecided", effect, low, high, **more)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "-"),
        ((12.345, 8.1, 16.5), "+12.3 points [8.1, 16.5]"),
        ((-12.345, -16.5, -8.1), "-12.3 points [-16.5, -8.1]"),
        ((7.075, 6.668, 7.482), "+7.08 points [6.67, 7.48]"),
        ((40.0, 1.0, 79.0), "+40.0 points [1.0, 79.0]"),
        ((5.0,), "+5.0 points [no interval]"),
        ((100.0, 100.0, 100.0, "fits-random-labels"), "100.0 % [100.0, 100.0]"),
        ((0.98765, 0.9, 1.1, "random-inputs-alike"), "0.99 [0.90, 1.10]"),
        ((0.1234, 0.1232, 0.1236, "sensitivity-concentrated"), "+0.123 [0.123, 0.124]"),
        ((2.5, 1.9, 3.1, "noise-takes-time"), "2.50 × [1.90, 3.10]"),
    ],
)
def test_numbers_show_their_interval_and_unit(given, words):
    numbers, key = [g for g in given if not isinstance(g, str)], next((g for g in given if isinstance(g, str)), "")
    assert effect_words(finding(*numbers, key=key)) == words


def test_remarks():
    assert remark(finding()) == ""
    assert remark(finding(detail="width 47", missing="2 of 6 trainings")) == "width 47; missing: 2 of 6 trainings"
    assert [n_words(finding(n=n)) for n in (0, 5, 1200)] == ["-", "5 seeds", "1,200 seeds"]


def test_the_record_is_json_without_holes_for_numbers():
    decision = Decision(DROPOUT, "regularization-map-full", (finding(1.5, n=2, per_seed={0: 1.0, 1: 2.0}),))
    told = json.loads(json.dumps(record(decision), allow_nan=False))
    assert told["experiment"] == "regularization-map-full"
    assert told["source"] == "Arpit et al. 2017, figure 10 (arXiv 1706.05394)"
    (contrast,) = told["contrasts"]
    assert (contrast["effect"], contrast["low"], contrast["high"]) == (1.5, None, None)
    assert contrast["each"] == {"0": 1.0, "1": 2.0}
    assert contrast["rule"] == "supported if the whole 95 % interval of the effect is above 0 points"


def test_the_rules_of_all_claims_are_a_table_of_whole_rows():
    header, rule, *rows = rules_table(CLAIMS).splitlines()
    assert header == "| claim | preset | compared | supported if the whole 95 % interval is |"
    assert {row.count("|") for row in (header, rule, *rows)} == {5}
    assert len(rows) == sum(len(claim.contrasts) for claim in CLAIMS)
    assert (
        "| **Dropout holds memorization back.** Arpit et al. 2017, figure 10 (arXiv 1706.05394) | `regularization-map` "
        "| no dropout minus the strongest, no weight decay | above 0 points |"
    ) in rows
