"""Tests of the page with its pictures and tables, built from two frames."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.report import page
from analysis.stopping.recorded import recorded
from analysis.stopping.study import write_study
from analysis.stopping.tables import interval

pytestmark = pytest.mark.usefixtures("without_layout")


@pytest.mark.slow  # draws nine figures, each of which has tests of its own
def test_everything_is_written(study, tmp_path, monkeypatch):
    # Figures are drawn but not written in three formats, which takes longer and has its own test.
    monkeypatch.setattr(page, "_rendered", lambda picture, suffix: picture.heading.encode())
    curves, stops = study
    findings, paths = write_study(
        recorded(curves, chance=0.1), stops, {"name": "s", "question": "q?"}, tmp_path, (1, 3)
    )
    assert paths[0] == tmp_path / "index.html"
    assert all(path.is_file() for path in paths)
    names = {path.name for path in paths}
    figures = {
        "front", "regimes", "ranks", "memorized", "sides", "curves_test_accuracy", "curves_validation_accuracy",
        "stop_epoch_test_accuracy", "survival_validation_accuracy",
    }  # fmt: skip
    assert {f"{name}.png" for name in figures} <= names
    assert pd.read_parquet(tmp_path / "stops.parquet").equals(stops)
    written = pd.read_csv(tmp_path / "summary.csv")
    assert written["budget"].tolist() == pytest.approx(findings.summary["budget"].tolist())
    text = paths[0].read_text()
    assert "sees validation accuracy" in text
    row = findings.summary[
        (findings.summary["setting"] == "asha") & (findings.summary["signal"] == "test_accuracy")
    ].iloc[0]
    assert interval(*(100 * row[f"budget{end}"] for end in ("", "_low", "_high")), 0) in text
    assert "n = 3 seeds" in text


def test_without_noise_and_without_a_peak_there_is_less_to_show(curves_of, stops_of, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "_rendered", lambda picture, suffix: b"")
    runs = {f"{width}{rate}": [0.1, width / 100, width / 90] for width in (8, 16, 32, 64) for rate in (1, 2)}
    fields = {name: {"width": int(name[:-1]), "learning_rate": int(name[-1])} for name in runs}
    unstopped = recorded(curves_of(runs, fields))
    stops = pd.concat([stops_of(dict.fromkeys(runs, 3), 3, "none"), stops_of(dict.fromkeys(runs, 1), 3)])
    findings, paths = write_study(unstopped, stops, {"name": "s"}, tmp_path)
    assert (findings.unseen, findings.sides, findings.memorized) == (None, None, None)
    assert {path.stem for path in paths if path.suffix == ".png"} == {
        "front", "ranks", "regimes", "stop_epoch_test_accuracy", "survival_test_accuracy", "curves_test_accuracy",
    }  # fmt: skip


def test_a_number_with_its_interval():
    nan = float("nan")
    assert interval(12.34, 10.0, 14.96) == "12.3 [10.0, 15.0]"
    assert interval(-0.01, nan, nan) == "0.0"
    assert interval(nan, nan, nan) == "-"
