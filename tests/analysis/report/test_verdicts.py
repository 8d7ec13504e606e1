"""Tests of claims on a page, both in their own report and in the report of a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.image import imread

from analysis.claims import CLAIMS, Decision, Finding
from analysis.figures.kinds import FigureSpec
from analysis.report.page import write_claims, write_report

pytestmark = pytest.mark.usefixtures("without_layout")

CLAIM = {claim.key: claim for claim in CLAIMS}


@pytest.fixture(name="decisions")
def decisions_fixture() -> list[Decision]:
    descent, dropout = CLAIM["double-descent"], CLAIM["dropout-holds-back"]
    each = {0: 18.0, 1: 20.0, 2: 22.0}
    return [
        Decision(dropout, "regularization-map", (
            Finding(dropout.contrasts[0], "supported", 20, 15, 25, 3, per_seed=each, how="95 % t interval over seeds"),
        )),
        Decision(descent, "mnist1d-double-descent", (
            Finding(descent.contrasts[0], "contradicted", 29.0, 27.0, 31.0, 3, per_seed={0: 29.0}, detail="width 27"),
            *(Finding(contrast, "undecided", missing="3 of 9 trainings to run or measure", command="memsweep run x")
              for contrast in descent.contrasts[1:]),
        )),
    ]  # fmt: skip


def test_a_page_of_claims(decisions, tmp_path):
    written = write_claims(decisions, {"memsweep": "0.1.0"}, tmp_path / "claims")
    page = written[0].read_text(encoding="utf-8")
    assert written[0] == tmp_path / "claims" / "index.html"
    stems = ["claim_double_descent_1", "claim_dropout_holds_back_1"]
    assert sorted(path.name for path in written[1:]) == [f"{stem}.{end}" for stem in stems for end in ("png", "svg")]
    assert page.count("<img ") == 2
    assert "Dropout holds memorization back." in page
    assert "+20.0 points [15.0, 25.0]" in page
    assert page.count('<td class="supported">') == 1
    assert page.count('<td class="contradicted">') == 1
    assert page.count('<td class="undecided">') == 2
    assert page.count("missing: 3 of 9 trainings to run or measure") == 2
    assert page.count('<span class="contradicted">contradicted</span>') == 1  # the claim of three contrasts
    assert "claimed: at most 10 %" in page
    assert 'id="status"' not in page
    assert 'id="figures"' not in page
    for path in written[1:]:
        if path.suffix == ".png":
            height, width, _ = imread(path).shape
            assert (width, height) == (700, 156)


def test_the_same_claims_are_the_same_bytes(decisions, tmp_path):
    first, second = (write_claims(decisions, {}, tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_studys_report_shows_its_claims_and_without_any_no_word_of_them(decisions, sweep, tmp_path):
    points, curves = sweep(parameter_count=[300, 3000], label_noise=[0.2, 0.6], seed=[0, 1])
    heat = FigureSpec("heatmap", x="parameter_count", y="label_noise", value="train_loss")
    with_, without = (
        write_report(points, curves, {"name": "n"}, [heat], tmp_path / str(len(claims)), claims)
        for claims in (decisions, [])
    )
    assert len(with_) - len(without) == 4
    page, plain = (Path(paths[0]).read_text(encoding="utf-8") for paths in (with_, without))
    assert page.index('id="status"') < page.index('id="claims"') < page.index('id="figures"')
    assert "claims" not in plain.partition("</style>")[2]
