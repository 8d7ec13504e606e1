from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from analysis.errors import AnalysisError
from analysis.figures.heatmaps import heatmap
from analysis.figures.style import COLUMN, DPI, PAGE, save_figure, wrapped

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


@pytest.fixture(name="figure", scope="module")
def figure_fixture(sweep: Sweep) -> mpl.figure.Figure:
    points, _ = sweep(label_noise=[0.1, 0.4], parameter_count=[300, 3000], seed=[0, 1])
    return heatmap(points, "parameter_count", "label_noise", "memorized_fraction")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_suffix_is_the_format_and_the_bytes_are_reproducible(
    figure: mpl.figure.Figure, tmp_path: Path, suffix: str, magic: bytes
) -> None:
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    save_figure(figure, first)
    save_figure(figure, second)
    assert first.read_bytes().startswith(magic)
    assert first.read_bytes() == second.read_bytes()


def test_the_picture_is_not_blank_and_fits_a_column(figure: mpl.figure.Figure, tmp_path: Path) -> None:
    save_figure(figure, tmp_path / "a.png")
    pixels = imread(tmp_path / "a.png")
    assert COLUMN * DPI - 1 <= pixels.shape[1] <= PAGE * DPI + 1
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50


@pytest.mark.parametrize("name", ["a.jpg", "a"])
def test_another_suffix_is_refused_before_anything_is_written(
    figure: mpl.figure.Figure, tmp_path: Path, name: str
) -> None:
    with pytest.raises(AnalysisError, match=r"out: given .* valid: \.png, \.svg, \.pdf") as caught:
        save_figure(figure, tmp_path / name)
    assert caught.value.key == "out"
    assert list(tmp_path.iterdir()) == []


def test_nothing_leaks_into_pyplot_or_the_settings_of_the_caller(sweep: Sweep) -> None:
    from matplotlib import pyplot

    points, _ = sweep(label_noise=[0.1, 0.4], parameter_count=[300, 3000])
    with mpl.rc_context({"font.size": 31.0}):
        before = dict(mpl.rcParams)
        drawn = heatmap(points, "parameter_count", "label_noise", "test_accuracy")
        assert dict(mpl.rcParams) == before
    assert float(drawn.axes[0].get_xticklabels()[0].get_fontsize()) < 10
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (4, (4, 1)), (5, (3, 2)), (7, (4, 2)), (9, (3, 3))])
def test_panels_wrap_into_even_rows(count: int, shape: tuple[int, int]) -> None:
    assert wrapped(count) == shape
