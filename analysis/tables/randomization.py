"""The randomized part of a training's data as one axis: the settings of Zhang et al. 2017, figure 1."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.tables.cells import check_columns

INPUTS = {"gaussian": "Gaussian inputs", "shuffled_pixels": "shuffled pixels", "random_pixels": "random pixels"}
NEEDED = ("label_noise", "input_noise", "input_noise_kind")


def with_randomization(rows: pd.DataFrame) -> pd.DataFrame:
    """Add a categorical column `randomization` to points or curves, ordered from the least random to the most.

    Its values are "real data"; "random labels" or "40 % random labels" (for `label_noise`); "Gaussian inputs",
    "shuffled pixels" or "random pixels" (for `input_noise`, also with a percentage below 100 %); or one of each, joined
    by a comma. The names are from Zhang et al. 2017 (arXiv 1611.03530). Arpit et al. 2017 (arXiv 1706.05394) use the
    names randX and randY for two of the settings.

    Raises:
        AnalysisError: One of the `NEEDED` fields is missing.
    """
    check_columns(rows, NEEDED)
    # Format each setting once, not each row.
    code, settings = pd.factorize(pd.MultiIndex.from_frame(rows[[*NEEDED]]), use_na_sentinel=False)
    # Settings with random labels only come before settings with random inputs, as in the legend.
    order = dict.fromkeys(_words(*s) for s in sorted(settings, key=lambda s: (s[1], str(s[2]) if s[1] else "", s[0])))
    place = {words: index for index, words in enumerate(order)}
    codes = np.array([place[_words(*setting)] for setting in settings], dtype=int)[code]
    return rows.assign(randomization=pd.Categorical.from_codes(codes, [*order], ordered=True))


def _words(label_noise: float, input_noise: float, kind: str) -> str:
    parts = [(label_noise, "random labels"), (input_noise, INPUTS.get(str(kind), f"{kind} inputs"))]
    present = [words if share == 1 else f"{100 * share:.3g} % {words}" for share, words in parts if share > 0]
    return ", ".join(present) or "real data"
