"""The console script notices a package of the same name that is not memsweep's before it imports it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from memsweep import guard

SCRIPT = Path(sysconfig.get_path("scripts")) / "memsweep"


def memsweep_with(path: Path, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run([str(SCRIPT), *args], capture_output=True, text=True, env=environment, cwd=cwd or path)


@pytest.mark.parametrize("package", ["sweeps", "analysis", "lightning_modules"])
@pytest.mark.parametrize("name", ["{}/__init__.py", "{}.py"])
def test_another_package_first_on_the_path_is_named_and_not_run(tmp_path, package, name):
    file = tmp_path / name.format(package)
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise SystemExit('the foreign package ran')")
    place = file if file.parent == tmp_path else file.parent
    done = memsweep_with(tmp_path, "list")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: package '{package}' is found at {place}, which is not memsweep's. ")
    assert len(done.stderr.splitlines()) == 1


def test_a_bare_folder_is_named_where_python_would_take_it(tmp_path):
    """Such a folder comes after an installed package, but before an editable install through an import hook."""
    (tmp_path / "analysis").mkdir()
    code = "import analysis; print(analysis.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    taken = child.stdout.strip() == "None"
    done = memsweep_with(tmp_path, "list")
    assert (done.returncode, f"found at {tmp_path / 'analysis'}" in done.stderr) == ((2, True) if taken else (0, False))


def test_several_are_named_in_one_message(tmp_path):
    for package in ("sweeps", "analysis"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    done = memsweep_with(tmp_path, "plan", "quickstart")
    assert done.returncode == 2
    assert f"package 'sweeps' is found at {tmp_path / 'sweeps'}" in done.stderr
    assert f"package 'analysis' is found at {tmp_path / 'analysis'}" in done.stderr
    assert "lightning_modules" not in done.stderr


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(guard.PACKAGES, "surely_not_installed", "cli")
    assert guard.foreign_packages() == ["package 'surely_not_installed' is found at nowhere, which is not memsweep's"]


def test_its_own_packages_are_known():
    assert guard.foreign_packages() == []
    for package, room in guard.PACKAGES.items():
        assert (Path(__file__).parents[2] / package / room).is_dir()


def test_the_script_runs_from_anywhere_and_a_folder_of_that_name_where_the_user_works_shadows_nothing(tmp_path):
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("raise SystemExit('ran')")
    (tmp_path / "path").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = memsweep_with(tmp_path / "path", "list", cwd=tmp_path)
    assert done.returncode == 0
    assert "quickstart" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_it_is_a_module_to_run(tmp_path):
    done = subprocess.run([sys.executable, "-m", "memsweep", "list"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert "quickstart" in done.stdout
