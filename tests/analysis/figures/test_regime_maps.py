from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.errors import AnalysisError
from analysis.figures.regime_maps import SWATCHES, regime_cells, regime_map
from analysis.statistics.regime_rules import Evidence
from analysis.statistics.regimes import RULES, RelativeRule, name_regimes
from analysis.tables.cells import OUTCOMES

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]

SIZES, NOISES = [300, 1200, 5000], [0.1, 0.4]
X, Y = "parameter_count", "label_noise"


def shown(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_visible()]


def mesh(ax: Axes, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(ax.collections[0].get_array(), dtype=float).reshape(*shape, 4)


def letters(ax: Axes) -> dict[tuple[int, int], str]:
    return {(int(t.get_position()[0]), int(t.get_position()[1])): t.get_text() for t in ax.texts}


def holes(ax: Axes, label: str) -> set[tuple[int, int]]:
    return {(int(p.get_x()), int(p.get_y())) for p in ax.patches if p.get_label() == label}  # type: ignore[attr-defined]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def boundaries(ax: Axes) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    (lines,) = [c for c in ax.collections if c.get_label() == "boundary"]
    return {tuple(tuple(map(int, end)) for end in segment) for segment in lines.get_segments()}  # type: ignore[attr-defined,misc]


@dataclass(frozen=True)
class Told:
    """A rule that maps test accuracy 0.1 to a, 0.2 to b and 0.3 to c; other values have no regime."""

    regimes: ClassVar[tuple[str, ...]] = ("apple", "apricot", "cherry")
    words: str = "as told"

    def decide(self, points: pd.DataFrame, evidence: Evidence) -> pd.Series:
        return points["test_accuracy"].round(1).map(dict(zip((0.1, 0.2, 0.3), self.regimes, strict=True)))

    def stated(self, points: pd.DataFrame, evidence: Evidence) -> str:
        return f"chance {evidence.chance}"


def told(sweep: Sweep, codes: list[list[list[float]]]) -> pd.DataFrame:
    """Build points from codes [y][x][seed]: 1 to 3 for a regime, 4 for none, 0 missing, -1 diverged, -2 failed."""
    seeds = len(codes[0][0])
    points, _ = sweep(label_noise=NOISES, parameter_count=SIZES, seed=list(range(seeds)))
    flat = np.array(codes, dtype=float).ravel()
    outcome = pd.Series(flat).map({0: "missing", -1: "diverged", -2: "failed"}).fillna("finished")
    return points.assign(test_accuracy=np.where(flat > 0, flat / 10, np.nan), outcome=outcome)


CODES = [
    [[1, 1, 1], [1, 1, 2], [2, 3, 3]],
    [[-1, -1, 1], [0, 0, 0], [3, 3, -2]],
]


def test_a_map_by_hand(sweep: Sweep) -> None:
    figure = regime_map(told(sweep, CODES), X, Y, rule=Told(), chance=0.1, note="told")
    (ax,) = shown(figure)
    assert letters(ax) == {(0, 0): "A 3/3", (1, 0): "A 2/3", (2, 0): "C 2/3", (2, 1): "C 2/2"}
    assert holes(ax, "diverged") == {(0, 1)}
    assert holes(ax, "missing") == {(1, 1)}
    assert boundaries(ax) == {((2, 0), (2, 1))}
    assert words(figure) == ["A  apple", "C  cherry", "no data", "diverged"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["300", "1.2k", "5k"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 3), (0, 2))
    assert figure.caption == (
        "Told. Regime of most of n = 2 to 3 seeds a cell; all agree in 2 of 5 cells, in the others paler, as few as "
        "2 of 3. Of 6 cells 1 without data, 1 diverged. 1 training failed beside seeds that finished. "
        "As told. Chance 0.1."
    )
    assert "2 apple, 2 cherry, 1 diverged. 1 has none." in figure.alt


def test_paler_where_seeds_disagree_and_full_where_they_agree(sweep: Sweep) -> None:
    (ax,) = shown(regime_map(told(sweep, CODES), X, Y, rule=Told()))
    colours = mesh(ax, (2, 3))
    np.testing.assert_array_equal(colours[..., 3], [[1, 1, 1], [0, 0, 1]])
    white = np.abs(1 - colours[..., :3]).sum(-1)
    assert white[0, 0] > white[0, 1] > 0.2
    assert white[1, 2] > white[0, 2] > 0.2
    # The hue does not change: a paler colour lies on the line from the full colour to white.
    full, pale = 1 - colours[0, 0, :3], 1 - colours[0, 1, :3]
    np.testing.assert_allclose(pale / full, (pale / full)[0])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(-2, 4), min_size=3, max_size=3), min_size=6, max_size=6))
def test_a_cell_has_the_regime_of_most_seeds_or_says_why_not(sweep: Sweep, codes: list[list[int]]) -> None:
    points = told(sweep, [codes[:3], codes[3:]])
    rule = Told()
    named = name_regimes(points, rule)
    table = regime_cells(points, named, [X, Y]).set_index([Y, X])
    order = [1, 2, 3, -1, 4]
    names = {1: "apple", 2: "apricot", 3: "cherry", -1: "diverged"}
    for place, seeds in enumerate(codes):
        row = table.loc[(NOISES[place // 3], SIZES[place % 3])]
        votes = Counter(code for code in seeds if code in order)
        assert row["n"] == votes.total()
        assert row["n_failed"] == seeds.count(-2)
        if not votes:
            assert row["status"] == ("failed" if -2 in seeds else "missing")
            assert pd.isna(row["regime"])
            continue
        top = max(votes.values())
        winner = next(code for code in order if votes[code] == top)
        assert row["status"] == {-1: "diverged", 4: "undefined"}.get(winner, "value")
        assert (row["regime"] if winner != 4 else None) == names.get(winner)
        assert row["agreeing"] == top
        assert row["tied"] == (list(votes.values()).count(top) > 1)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(OUTCOMES), min_size=6, max_size=6))
def test_a_cell_without_data_is_hatched_and_never_a_colour(sweep: Sweep, outcomes: list[str]) -> None:
    points, _ = sweep(label_noise=NOISES, parameter_count=SIZES)
    figure = regime_map(points.assign(outcome=outcomes), X, Y, chance=0.1)
    (ax,) = shown(figure)
    grid = np.array(outcomes).reshape(2, 3)
    np.testing.assert_array_equal(mesh(ax, (2, 3))[..., 3] == 1, grid == "finished")
    assert set(letters(ax)) == {(x, y) for y in range(2) for x in range(3) if grid[y, x] == "finished"}
    for status, words_of in (("missing", "no data"), ("diverged", "diverged"), ("failed", "failed")):
        assert holes(ax, status) == {(x, y) for y in range(2) for x in range(3) if grid[y, x] == status}
        assert (words_of in words(figure)) is (status in outcomes)


def test_boundaries_part_every_two_neighbours_that_differ(sweep: Sweep) -> None:
    codes = [[[1], [2], [2]], [[1], [1], [0]]]
    (ax,) = shown(regime_map(told(sweep, codes), X, Y, rule=Told()))
    assert boundaries(ax) == {((1, 0), (1, 1)), ((1, 1), (2, 1))}


def test_one_seed_has_no_agreement_and_its_letter_alone(sweep: Sweep) -> None:
    figure = regime_map(told(sweep, [[[1], [2], [4]], [[1], [3], [0]]]), X, Y, rule=Told())
    (ax,) = shown(figure)
    assert letters(ax) == {(0, 0): "A", (1, 0): "P", (0, 1): "A", (1, 1): "C"}
    assert holes(ax, "undefined") == {(2, 0)}
    assert figure.caption.startswith("One seed a cell (n = 1), so no agreement to show. Of 6 cells 1 without data. ")
    assert "Not defined in 1 cell." in figure.caption
    assert letters(shown(regime_map(told(sweep, CODES), X, Y, rule=Told(), annotate=False))[0]) == {}


@pytest.mark.parametrize("name", list(RULES))
def test_every_picture_states_its_rule_and_thresholds(sweep: Sweep, name: str) -> None:
    points, curves = sweep(parameter_count=SIZES, label_noise=NOISES, seed=[0, 1])
    figure = regime_map(points, X, Y, rule=name, chance=0.1, curves=curves, full_size=4000)
    rule = RULES[name]
    assert rule.words[1:] in figure.caption
    assert figure.caption in " ".join(" ".join(text.get_text().split()) for text in figure.texts)
    named = name_regimes(points, name, chance=0.1, curves=curves, full_size=4000)
    assert {f"{SWATCHES[r].letter}  {r}" for r in named.dropna().unique()} >= {w for w in words(figure) if "  " in w}
    if name == "relative":
        best = 100 * points["test_accuracy"].max()
        assert f"Best clean test accuracy {best:.3g} %, needed {10 + 0.5 * (best - 10):.3g} %" in figure.caption


@pytest.mark.parametrize("name", list(RULES))
def test_regimes_of_a_rule_differ_in_colour_and_letter(name: str) -> None:
    swatches = [SWATCHES[regime] for regime in RULES[name].regimes]
    assert len({s.letter for s in swatches}) == len({s.colour for s in swatches}) == len(swatches)


def test_facets_make_panels_named_by_one_best_accuracy(sweep: Sweep) -> None:
    points, _ = sweep({(("dropout", 0.2), ("weight_decay", 0.1)): "missing"}, parameter_count=SIZES, label_noise=NOISES,
                      dropout=[0.0, 0.2, 0.5], weight_decay=[0.0, 0.1])  # fmt: skip
    figure = regime_map(points, X, Y, facet=["dropout", "weight_decay"], chance=0.1)
    panels = shown(figure)
    assert [ax.get_title() for ax in panels[:3]] == ["dropout 0", "dropout 0.2", "dropout 0.5"]
    assert [panels[i].get_ylabel().split("\n")[0] for i in (0, 3)] == ["weight decay 0", "weight decay 0.1"]
    assert [len(holes(ax, "missing")) for ax in panels] == [0, 0, 0, 0, 6, 0]
    named = name_regimes(points, chance=0.1)
    here = points.assign(regime=named.astype(object)).query("dropout == 0.5 and weight_decay == 0.1")
    for row in here.itertuples():
        place = (SIZES.index(row.parameter_count), NOISES.index(row.label_noise))
        colour = mesh(panels[5], (2, 3))[place[1], place[0], :3]
        np.testing.assert_allclose(colour, to_rgb(SWATCHES[row.regime].colour))


def test_an_epoch_is_named_by_its_own_measures_and_the_best_of_all(sweep: Sweep) -> None:
    points, curves = sweep(parameter_count=SIZES, label_noise=NOISES)
    figure = regime_map(points, X, Y, epoch=1, curves=curves, chance=0.1)
    assert set(letters(shown(figure)[0]).values()) == {"U"}
    assert "One seed a cell (n = 1), after 1 epochs" in figure.caption
    # The largest network is coexisting relative to the best of this noise level, and memorizing relative to all points.
    rule, part = RelativeRule(learned=0.6), points[points[Y] == 0.4]
    for reference, expected in ((None, "UGC"), (points, "UGCM")):
        along = regime_map(part, "epoch", X, rule=rule, curves=curves, chance=0.1, reference=reference)
        drawn = letters(shown(along)[0])
        assert "".join(dict.fromkeys(drawn[epoch, 2] for epoch in range(12))) == expected


def test_a_reference_makes_the_best_of_a_part_that_of_the_whole(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=[0.0, *NOISES])
    part = points[points[Y] > 0]
    best = f"Best clean test accuracy {100 * points['test_accuracy'].max():.3g} %"
    assert best in regime_map(part, X, Y, chance=0.1, reference=points).caption
    assert best not in regime_map(part, X, Y, chance=0.1).caption


def test_thresholds_change_the_map(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=NOISES)
    lax = regime_map(points, X, Y, rule=RelativeRule(learned=0.0, fitted=1.0, margin=0.0), chance=0.0)
    assert set(letters(shown(lax)[0]).values()) == {"G"}
    assert "at least 0 % of the way" in lax.caption


def test_letters_too_small_to_read_are_left_out(sweep: Sweep) -> None:
    def written(step: int) -> set[str]:
        points, _ = sweep(parameter_count=list(range(300, 20000, step)), label_noise=NOISES, seed=[0, 1])
        return set(letters(shown(regime_map(points, X, Y, chance=0.1))[0]).values())

    assert written(2000) <= {f"{letter} {n}/2" for letter in "GCMU" for n in (1, 2)} - written(350)
    assert written(350) <= set("GCMU")
    assert written(350)
    assert written(100) == set()


def test_a_sweep_that_has_not_begun_is_all_missing(sweep: Sweep) -> None:
    points, _ = sweep({(): "missing"}, parameter_count=SIZES, label_noise=NOISES)
    figure = regime_map(points, X, Y, chance=0.1)
    assert len(holes(shown(figure)[0], "missing")) == 6
    assert figure.caption.startswith("No data yet. Of 6 cells 6 without data. ")


def test_bad_requests_are_answered_with_the_choices(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=NOISES, dropout=[0.0, 0.5])
    with pytest.raises(AnalysisError, match="rule: given 'lui2022'"):
        regime_map(points, X, Y, rule="lui2022")
    with pytest.raises(AnalysisError, match="dropout: given several values inside one cell"):
        regime_map(points, X, Y)
    with pytest.raises(AnalysisError, match="chance: not given"):
        regime_map(points, X, Y, facet="dropout", rule="doshi2024")
    with pytest.raises(AnalysisError, match="given 1 names for other rows"):
        regime_cells(points, name_regimes(points.head(1)), [X, Y])
