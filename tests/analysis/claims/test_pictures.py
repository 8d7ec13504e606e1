from __future__ import annotations

import io
import math

import numpy as np
import pytest
from matplotlib.image import imread

from analysis.claims import CLAIMS, Finding
from analysis.claims.pictures import CLAIMED, finding_picture
from analysis.figures.style import COLUMN, save_figure

CLAIM = {claim.key: claim for claim in CLAIMS}


def finding(key: str, effect: float, low: float = math.nan, high: float = math.nan, *each: float) -> Finding:
    return Finding(
        CLAIM[key].contrasts[0], "undecided", effect, low, high, len(each), how="95 % t interval over seeds",
        per_seed=dict(enumerate(each)),
    )  # fmt: skip


def test_dots_bar_margin_and_shade_are_where_the_numbers_are():
    picture = finding_picture(finding("dropout-holds-back", 20, 15, 25, 18, 20, 22))
    (ax,) = picture.axes
    (dots,) = ax.collections
    assert [x for x, _ in dots.get_offsets()] == [18, 20, 22]
    margin, bar, diamond = ax.lines
    assert [list(line.get_xdata()) for line in (margin, bar, diamond)] == [[0, 0], [15, 25], [20]]
    (shade,) = ax.patches
    left, right = ax.get_xlim()
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (0, right)
    assert left < 0 < 25 < right
    assert ax.get_xlabel() == "corrupted labels memorized, difference (points) · n = 3 seeds"
    assert picture.get_size_inches()[0] == COLUMN
    assert picture.alt.startswith("No dropout minus the strongest, no weight decay: +20.0 points [15.0, 25.0]")
    assert "95 % t interval over seeds" in picture.caption


@pytest.mark.parametrize(("key", "shaded"), [("random-inputs-alike", (0.7, 1.5)), ("fits-random-labels", (99, None))])
def test_the_shade_ends_with_the_claim(key, shaded):
    (shade,) = finding_picture(finding(key, 1.0, 0.5, 200, 1, 2)).axes[0].patches
    assert shade.get_x() == pytest.approx(shaded[0])
    if shaded[1]:
        assert shade.get_x() + shade.get_width() == pytest.approx(shaded[1])


def test_ratios_are_on_a_logarithmic_axis():
    picture = finding_picture(finding("noise-takes-time", 4, 2, 8, 2, 4, 8))
    (ax,) = picture.axes
    assert ax.get_xscale() == "log"
    low, _ = ax.get_xlim()
    assert np.log(low) == pytest.approx(-0.08 * np.log(8))
    assert {text.get_text() for text in ax.get_xticklabels()} >= {"1", "2", "4", "8"}


@pytest.mark.parametrize("numbers", [(5.0,), (5.0, 5.0, 5.0, 5.0, 5.0, 5.0)])
def test_without_width_or_interval_there_is_still_a_picture(numbers):
    picture = finding_picture(finding("dropout-holds-back", *numbers))
    buffer = io.BytesIO()
    save_figure(picture, buffer, "png")
    pixels = imread(io.BytesIO(buffer.getvalue()))
    blue = [int(CLAIMED[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    assert np.isclose(pixels[..., :3], blue, atol=0.01).all(axis=-1).mean() > 0.2
    assert ("too few for an interval" in picture.caption) == (len(numbers) == 1)


def test_without_a_number_there_is_none():
    assert finding_picture(finding("dropout-holds-back", math.nan)) is None
