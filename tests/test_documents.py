"""README and docs say what is so: tables are those of the code, examples run, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from memsweep.cli import app
from typer.testing import CliRunner

from sweeps.spec.sweep_file import parse_sweep

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXT = "".join(path.read_text() for path in (ROOT / "README.md", ROOT / "docs" / "your-own.md"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(
    ("document", "written"),
    [
        ("docs/claims.md", "Dropout holds"),
        ("docs/fields.md", "| `dropout` |"),
        ("docs/columns.md", "`stopped`"),
        ("docs/measures.md", "| `never_learned` |"),
        ("docs/early-stopping.md", "| `kept_best` |"),
        ("docs/presets.md", "## quickstart"),
    ],
)
def test_generated_tables_are_those_of_the_code(document, written):
    spec = importlib.util.spec_from_file_location("documents", Path(__file__).parent / "documents.py")
    assert spec
    assert spec.loader
    documents = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(documents)
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
    assert len(text.splitlines()) <= 170
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert [page for page in pages if f"docs/{page}" not in text] == []


def test_the_sweep_file_is_valid():
    (example,) = [block for block in blocks("yaml") if "my-sweep" in block]
    sweep = parse_sweep(example, "README.md")
    assert len(sweep.points()) == 5 * 2 * 3
    assert sweep.figures


def test_every_command_exists_with_its_options():
    lines = re.sub(r"\\\n\s*", "", "".join(blocks("console"))).splitlines()
    commands = [line.split("#")[0].split()[2:] for line in lines if line.startswith("$ memsweep")]
    assert len(commands) >= 7
    for name, *arguments in commands:
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        assert "Usage" in shown
        for option in (word for word in arguments if word.startswith("--")):
            assert option in shown, (name, option)


def test_a_data_set_and_a_model_of_ones_own_train_as_shown(tmp_path, monkeypatch: pytest.MonkeyPatch):
    for language in ("python", "yaml"):
        for block in blocks(language):
            if header := re.match(r"# (my_\w+\.\w+)\n", block):
                (tmp_path / header[1]).write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    ran = CliRunner().invoke(app, ["run", "my_sweep.yaml", "--inline"])
    assert ran.exit_code == 0, ran.output
    assert "trained 8 of 8 trainings" in ran.output
    status = CliRunner().invoke(app, ["status", "my_sweep.yaml"])
    assert "8 of 8 points finished" in status.output
