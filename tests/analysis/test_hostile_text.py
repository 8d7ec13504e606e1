"""Text of a user or a store is shown as given on a page and in a figure: nothing in it is markup or a formula."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures.heatmaps import heatmap
from analysis.figures.style import Picture, save_figure
from analysis.report import page
from analysis.report.page import PageTable, write_study_page
from analysis.words import setting, value_labels
from lightning_modules.shown_text import visible

WORST = "<script>alert(1)</script>\"'><img src=x onerror=y>&lt; {{ 7*7 }} $\\frac{1}$ $x_1$ \x1b[2J\x00\u202e\ud800 [b]"
PIECES = [
    "<", ">", "&", '"', "'", "$", "_", "^", "\\", "{", "}", "{{", "%}", "\x1b[2J", "\x00", "\u202e", "\ud800", "\n",
    "--", "]]>", "<script>", "onload=", "[b]", ":cat:", "a", "1", " ",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)
DRAWN = settings(max_examples=1, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""A figure takes a third of a second."""


class Structure(HTMLParser):
    """The tags of a page with the names of their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(text: str, folder: Path) -> Structure:
    picture = Picture()
    picture.heading, picture.caption, picture.alt = text, text, text
    about: dict[str, Any] = {"name": text, "question": text, "definition": text, "fixed": {text: text, "a": [text]},
                             "axes": {"b": [text]}, "provenance": {text: text}}  # fmt: skip
    table = PageTable(text, [text], [[text]], text)
    return Structure(write_study_page(about, [table], {"a": picture}, {}, folder)[0])


@example(WORST)
@given(texts)
def test_no_text_changes_the_structure_of_a_page(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_rendered", lambda picture, suffix: b"")
        plain, hostile = page_of("plain", folder), page_of(text, folder)
    assert hostile.tags == plain.tags
    assert visible(text).strip() in "".join(hostile.texts)


def texts_in(figure: Figure) -> list[Text]:
    return [found for found in figure.findobj(Text) if found.get_text()]


@pytest.mark.usefixtures("without_layout")
@pytest.mark.filterwarnings("ignore:Glyph")
@DRAWN
@example(WORST)
@given(text=texts)
def test_a_figure_draws_any_name_and_reads_no_formula(sweep, text):
    name = f"parquet:{text}".replace("\ud800", "")  # which no table can hold
    points, _ = sweep(data=["mnist1d", name], label_noise=[0.1, 0.4], seed=[0])
    drawn = heatmap(points, "data", "label_noise", "test_accuracy")
    assert not any(found.get_parse_math() for found in texts_in(drawn))
    assert any(found.get_text() == value_labels("data", [name])[0] for found in texts_in(drawn))
    for suffix in ("svg", "png"):
        buffer = io.BytesIO()
        save_figure(drawn, buffer, suffix)
        if suffix == "svg":
            ElementTree.fromstring(buffer.getvalue())


@given(texts)
def test_a_value_is_one_line_without_controls(text):
    for words in (setting("data", text), *value_labels("data", [text, text + "x"])):
        assert words == visible(words)
        assert "\n" not in words


@pytest.mark.usefixtures("without_layout")
def test_a_logarithmic_axis_has_numbers_and_no_formulas(sweep):
    points, _ = sweep(parameter_count=[300, 3000, 30_000], label_noise=[0.1, 0.4], seed=[0])
    points["train_loss"] = [10.0**-power for power in range(len(points))]
    drawn = heatmap(points, "parameter_count", "label_noise", "train_loss")
    save_figure(drawn, io.BytesIO(), "png")
    labels = [found.get_text() for found in texts_in(drawn)]
    assert "0.1" in labels or "1e-01" in labels
    assert not any("$" in label for label in labels)


@pytest.mark.usefixtures("without_layout")
def test_in_axes_of_the_caller_names_are_as_given_and_ticks_as_the_caller_has_them(sweep):
    points, _ = sweep(data=["mnist1d", "parquet:$x^2$"], label_noise=[0.1, 0.4], seed=[0])
    figure = Figure()
    ax = figure.subplots()
    heatmap(points, "data", "label_noise", "test_accuracy", ax=ax)
    figure.savefig(io.BytesIO(), format="png")
    named = [found for found in ax.findobj(Text) if "$" in found.get_text()]
    assert named
    assert not any(found.get_parse_math() for found in named)
