from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.claims.rule import Claimed, about, above, at_least, at_most, between, together

NUMBERS = st.integers(-20, 20).map(float)
CLAIMED = st.one_of(
    NUMBERS.map(above), NUMBERS.map(at_least), NUMBERS.map(at_most), NUMBERS.map(lambda x: Claimed(high=x)),
    st.tuples(NUMBERS, st.integers(1, 9)).map(lambda pair: between(pair[0], pair[0] + pair[1])),
)  # fmt: skip
OPPOSITE = {"supported": "contradicted", "contradicted": "supported", "undecided": "undecided"}


@pytest.mark.parametrize(
    ("claimed", "interval", "verdict"),
    [
        (above(0), (0.1, 2), "supported"),
        (above(0), (-0.1, 2), "undecided"),
        (above(0), (-2, -0.1), "contradicted"),
        (above(0), (0, 2), "undecided"),
        (above(0), (0, 0), "contradicted"),
        (above(0), (-2, 0), "contradicted"),
        (at_least(99), (99, 100), "supported"),
        (at_least(99), (98.9, 100), "undecided"),
        (at_least(99), (98, 98.9), "contradicted"),
        (at_most(3), (-1, 3), "supported"),
        (at_most(3), (3.1, 4), "contradicted"),
        (between(0.7, 1.5), (0.7, 1.5), "supported"),
        (between(0.7, 1.5), (0.6, 1.6), "undecided"),
        (between(0.7, 1.5), (1.6, 9), "contradicted"),
        (between(0.7, 1.5), (0.1, 0.6), "contradicted"),
        (about(31.5, 3), (30, 34.4), "supported"),
        (above(0), (math.nan, math.nan), "undecided"),
        (above(0), (1, math.inf), "undecided"),
    ],
)  # fmt: skip
def test_the_interval_decides(claimed, interval, verdict):
    assert claimed.verdict(*interval) == verdict


def covered(claimed: Claimed, low: float, high: float) -> set[bool]:
    """Return the set of answers to whether a number in the interval agrees with the claim, for each quarter step."""
    steps = [low + quarter / 4 for quarter in range(round(4 * (high - low)) + 1)]
    inside = [
        (x >= claimed.low and x <= claimed.high) if claimed.closed else (x > claimed.low and x < claimed.high)
        for x in steps
    ]
    return set(inside)


@given(claimed=CLAIMED, low=NUMBERS, width=st.integers(0, 9))
def test_the_verdict_is_what_every_number_of_the_interval_says(claimed, low, width):
    words = {frozenset({True}): "supported", frozenset({False}): "contradicted", frozenset({True, False}): "undecided"}
    assert claimed.verdict(low, low + width) == words[frozenset(covered(claimed, low, low + width))]


@given(claimed=CLAIMED, low=NUMBERS, widths=st.tuples(st.integers(0, 9), st.integers(0, 9)), shift=NUMBERS)
def test_a_wider_interval_never_turns_a_verdict_round_and_a_shift_of_both_changes_none(claimed, low, widths, shift):
    narrow, wide = (low, low + widths[0]), (low - widths[1], low + widths[0] + widths[1])
    assert claimed.verdict(*wide) in (claimed.verdict(*narrow), "undecided")
    moved = Claimed(claimed.low + shift, claimed.high + shift, claimed.closed)
    assert moved.verdict(low + shift, low + widths[0] + shift) == claimed.verdict(*narrow)


@given(margin=NUMBERS, low=NUMBERS, width=st.integers(0, 9))
def test_the_opposite_claim_has_the_opposite_verdict(margin, low, width):
    assert at_most(margin).verdict(low, low + width) == OPPOSITE[above(margin).verdict(low, low + width)]


@pytest.mark.parametrize("ends", [{}, {"low": 1.0, "high": 1.0}, {"low": 2.0, "high": 1.0}])
def test_a_claim_without_a_side_is_refused(ends):
    with pytest.raises(ValueError, match="a claim needs a side"):
        Claimed(**ends)


@pytest.mark.parametrize(
    ("claimed", "words"),
    [(above(0), "above 0 points"), (at_least(20), "at least 20 points"), (at_most(3), "at most 3 points"),
     (between(0.7, 1.5), "0.7 to 1.5 points"), (Claimed(high=2), "below 2 points")],
)  # fmt: skip
def test_words(claimed, words):
    assert claimed.words("points") == words
    assert claimed.words("") == words.removesuffix(" points")


def test_the_way_to_the_nearest_margin():
    assert [above(2).distance(5), at_most(2).distance(5), between(1, 9).distance(8), between(1, 9).distance(0)] == [
        3, 3, 1, 1,
    ]  # fmt: skip


def test_of_several_contrasts_all_must_hold_and_one_can_contradict():
    words = ("supported", "contradicted", "undecided")
    for pair in product(words, repeat=2):
        expected = next((w for w in ("contradicted", "undecided") if w in pair), "supported")
        assert together(pair) == expected
