"""A small picture of a finding, with one dot per seed, a bar for the interval, and shading for the claimed range."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.ticker import MaxNLocator

from analysis.claims.claim import Finding
from analysis.claims.wording import effect_words
from analysis.figures import style
from analysis.figures.captions import joined
from analysis.figures.style import Picture

HEIGHT = 0.78
CLAIMED = "#c6dbef"
MARGIN = "#2166ac"
DOT = "#4d4d4d"


def finding_picture(finding: Finding) -> Picture | None:
    """Draw a finding as a picture one column wide and 0.8 inches high, which can be read without its table.

    Returns:
        The picture, or None if the finding has no effect to draw.
    """
    if math.isnan(finding.effect):
        return None
    contrast = finding.contrast
    with style.look():
        picture = style.picture(style.COLUMN, HEIGHT)
        ax = picture.subplots()
        low, high = _limits(finding)
        ax.set(xlim=(low, high), ylim=(-1, 1))
        inside = max(contrast.claimed.low, low), min(contrast.claimed.high, high)
        if inside[0] < inside[1]:
            ax.axvspan(*inside, color=CLAIMED, linewidth=0)
        for margin in (contrast.claimed.low, contrast.claimed.high):
            if low <= margin <= high:
                ax.axvline(margin, color=MARGIN, linewidth=0.9, linestyle=(0, (4, 2)))
        dots = np.array(list(finding.per_seed.values()), dtype=float)
        ax.scatter(dots, np.full(len(dots), 0.48), s=9, color=DOT, alpha=0.7, linewidth=0, zorder=3)
        if not math.isnan(finding.low):
            ax.plot([finding.low, finding.high], [-0.35, -0.35], color="black", linewidth=2.2, solid_capstyle="butt")
        ax.plot(finding.effect, -0.35, marker="D", markersize=4, color="black", zorder=4)
        if finding.contrast.unit == "×":
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        else:
            ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.minorticks_off()
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        unit = f" ({contrast.unit})" if contrast.unit else ""
        ax.set_xlabel(f"{contrast.measured}{unit} · n = {finding.n:,} {finding.of}")
        picture.draw_without_rendering()
        picture.set_layout_engine("none")
    picture.heading = contrast.words
    picture.caption = joined(
        f"{'A dot is a seed; the ' if len(dots) else 'The '}bar is the {finding.how}, the diamond the effect"
        if not math.isnan(finding.low)
        else "A dot is a seed, the diamond their mean; too few for an interval",
        f"shaded is where the claim says it lies: {contrast.side}",
    )
    picture.alt = joined(f"{contrast.words}: {effect_words(finding)}", f"claimed: {contrast.side}")
    return picture


def _limits(finding: Finding) -> tuple[float, float]:
    """Return axis limits that contain all drawn numbers and the ends of the claimed range, with some padding."""
    claimed = finding.contrast.claimed
    numbers = [finding.effect, finding.low, finding.high, *finding.per_seed.values(), claimed.low, claimed.high]
    known = np.array([number for number in numbers if math.isfinite(number)])
    if finding.contrast.unit == "×":
        known = np.log(known[known > 0])
        padding = 0.08 * (known.max() - known.min()) or 0.2
        return float(np.exp(known.min() - padding)), float(np.exp(known.max() + padding))
    padding = 0.08 * (known.max() - known.min()) or max(0.02 * abs(known.max()), 1e-3)
    return float(known.min() - padding), float(known.max() + padding)
