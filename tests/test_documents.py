"""README and docs are correct: tables and output match the code, examples run, and links and paths exist."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import memsweep as ms
import pytest
import yaml
from memsweep.cli import app, main
from memsweep.testing import Scripted, scripted_measures
from typer.testing import CliRunner

from sweeps.execution.inline import Inline
from sweeps.spec.sweep_file import parse_sweep

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(DOCS.rglob("*.md")),
]
DECISIONS = [f"docs/decisions/{path.name}" for path in sorted((DOCS / "decisions").glob("*.md"))]
NOT_OURS = ("s3://", "gs://", "leases/", "build/")


@pytest.fixture(scope="module")
def documents() -> ModuleType:
    spec = importlib.util.spec_from_file_location("documents", Path(__file__).parent / "documents.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(language: str, *paths: Path) -> list[str]:
    text = "".join(path.read_text() for path in paths)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(
    ("document", "written"),
    [
        ("docs/claims.md", "Dropout holds"),
        ("docs/fields.md", "| `dropout` |"),
        ("docs/columns.md", "`stopped`"),
        ("docs/measures.md", "| `never_learned` |"),
        ("docs/early-stopping.md", "| `kept_best` |"),
        ("docs/presets.md", "## quickstart"),
        ("docs/usage.md", "| `plan` |"),
        ("docs/speed.md", "| a bare PyTorch loop"),
        ("docs/decisions/cohorts.md", "as a bare PyTorch loop"),
        ("README.md", "generalize:"),
    ],
)
def test_generated_tables_are_those_of_the_code(documents, document, written):
    assert document in documents.DOCUMENTS
    text = (ROOT / document).read_text()
    assert documents.generated(document, text) == text, "run `make docs`"
    spoilt = text.replace(written, written.upper())
    assert spoilt != text
    assert documents.generated(document, spoilt) == text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_project_resolve(document):
    links = re.findall(r"\]\(([^)]+)\)", document.read_text())
    local = [link.split("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_the_readme_stays_short_and_leads_to_every_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert [path.name for path in DOCS.glob("*.md") if f"docs/{path.name}" not in text] == []


def test_the_site_has_every_page_and_the_whole_api():
    def pages(entries: list) -> Iterator[str]:
        for entry in entries:
            for value in entry.values() if isinstance(entry, dict) else [entry]:
                yield from pages(value) if isinstance(value, list) else [value]

    site = yaml.safe_load((ROOT / ".mkdocs.yml").read_text())
    assert sorted(pages(site["nav"])) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    names = re.findall(r"^::: memsweep\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(names) == ms.__all__


def test_every_decision_is_in_the_index():
    index = (DOCS / "decisions" / "index.md").read_text()
    pages = [path.name for path in (DOCS / "decisions").glob("*.md") if path.name != "index.md"]
    assert [name for name in pages if f"]({name})" not in index] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", *DECISIONS])
def test_files_that_are_named_exist(document):
    text = (ROOT / document).read_text()
    named = {path for path in re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text) if not path.startswith(NOT_OURS)}
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", ["README.md", "docs/usage.md"])
def test_the_sweep_files_are_valid(document):
    (example,) = blocks("yaml", ROOT / document)
    sweep = parse_sweep(example, document)
    assert len(sweep.points()) == {"README.md": 6 * 2 * 3, "docs/usage.md": 5 * 2 * 3}[document]
    assert bool(sweep.figures) == ("figures:" in example)


def test_every_command_exists_with_its_options(documents):
    lines = [line for path in DOCUMENTS for line, _ in documents.transcript(path.read_text())]
    commands = [shlex.split(part, comments=True)[1:] for line in lines for part in line.split(" && ")
                if part.startswith("memsweep ")]  # fmt: skip
    assert len(commands) >= 12
    options = {name: {word for each in commands if each[0] == name for word in each if word.startswith("--")}
               for name, *_ in commands}  # fmt: skip
    for name, wanted in options.items():
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        assert "Usage" in shown
        assert [option for option in wanted if option not in shown] == [], name


def measures(point: ms.Point, epoch: int) -> dict[str, float | None]:
    """Return invented measures that lead to the same words in the output as those of real trainings."""
    noise = point.label_noise
    memorized = scripted_measures(point, epoch)["memorized_fraction"] if noise else None
    forgotten = 9 * noise + 0.3 * noise * point.seed
    return {**scripted_measures(point, epoch), "memorized_fraction": memorized, "forgetting_events": forgotten}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function that runs a command line in this process, in an empty folder, with scripted trainings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(Inline, "execute", lambda self, *given: Scripted(measures).execute(*given))

    def run(line: str) -> str:
        words = shlex.split(line, comments=True)
        monkeypatch.setattr(sys, "argv", words + ["--inline"] * (words[1] == "run"))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
            main()
        return printed.getvalue()

    return run


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_python_print_what_is_shown(documents, program, document):
    """`list`, `plan` and errors match to the letter. Output that depends on a training matches except for numbers."""
    text = document.read_text()
    for command, shown in documents.transcript(text):
        if command.startswith("memsweep ") and shown:
            printed = program(command)
            exactly = command.split()[1] in ("list", "plan") or shown[0].startswith("error: ")
            assert documents.matches(shown, printed, exactly), f"$ {command}\n{printed}"
    names: dict[str, object] = {}
    for code, shown in documents.transcript(text, "pycon", ">>> ", "... "):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(f"{code}\n", document.name, "single"), names)
        assert documents.matches(shown, output.getvalue(), exactly=False), f">>> {code}\n{output.getvalue()}"


@pytest.mark.parametrize(
    ("shown", "printed", "exactly", "same"),
    [
        (["a 1", "...", "z"], "a 1\nb\nc\nz\n", True, True),
        (["a 1", "...", "z"], "a 1\nz\n", True, True),
        (["a 1"], "a 2\n", True, False),
        (["a 1"], "a   2.5\n", False, True),
        (["a 1"], "b 1\n", False, False),
        (["done in 3.1 s, 7 points/s"], "done in 40 s, 0.2 points/s\n", True, True),
        (["3 points in 3.1 s"], "4 points in 3.1 s\n", True, False),
        (["a"], "a\nb\n", True, False),
    ],
)
def test_the_comparison_can_fail(documents, shown, printed, exactly, same):
    assert documents.matches(shown, printed, exactly) == same


def test_a_data_set_and_a_model_of_ones_own_train_as_shown(tmp_path, monkeypatch: pytest.MonkeyPatch):
    for language in ("python", "yaml"):
        for block in blocks(language, DOCS / "your-own.md"):
            if header := re.match(r"# (my_\w+\.\w+)\n", block):
                (tmp_path / header[1]).write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    ran = CliRunner().invoke(app, ["run", "my_sweep.yaml", "--inline", "--set", "epochs=1"])
    assert ran.exit_code == 0, ran.output
    assert "trained 8 of 8 trainings" in ran.output
    status = CliRunner().invoke(app, ["status", "my_sweep.yaml", "--set", "epochs=1"])
    assert "8 of 8 points finished" in status.output
