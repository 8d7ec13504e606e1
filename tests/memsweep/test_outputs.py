"""What a command writes is written whole or not at all, and an output that cannot be written is one sentence."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from memsweep import cli

from analysis.report import page
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from tests.memsweep.command import SWEEP

pytestmark = pytest.mark.usefixtures("without_layout")

HEATMAP = ("heatmap", "small.yaml", "--x", "label_noise", "--y", "epochs", "--value", "test_loss", "--out")
REPLAY = ("replay", "small.yaml", "--scheduler", "asha", "--metric", "test_loss", "--seeds", "1", "--out")
WRITING = {
    "export as CSV": ("export", "small.yaml", "--out", "out/points.csv"),
    "export as Parquet": ("export", "small.yaml", "--table", "curves", "--out", "out/curves.parquet"),
    "heatmap as PNG": (*HEATMAP, "out/a.png"),
    "heatmap as SVG": (*HEATMAP, "out/a.svg"),
    "heatmap as PDF": (*HEATMAP, "out/a.pdf"),
    "report": ("report", "small.yaml", "--out", "out"),
    "claims": ("claims", "toneva2019-forgetting", "--out", "out"),
    "replay": (*REPLAY, "out/stops.csv"),
    "stopping-study": ("stopping-study", "small.yaml", "--scheduler", "asha", "--seeds", "1", "--out", "out"),
}
PRINTING = {
    "list": (), "plan": ("small.yaml",), "run": ("small.yaml", "--inline"), "status": ("small.yaml",),
    "export": WRITING["export as CSV"][1:], "heatmap": WRITING["heatmap as SVG"][1:], "report": ("small.yaml",),
    "claims": ("toneva2019-forgetting",), "replay": REPLAY[1:-1], "stopping-study": WRITING["stopping-study"][1:],
    "compact": (), "point": ("small.yaml", Plan.of(parse_sweep(SWEEP, "")).trainings[0].id),
}  # fmt: skip


def marked(names: Iterable[str]) -> list[Any]:
    """Mark as slow what draws or computes for half a second, but for one case of each kind."""
    quick = {"export as CSV", "heatmap as PNG", "list", "plan", "run", "export", "compact"}
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the rendering for pages, which takes most of the time, by bytes; `heatmap` renders its figure."""
    monkeypatch.setattr(page, "_rendered", lambda picture, suffix: b"picture " * 1000)
    monkeypatch.setattr("analysis.stopping.study.pictures", lambda *given: {})


@pytest.fixture
def trained(memsweep, trains) -> None:
    assert memsweep("run", "small.yaml", "--inline").code == 0


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """Let no file grow beyond this many bytes, which fails as a full disk does in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def commands_with(option: str) -> set[str]:
    group = typer.main.get_command(cli.app)
    return {name for name, each in group.commands.items() if option in {p.name for p in each.params}}  # type: ignore[attr-defined]


def test_every_command_is_tested():
    assert {words[0] for words in WRITING.values()} == commands_with("out")
    assert {*PRINTING} == commands_with("help") | {*PRINTING} == {*typer.main.get_command(cli.app).commands}  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", marked(WRITING))
def test_a_full_disk_or_a_kill_finds_the_old_files_whole(memsweep, trained, tmp_path, monkeypatch, case):
    """A file takes its name when all its bytes are on the disk, so that it is the old or the new one at any time."""
    words = WRITING[case]
    assert memsweep(*words).code == 0
    out, replace, replaced = tmp_path / "out", os.replace, {}
    whole = files(out)
    assert whole
    for path in whole:
        path.write_bytes(b"old")
    with full_disk(100):
        said = memsweep(*words)
    assert (said.code, said.err) == (2, f"error: --out {words[-1]}: cannot be written: File too large\n")
    assert files(out) == dict.fromkeys(whole, b"old")

    def noted(source: Path, target: Path) -> None:
        if Path(target).is_relative_to(out):
            assert Path(target).read_bytes() == b"old"
            replaced[Path(target)] = Path(source).read_bytes()
        replace(source, target)

    monkeypatch.setattr(os, "replace", noted)
    assert memsweep(*words).code == 0
    assert replaced == whole == files(out)


@pytest.mark.parametrize("command", marked(PRINTING))
def test_a_full_disk_behind_standard_output_is_one_sentence(memsweep, trained, monkeypatch, command):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        said = memsweep(command, *PRINTING[command])
    assert said.code == 2
    assert said.err.splitlines()[-1] == "error: standard output: cannot be written: No space left on device"
    assert "Traceback" not in said.err


@pytest.mark.parametrize("command", marked(PRINTING))
def test_a_pipe_that_nobody_reads_ends_a_command_without_a_word(memsweep, trained, monkeypatch, command):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        said = memsweep(command, *PRINTING[command])
    assert said.code == 1
    assert [line for line in said.err.splitlines() if "index.html" not in line] == []


@pytest.mark.parametrize(
    ("streams", "code", "words"),
    [
        ("> /dev/full", 2, "error: standard output: cannot be written: No space left on device\n"),
        pytest.param("2> /dev/full", 0, "", marks=pytest.mark.slow),
        pytest.param("--nonsense > /dev/full 2> /dev/full", 2, "", marks=pytest.mark.slow),
        pytest.param(">&- 2>&-", 0, "", marks=pytest.mark.slow),
    ],
)
def test_the_interpreter_has_nothing_to_add_when_it_ends(tmp_path, streams, code, words):
    """Python flushes both streams once more when it ends, and would exit with 120 and print an exception."""
    command = f"{sys.executable} -c 'from memsweep.guard import main; main()' list {streams}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (code, words)
