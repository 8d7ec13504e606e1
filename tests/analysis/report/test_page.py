from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from analysis.errors import AnalysisError
from analysis.figures.kinds import FigureSpec
from analysis.report import page as page_module
from analysis.report.page import status, write_report

pytestmark = pytest.mark.usefixtures("without_layout")

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]

DESCRIPTION = {
    "name": "quick <study>",
    "question": "How much noise does it memorize?",
    "fixed": {"data": "mnist1d"},
    "axes": {"label_noise": [0.2, 0.6], "parameter_count": [300, 5000]},
    "definition": "name: quick\ngrid:\n  label_noise: [0.2, 0.6]\n",
    "provenance": {"memsweep": "0.1.0 (1a2b3c)", "device": "cpu", "wall time": "52 s"},
    "chance": 0.1,
}
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """A parser that checks that tags are closed in order, and collects links, images and text by tag."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.texts: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.links += [value for key in ("href", "src") if (value := attributes.get(key))]
        self.ids += [value for key, value in attrs if key == "id" and value]
        if tag == "img":
            self.images.append(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))


LINES = FigureSpec("lines", x="parameter_count", y="test_error", where={"label_noise": 0.6})
HEAT = FigureSpec("heatmap", x="parameter_count", y="label_noise", value="train_loss")


def study(sweep: Sweep) -> tuple[Any, Any]:
    lost = {
        (("label_noise", 0.6), ("parameter_count", 300)): "missing",
        (("seed", 1), ("label_noise", 0.2)): "failed",
    }
    return sweep(lost, label_noise=[0.2, 0.6], parameter_count=[300, 1200, 5000], seed=[0, 1])


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the rendering of pictures by empty files."""
    monkeypatch.setattr(page_module, "_rendered", lambda picture, suffix: b"")


def test_the_page_shows_the_study_and_every_link_resolves(sweep: Sweep, tmp_path: Path) -> None:
    points, curves = study(sweep)
    written = write_report(points, curves, DESCRIPTION, [HEAT, LINES], tmp_path / "deep" / "out")
    out = tmp_path / "deep" / "out"
    assert written[0] == out / "index.html"
    assert set(written) == {path for path in out.rglob("*") if path.is_file()}
    page = Page(written[0])
    assert page.links
    assert all((out / link).is_file() for link in page.links)
    assert {out / link for link in page.links} == set(written[1:])
    assert len(page.ids) == len(set(page.ids))
    assert len(page.images) == 2
    for image in page.images:
        assert len(str(image["alt"])) > 40
        pixels = imread(out / str(image["src"]))
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50
        assert int(str(image["width"])) / int(str(image["height"])) == pytest.approx(
            pixels.shape[1] / pixels.shape[0], rel=0.02
        )
    cells = [text for tag, text in page.texts if tag in ("td", "th")]
    assert cells[:12] == [
        "points",
        "finished",
        "diverged",
        "stopped",
        "failed",
        "missing",
        "12",
        "7",
        "0",
        "0",
        "3",
        "2",
    ]
    assert "0.1.0 (1a2b3c)" in cells
    assert "0.2, 0.6" in cells
    assert ("h1", "quick <study>") in page.texts
    assert ("code", DESCRIPTION["definition"].strip()) in page.texts  # type: ignore[attr-defined]
    assert "http" not in written[0].read_text().replace("http-equiv", "")


@pytest.mark.usefixtures("unrendered")
def test_the_sweep_file_chooses_the_figures(sweep: Sweep, tmp_path: Path) -> None:
    points, curves = study(sweep)
    titled = replace(HEAT, title="Loss & all")
    written = write_report(points, curves, {"name": "n"}, [titled, replace(titled, epoch=10)], tmp_path)
    stem = "heatmap_train_loss_label_noise_by_parameter_count"
    assert sorted(path.name for path in written if path.suffix == ".png") == [f"{stem}-2.png", f"{stem}.png"]
    assert [text for tag, text in Page(written[0]).texts if tag == "h3"] == ["Loss & all"] * 2


def test_the_same_study_gives_the_same_bytes(sweep: Sweep, tmp_path: Path) -> None:
    points, curves = study(sweep)
    first = write_report(points, curves, DESCRIPTION, [LINES], tmp_path / "a")
    second = write_report(points, curves, DESCRIPTION, [LINES], tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_figure_that_cannot_be_drawn_leaves_nothing_behind(sweep: Sweep, tmp_path: Path) -> None:
    points, curves = study(sweep)
    with pytest.raises(AnalysisError, match=r"figures\[1\] \(heatmap\): y: given 'label_nose'") as caught:
        write_report(points, curves, DESCRIPTION, [LINES, replace(HEAT, y="label_nose")], tmp_path / "out")
    assert caught.value.key == "figures[1].y"
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("unrendered")
def test_a_crash_leaves_the_old_page_whole(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points, curves = study(sweep)
    old = write_report(points, curves, DESCRIPTION, [LINES], tmp_path)[0].read_text()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as handle:
            handle.write(data[: len(data) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        write_report(points, curves, {**DESCRIPTION, "name": "new"}, [LINES], tmp_path)
    assert (tmp_path / "index.html").read_text() == old
    assert list(tmp_path.rglob(".*")) == []


def test_a_place_that_is_a_file_is_an_os_error(sweep: Sweep, tmp_path: Path) -> None:
    points, curves = study(sweep)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotADirectoryError):
        write_report(points, curves, {"name": "n"}, [LINES], tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_study_without_anything_says_so(sweep: Sweep, tmp_path: Path) -> None:
    points, curves = sweep({(): "missing"})
    page = Page(write_report(points, curves, {"name": "empty"}, [], tmp_path)[0])
    assert page.images == []
    assert any(text.startswith("No figure") for _, text in page.texts)
    assert status(points) == {"points": 1, "finished": 0, "diverged": 0, "stopped": 0, "failed": 0, "missing": 1}
