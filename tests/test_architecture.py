"""Check which rooms each room imports, in the source and in fresh processes. Tests also prove that each check can
fail."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"lightning_modules": "lightning_modules", "sweeps": "sweeps", "analysis": "analysis"}
FACE = "memsweep"
RAY = "sweeps.execution.on_ray"

ROOMS: Mapping[str, Sequence[str]] = {
    # The science of training.
    "lightning_modules": (),
    "lightning_modules.errors": (),
    "lightning_modules.streams": (),
    "lightning_modules.draws": ("lightning_modules.streams",),
    "lightning_modules.hashing": (),
    "lightning_modules.user_files": ("lightning_modules.hashing",),
    "lightning_modules.user_code": ("lightning_modules.hashing", "lightning_modules.user_files"),
    "lightning_modules.default_type": ("lightning_modules.user_code",),
    "lightning_modules.user_call": ("lightning_modules.user_code", "lightning_modules.default_type"),
    "lightning_modules.whole_files": (),
    "lightning_modules.machine_limits": (),
    "lightning_modules.shown_text": (),
    "lightning_modules.cache": ("lightning_modules.whole_files",),
    "lightning_modules.lightning": (),
    "lightning_modules.settings": ("lightning_modules.errors",),
    "lightning_modules.schedules": ("lightning_modules.settings",),
    "lightning_modules.data": (
        "lightning_modules.cache",
        "lightning_modules.hashing",
        "lightning_modules.user_code",
        "lightning_modules.user_call",
        "lightning_modules.lightning",
        "lightning_modules.machine_limits",
        "lightning_modules.errors",
        "lightning_modules.draws",
        "lightning_modules.streams",
        "lightning_modules.settings",
    ),
    "lightning_modules.models": (
        "lightning_modules.user_code",
        "lightning_modules.user_call",
        "lightning_modules.errors",
        "lightning_modules.streams",
        "lightning_modules.settings",
    ),
    "lightning_modules.measures": (
        "lightning_modules.errors",
        "lightning_modules.streams",
        "lightning_modules.settings",
        "lightning_modules.schedules",
        "lightning_modules.data",
        "lightning_modules.models",
    ),
    "lightning_modules.training": (
        "lightning_modules",
        "lightning_modules.user_code",
        "lightning_modules.user_call",
        "lightning_modules.cache",
        "lightning_modules.hashing",
        "lightning_modules.lightning",
        "lightning_modules.errors",
        "lightning_modules.draws",
        "lightning_modules.streams",
        "lightning_modules.settings",
        "lightning_modules.schedules",
        "lightning_modules.data",
        "lightning_modules.models",
        "lightning_modules.measures",
    ),
    # Orchestration.
    "sweeps": (),
    "sweeps.errors": ("lightning_modules.errors",),
    "sweeps.plugins": ("lightning_modules.errors", "sweeps.errors"),
    "sweeps.spec": (
        "lightning_modules.hashing",
        "lightning_modules.errors",
        "lightning_modules.settings",
        "lightning_modules.data",
        "lightning_modules.models",
        "lightning_modules.measures",
        "sweeps.errors",
    ),
    "sweeps.store": (
        "lightning_modules.machine_limits",
        "lightning_modules.hashing",
        "lightning_modules.data",
        "lightning_modules.errors",
        "lightning_modules.whole_files",
        "lightning_modules.settings",
        "lightning_modules.measures",
        "lightning_modules.training",
        "sweeps.errors",
        "sweeps.spec",
    ),
    "sweeps.planning": (
        "lightning_modules.cache",
        "lightning_modules.hashing",
        "lightning_modules.machine_limits",
        "lightning_modules.errors",
        "lightning_modules.settings",
        "lightning_modules.data",
        "lightning_modules.models",
        "lightning_modules.measures",
        "lightning_modules.training",
        "sweeps.errors",
        "sweeps.spec",
        "sweeps.store",
    ),
    "sweeps.stopping": ("sweeps.errors", "sweeps.spec", "sweeps.store", "sweeps.planning"),
    "sweeps.execution": (
        "lightning_modules.machine_limits",
        "lightning_modules.errors",
        "lightning_modules.settings",
        "lightning_modules.data",
        "lightning_modules.models",
        "lightning_modules.measures",
        "lightning_modules.training",
        "sweeps.errors",
        "sweeps.spec",
        "sweeps.store",
        "sweeps.planning",
        "sweeps.stopping",
    ),
    "sweeps.execution.on_ray": (
        "sweeps.plugins",
        "lightning_modules",
        "lightning_modules.machine_limits",
        "lightning_modules.errors",
        "lightning_modules.data",
        "lightning_modules.measures",
        "lightning_modules.training",
        "sweeps.errors",
        "sweeps.spec",
        "sweeps.store",
        "sweeps.planning",
        "sweeps.stopping",
        "sweeps.execution",
    ),
    "sweeps.replay": (
        "lightning_modules.machine_limits",
        "lightning_modules.errors",
        "lightning_modules.measures",
        "sweeps.errors",
        "sweeps.spec",
        "sweeps.store",
        "sweeps.planning",
        "sweeps.stopping",
        "sweeps.execution.on_ray",
    ),
    # The analysis of stored results.
    "analysis": (),
    "analysis.errors": ("lightning_modules.errors",),
    "analysis.words": (
        "lightning_modules.shown_text",
        "lightning_modules.errors",
        "lightning_modules.settings",
        "lightning_modules.measures",
        "sweeps.spec",
    ),
    "analysis.intervals": (),
    "analysis.tables": (
        "lightning_modules.errors",
        "lightning_modules.settings",
        "lightning_modules.data",
        "lightning_modules.measures",
        "sweeps.errors",
        "sweeps.spec",
        "sweeps.store",
        "sweeps.planning",
        "analysis.errors",
        "analysis.words",
        "analysis.intervals",
    ),
    "analysis.statistics": (
        "lightning_modules.data",
        "sweeps.spec",
        "analysis.errors",
        "analysis.words",
        "analysis.intervals",
        "analysis.tables",
    ),
    "analysis.figures": (
        "lightning_modules.whole_files",
        "lightning_modules.errors",
        "lightning_modules.settings",
        "sweeps.errors",
        "sweeps.spec",
        "analysis.errors",
        "analysis.words",
        "analysis.intervals",
        "analysis.tables",
        "analysis.statistics",
    ),
    "analysis.claims": (
        "lightning_modules.errors",
        "sweeps.errors",
        "sweeps.spec",
        "sweeps.store",
        "sweeps.planning",
        "analysis.errors",
        "analysis.words",
        "analysis.intervals",
        "analysis.tables",
        "analysis.statistics",
        "analysis.figures",
    ),
    "analysis.report": (
        "lightning_modules.shown_text",
        "lightning_modules.whole_files",
        "lightning_modules.errors",
        "lightning_modules.data",
        "sweeps.errors",
        "sweeps.spec",
        "sweeps.store",
        "sweeps.planning",
        "analysis.errors",
        "analysis.words",
        "analysis.intervals",
        "analysis.tables",
        "analysis.statistics",
        "analysis.figures",
        "analysis.claims",
    ),
    "analysis.stopping": (
        "lightning_modules.machine_limits",
        "lightning_modules.errors",
        "lightning_modules.settings",
        "lightning_modules.measures",
        "sweeps.errors",
        "sweeps.spec",
        "sweeps.store",
        "sweeps.planning",
        "sweeps.replay",
        "analysis.errors",
        "analysis.words",
        "analysis.intervals",
        "analysis.tables",
        "analysis.statistics",
        "analysis.figures",
        "analysis.report",
    ),
}
"""Room -> the rooms that its modules may import. Rooms are in the order in which data pass through them, and a room may
import only earlier rooms. A room is a folder of a package, or a module beside the folders. The face, `memsweep`, may
import every room, and no room may import the face."""

OUTSIDE = {
    "lightning_modules": {"ray", FACE},
    "sweeps": {FACE},
    "analysis": {"torch", "pytorch_lightning", "ray", FACE},
}
"""Package of this project -> packages that its modules must not import, not even inside a function."""

HEAVY = {"torch", "pytorch_lightning", "ray"}
"""Packages that the face and `sweeps` (except `sweeps.execution.on_ray`) may import only inside functions."""


@functools.cache
def modules(root: Path) -> dict[str, ast.Module]:
    """Return every module of this project by its dotted name."""
    sources = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            parts = parts[1:] if parts[:2] == ("sweeps", FACE) else parts
            sources[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return sources


def room_of(module: str) -> str:
    """Return the most specific room that contains a module, or `memsweep` for a module of the face."""
    parts = module.split(".")
    if parts[0] == FACE:
        return FACE
    candidates = [".".join(parts[:3]), ".".join(parts[:2])]
    return next((name for name in candidates if name in ROOMS), candidates[-1])


def imported(tree: ast.AST, at_once: bool = False) -> set[str]:
    """Return the dotted names that a module imports, including imports inside functions and for type checkers, or with
    `at_once` only the names that it imports when it is imported itself."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if at_once and isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        else:
            names |= imported(node, at_once)
    return names


def arrows(sources: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Map each module to the modules of this project that it imports. A name of a package counts as the package."""
    graph = {}
    for module, tree in sources.items():
        names = imported(tree) & set(sources)
        submodules = {name.rpartition(".")[0] for name in names}
        graph[module] = {name for name in names - {module} if name not in submodules or _takes(tree, name, sources)}
    return graph


def _takes(tree: ast.Module, package: str, sources: Mapping[str, ast.Module]) -> bool:
    """Return whether a module imports a name from a package other than the package's modules."""
    return any(
        f"{package}.{alias.name}" not in sources
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == package
        for alias in node.names
    )


def violations(root: Path) -> list[str]:
    sources = modules(root)
    problems = []
    for module, targets in arrows(sources).items():
        room = room_of(module)
        if room != FACE and room not in ROOMS:
            problems.append(f"{module} lies in no room of the table")
            continue
        for target in sorted(targets):
            if room != FACE and room_of(target) != room and room_of(target) not in ROOMS[room]:
                problems.append(f"{module} imports {target}")
    for module, tree in sources.items():
        package, every = module.partition(".")[0], {name.partition(".")[0] for name in imported(tree)}
        problems += [f"{module} imports {name}" for name in sorted(every & OUTSIDE.get(package, set()) - {FACE})]
        if room_of(module) == RAY:
            inside = {name.partition(".")[0] for name in imported(tree)} & {"ray"}
            problems += [f"{module} imports ray inside a function" for _ in inside if not _ray_at_top(tree)]
        elif "ray" in every and package == "sweeps":
            problems.append(f"{module} imports ray")
        if package in ("sweeps", FACE) and room_of(module) != RAY:
            at_once = {name.partition(".")[0] for name in imported(tree, at_once=True)}
            problems += [f"{module} imports {name} at once" for name in sorted(at_once & HEAVY)]
    return problems


def _ray_at_top(tree: ast.Module) -> bool:
    """Return whether a module imports ray only at its top, never inside a function."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return not any(name.partition(".")[0] == "ray" for node in functions for name in imported(node))


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return each group of modules that import each other, directly or through other modules."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in graph[module]:
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(component) > 1:
                components.append(sorted(component))

    for module in graph:
        if module not in index:
            visit(module)
    return components


def names_after(*steps: str, folder: Path) -> list[set[str]]:
    """Run the steps in a fresh process in a folder, and return the top-level names in sys.modules after each step."""
    note = "\nnames.append(sorted({name.partition('.')[0] for name in sys.modules}))\n"
    program = f"import json, sys\nnames = []\n{note.join(steps)}{note}print(json.dumps(names))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stderr == "", "importing says something"
    return [set(names) for names in json.loads(done.stdout)]


def import_all(names: Sequence[str]) -> str:
    return "\n".join(f"import {name}" for name in names)


def names_of(package: str) -> list[str]:
    return [name for name in modules(ROOT) if name.partition(".")[0] == package]


def test_every_import_runs_the_way_the_data_run():
    assert violations(ROOT) == []


def test_no_modules_import_each_other():
    assert circles(arrows(modules(ROOT))) == []


def test_the_table_is_in_the_order_of_the_data():
    rooms = list(ROOMS)
    for room, allowed in ROOMS.items():
        assert all(rooms.index(name) < rooms.index(room) for name in allowed), room
        assert len(set(allowed)) == len(allowed)


def test_every_room_of_the_table_exists_and_every_module_lies_in_one():
    sources = modules(ROOT)
    assert {room_of(module) for module in sources} == {*ROOMS, FACE}
    assert len(sources) > 150


def test_every_package_is_installed():
    """A non-editable installation contains only the packages that pyproject.toml lists."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    expected = {folder.as_posix().replace("/", ".").replace("sweeps.memsweep", FACE) for folder in folders}
    assert listed == expected | {"sweeps.spec.presets"}


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("analysis/tables/a.py", "import torch.nn", "analysis.tables.a imports torch"),
        ("analysis/tables/a.py", "def f():\n    import sweeps.replay.b", "analysis.tables.a imports sweeps.replay.b"),
        ("analysis/tables/a.py", "from sweeps.replay import b", "analysis.tables.a imports sweeps.replay.b"),
        ("analysis/tables/a.py", "from sweeps.replay.b import c", "analysis.tables.a imports sweeps.replay.b"),
        ("sweeps/store/a.py", "from sweeps.replay import B", "sweeps.store.a imports sweeps.replay"),
        ("sweeps/store/a.py", "import analysis.tables", "sweeps.store.a imports analysis.tables"),
        (
            "sweeps/spec/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sweeps.replay.b import c",
            "sweeps.spec.a imports sweeps.replay.b",
        ),
        ("lightning_modules/data/a.py", "if True:\n    import ray", "lightning_modules.data.a imports ray"),
        ("lightning_modules/a.py", "", "lightning_modules.a lies in no room of the table"),
        ("sweeps/store/a.py", "import memsweep", "sweeps.store.a imports memsweep"),
        ("sweeps/execution/a.py", "def f():\n    import ray.tune", "sweeps.execution.a imports ray"),
        ("sweeps/execution/a.py", "def f():\n    import torch", None),
        (
            "sweeps/execution/on_ray/a.py",
            "def f():\n    import ray",
            "sweeps.execution.on_ray.a imports ray inside a function",
        ),
        ("sweeps/execution/on_ray/a.py", "import ray", None),
        ("sweeps/spec/a.py", "try:\n    import torch\nexcept ImportError: pass", "sweeps.spec.a imports torch at once"),
        ("sweeps/spec/a.py", "class A:\n    import torch", "sweeps.spec.a imports torch at once"),
        ("sweeps/spec/a.py", "class A:\n    def f(self):\n        import torch", None),
        ("sweeps/memsweep/a.py", "import torch", "memsweep.a imports torch at once"),
        ("sweeps/memsweep/a.py", "def f():\n    from sweeps.replay import b", None),
        ("sweeps/spec/a.py", "from . import ray, torch", None),
    ],
)
def test_the_check_of_the_source_can_fail(tmp_path, path, text, said):
    for name in ("sweeps/replay/__init__.py", "sweeps/replay/b.py", "analysis/tables/__init__.py", path):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "sweeps" / FACE).mkdir(exist_ok=True)
    (tmp_path / "sweeps" / FACE / "__init__.py").write_text("")
    (tmp_path / path).write_text(text)
    assert violations(tmp_path) == ([said] if said else [])


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, [["b", "c"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
    ],
)
def test_the_check_for_circles_can_fail(imports, expected):
    assert circles(imports) == expected


def test_analysis_and_then_sweeps_and_the_face_start_without_torch_and_ray(tmp_path):
    light = [
        name for name in names_of("sweeps") + names_of(FACE) if room_of(name) != RAY and name != f"{FACE}.__main__"
    ]
    analysis, both = names_after(import_all(names_of("analysis")), import_all(light), folder=tmp_path)
    assert "pandas" in analysis
    assert not analysis & OUTSIDE["analysis"]
    assert {"sweeps", FACE} <= both
    assert not both & HEAVY
    assert list(tmp_path.iterdir()) == [], "importing writes something"


LIBRARIES = {"torch", "pyarrow", "sklearn", "scipy", "mnist1d", "datasets", "PIL", "ray", "pandas", "sweeps"}
STEPS: Mapping[str, set[str]] = {
    "from lightning_modules.measures import catalogue": set(),
    "from lightning_modules.data import sources, corruption, applicability\n"
    "for name in sources.BUILT_IN: sources.facts(name)": set(),
    "from lightning_modules.models import FAMILIES, build, resolve\n"
    "for name in FAMILIES: resolve(name, (1, 8, 8), 10)": set(),
    "build('linear', (40,), 10)": {"torch"},
    "import lightning_modules.data.augmentation": {"torch"},
}
"""Code -> the libraries that are loaded after it. One process runs all steps in order; planning loads no library."""


def test_lightning_modules_loads_a_library_when_it_is_needed_and_never_sweeps_or_ray(tmp_path):
    *steps, names = names_after(*STEPS, import_all(names_of("lightning_modules")), folder=tmp_path)
    assert [step & LIBRARIES for step in steps] == list(STEPS.values())
    assert "torch" in names
    assert not names & {"sweeps", "ray", "analysis"}
    assert list(tmp_path.iterdir()) == [], "importing writes something"


def test_the_check_of_a_process_can_fail(tmp_path):
    (tmp_path / "sly.py").write_text("__import__('to' + 'rch')")
    (tmp_path / "torch.py").write_text("")
    before, after = names_after("", "import sly", folder=tmp_path)
    assert "torch" not in before
    assert "torch" in after
    (tmp_path / "loud.py").write_text("import sys; print('Hello', file=sys.stderr)")
    with pytest.raises(AssertionError, match="says something"):
        names_after("import loud", folder=tmp_path)
