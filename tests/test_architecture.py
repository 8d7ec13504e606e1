"""Who may import whom: read from the source and seen in a process of its own, with proof that each check can fail."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sweeps", "lightning_modules", "analysis")

FORBIDDEN = {
    "lightning_modules": {"sweeps", "ray", "analysis", "memsweep"},
    "sweeps": {"analysis", "memsweep"},
    "analysis": {"torch", "pytorch_lightning", "ray", "memsweep"},
}
"""What no module of a package imports, not even inside a function."""

ONLY_IN = {
    "ray": (
        *(
            f"sweeps/execution/on_ray/{name}.py"
            for name in ("executor", "jobs", "judge_actor", "native", "resources", "schedulers", "trials")
        ),
    )
}
"""What these files alone of `sweeps` import."""

HEAVY = {"torch", "pytorch_lightning", "ray"}
"""What `sweeps` imports inside functions only."""


def modules(root: Path, package: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((root / package).rglob("*.py")):
        yield path.relative_to(root).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST, at_once: bool = False) -> set[str]:
    """Top-level names of what a module imports anywhere, or at once as it is imported; not for type checkers alone."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
        else:
            names |= imported(node, at_once)
    return names


def violations(root: Path) -> list[str]:
    found = []
    for package, forbidden in FORBIDDEN.items():
        for path, tree in modules(root, package):
            if path.startswith("sweeps/memsweep/"):  # the face, which is above all packages
                continue
            found += [f"{path} imports {name}" for name in sorted(imported(tree) & forbidden)]
    for path, tree in modules(root, "sweeps"):
        for name, only in ONLY_IN.items():
            if name in imported(tree) and path not in only:
                found.append(f"{path} imports {name}")
        found += [f"{path} imports {name} at once" for name in sorted(imported(tree, at_once=True) & HEAVY)]
    return found


def names_after(code: str, root: Path = ROOT) -> set[str]:
    """Top-level names in sys.modules of a fresh process that ran this code."""
    program = f"import json, sys\n{code}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    return set(json.loads(done.stdout.splitlines()[-1]))


def import_all(paths: list[str]) -> str:
    names = [path.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in paths]
    return "\n".join(f"import {name}" for name in names)


def test_no_module_imports_against_the_direction():
    assert violations(ROOT) == []


def test_every_package_is_installed():
    """An installation that is not editable has the packages that pyproject.toml lists, and no others."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    found = {name.removeprefix("sweeps.") if name.startswith("sweeps.memsweep") else name for name in found}
    assert listed == found | {"sweeps.spec.presets"}


def test_every_package_has_modules_to_check():
    counts = {package: len(list(modules(ROOT, package))) for package in PACKAGES}
    assert all(count > 5 for count in counts.values())
    assert all("ray" in imported(ast.parse((ROOT / path).read_text())) for path in ONLY_IN["ray"])


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("analysis/a.py", "import torch.nn", "analysis/a.py imports torch"),
        ("sweeps/a.py", "def f():\n    import analysis.claims", "sweeps/a.py imports analysis"),
        ("sweeps/memsweep/a.py", "import analysis.claims", None),
        ("analysis/a.py", "def f():\n    from memsweep import cli", "analysis/a.py imports memsweep"),
        ("lightning_modules/data/a.py", "if True:\n    import ray", "lightning_modules/data/a.py imports ray"),
        ("lightning_modules/a.py", "class A:\n    import sweeps as s", "lightning_modules/a.py imports sweeps"),
        ("sweeps/a.py", "def f():\n    import ray.tune", "sweeps/a.py imports ray"),
        ("sweeps/a.py", "try:\n    import torch\nexcept ImportError: pass", "sweeps/a.py imports torch at once"),
        ("sweeps/a.py", "class A:\n    import torch", "sweeps/a.py imports torch at once"),
        ("sweeps/a.py", "def f():\n    import torch", None),
        ("sweeps/a.py", "class A:\n    def f(self):\n        import torch", None),
        ("sweeps/execution/on_ray/executor.py", "def f():\n    import ray", None),
        (
            "sweeps/execution/on_ray/executor.py",
            "import ray",
            "sweeps/execution/on_ray/executor.py imports ray at once",
        ),
        ("sweeps/execution/worker.py", "def f():\n    import ray", "sweeps/execution/worker.py imports ray"),
        ("sweeps/a.py", "from . import ray, torch", None),
        ("lightning_modules/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray", None),
    ],
)
def test_the_check_of_the_source_can_fail(tmp_path, path, text, said):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    assert violations(tmp_path) == ([said] if said else [])


def test_sweeps_starts_without_torch_and_ray():
    paths = [path for path, _ in modules(ROOT, "sweeps") if not path.startswith("sweeps/memsweep")]
    names = names_after(import_all(paths))
    assert "sweeps" in names
    assert not names & HEAVY


def test_lightning_modules_runs_without_sweeps_and_ray():
    names = names_after(import_all([path for path, _ in modules(ROOT, "lightning_modules")]))
    assert "torch" in names
    assert not names & {"sweeps", "ray", "analysis"}


def test_analysis_runs_without_torch_ray_and_the_other_packages():
    names = names_after(import_all([path for path, _ in modules(ROOT, "analysis")]))
    assert "pandas" in names
    assert not names & FORBIDDEN["analysis"]


def test_the_check_of_a_process_can_fail(tmp_path):
    (tmp_path / "sly.py").write_text("__import__('to' + 'rch')")
    (tmp_path / "torch.py").write_text("")
    assert "torch" in names_after("import sly", tmp_path)
    assert "torch" not in names_after("", tmp_path)


def test_importing_the_packages_writes_nothing_and_says_nothing(tmp_path):
    code = "import sweeps, memsweep.cli, sweeps.execution, lightning_modules, lightning_modules.data, analysis"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []
