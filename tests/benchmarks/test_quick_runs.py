"""Every benchmark runs with --quick, and the tables of its result can be made; its figures mean nothing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Make the benchmarks importable, and forget them afterwards."""
    before = {*sys.modules}
    monkeypatch.syspath_prepend(FOLDER)
    yield monkeypatch
    for name in {*sys.modules} - before:
        if getattr(sys.modules[name], "__file__", None) and Path(sys.modules[name].__file__ or "").parent == FOLDER:
            del sys.modules[name]


@pytest.fixture
def tables(benchmarks: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Return `speed_tables`, which reads results from `tmp_path`."""
    importlib.import_module("instruments")  # keeps the real folder, into which --quick may not save
    module = importlib.import_module("speed_tables")
    benchmarks.setattr(module, "RESULTS", tmp_path)
    return module


@pytest.mark.parametrize(
    ("name", "key", "shown"),
    [
        ("efficiency", "cohorts", ["| 16 | 2 | no |", "| 16 | 2 | yes |"]),
        ("packing", "cases", ["| convnet of 4 |", "| mlp of 8 |"]),
        ("cohort_sizes", "shapes", ["| mlp of 8 |"]),
    ],
)
def test_quick_run_in_this_process(name, key, shown, tables, tmp_path, capsys):
    module = importlib.import_module(name)
    assert module.main(["--quick", "--json", str(tmp_path / f"{name}.json")]) == 0
    content = json.loads((tmp_path / f"{name}.json").read_text())
    assert content["machine"]["cores"] >= 1
    assert len(content[key]) == len(shown)
    assert "[1/" in capsys.readouterr().err
    lines = getattr(tables, name)()
    assert [start for start in shown if not any(line.startswith(start) for line in lines)] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("split", "| training |"),
        ("early_stopping", "| 256 | 3 | filled again |"),
        ("scale", "| 200 |"),
        ("replay", "Replays on recorded curves"),
        ("measures", None),
    ],
)
def test_quick_run_in_a_process_of_its_own(name, shown, tables, tmp_path):
    out = tmp_path / f"{name}.json"
    run = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", "--quick", "--json", out], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(out.read_text())["machine"]["cores"] >= 1
    if shown:
        assert any(line.startswith(shown) for line in getattr(tables, name)())


def test_a_benchmark_without_a_result_says_so(tables):
    assert {*tables.split()} == {"*Not measured yet; `make bench-split` does.*"}


def test_a_quick_run_is_not_saved(benchmarks, capsys):
    module = importlib.import_module("cohort_sizes")
    with pytest.raises(SystemExit):
        module.main(["--quick", "--save"])
    assert "--save" in capsys.readouterr().err


def test_contenders_alternate_and_ratios_are_taken_round_by_round(benchmarks):
    instruments = importlib.import_module("instruments")
    calls, clock = [], iter([0, 1, 1, 3, 3, 7, 7, 9])
    seconds = instruments.interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, clock=lambda: next(clock)
    )
    assert "".join(calls) == "abab"
    assert seconds == {"a": [1, 4], "b": [2, 2]}
    assert instruments.ratio(seconds["a"], seconds["b"]) == (1 / 2 + 4 / 2) / 2


def test_results_are_written_with_five_digits_and_the_machine(benchmarks, tmp_path):
    instruments = importlib.import_module("instruments")
    instruments.write(tmp_path / "results" / "x.json", {"cores": 2}, {"rows": [{1: 0.123456789, "count": 1234567}]})
    content = json.loads((tmp_path / "results" / "x.json").read_text())
    assert content == {"machine": {"cores": 2}, "rows": [{"1": 0.12346, "count": 1234567}]}


def test_a_cache_of_unknown_size_is_left_out(benchmarks, tmp_path):
    instruments = importlib.import_module("instruments")
    for number, files in enumerate(({"level": "1", "type": "Data"}, {"level": "2", "type": "Unified", "size": "1M"})):
        (tmp_path / f"index{number}").mkdir()
        for name, text in files.items():
            (tmp_path / f"index{number}" / name).write_text(f"{text}\n")
    assert instruments._caches(tmp_path) == {"L2": "1M"}


@pytest.fixture
def timed_sections() -> ModuleType:
    spec = importlib.util.spec_from_file_location("timed_sections", FOLDER / "sections" / "sitecustomize.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_function_of_a_section_exists(timed_sections):
    paths = [(module, path) for module, functions in timed_sections.TARGETS.items() for path in functions]
    for module, path in paths:
        owner, _, name = path.rpartition(".")
        loaded = importlib.import_module(module)
        assert name in vars(getattr(loaded, owner) if owner else loaded), (module, path)


def test_nested_sections_are_counted_once(timed_sections, monkeypatch, tmp_path):
    """The time of a section within another one belongs to the inner section alone."""
    now = [0.0]
    monkeypatch.setattr(timed_sections.time, "thread_time", lambda: now[0])

    def work(seconds: float) -> None:
        now[0] += seconds

    sections = timed_sections.Sections(str(tmp_path))
    inner = sections.timed(lambda: work(2.0), "inner")

    def outer() -> None:
        work(1.0)
        inner()
        inner()

    sections.timed(outer, "outer")()
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text())["cpu"] == {"inner": 4.0, "outer": 1.0}
