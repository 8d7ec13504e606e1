"""The digest of a user's function changes with every file that it can reach, and with nothing else.

Most trees of modules are never run: their files are found in the source alone.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.hashing import hash_of_code
from lightning_modules.user_code import Code, CodeError, code_of, load

NAMES = ("zoo_a", "zoo_b", "zoo_p", "zoo_p.c", "zoo_p.d", "zoo_p.q", "zoo_p.q.e", "zoo_p.q.f")
PACKAGES = ("zoo_p", "zoo_p.q")
FORMS = ("import", "from parent", "from module", "relative", "in a function", "in a try", "importlib", "for types")


def parent(name: str) -> str:
    return name.rpartition(".")[0]


def leaf(name: str) -> str:
    return name.rpartition(".")[2]


@dataclass(frozen=True)
class Tree:
    """Modules with the imports of each as (form, module), and the number that each contains."""

    imports: dict[str, tuple[tuple[str, str], ...]]
    numbers: dict[str, int]
    empty: frozenset[str]
    """Packages whose `__init__` has no content, unless it imports something."""

    def text(self, name: str) -> str:
        lines = [line(form, name, target) for form, target in self.imports[name]]
        return "\n".join(lines if name in self.empty else [*lines, f"NUMBER = {self.numbers[name]}"]) + "\n"

    def write(self, folder: Path) -> None:
        for name in NAMES:
            path = folder.joinpath(*name.split("."))
            path = path / "__init__.py" if name in PACKAGES else path.with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text(name))

    def reached(self, start: str) -> set[str]:
        """Return the modules that Python would import, with packages that lie on the way."""
        found: set[str] = set()
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name and name not in found:
                found.add(name)
                waiting += [parent(name), *(target for form, target in self.imports[name] if form != "for types")]
        return found

    def edited(self, name: str) -> Tree:
        return replace(self, numbers={**self.numbers, name: self.numbers[name] + 1}, empty=self.empty - {name})


def line(form: str, source: str, target: str) -> str:
    plain = f"import {target}"
    package = source if source in PACKAGES else parent(source)
    match form:
        case "from parent" if parent(target):
            return f"from {parent(target)} import {leaf(target)} as it"
        case "from module":
            return f"from {target} import NUMBER"
        case "relative" if package and target.startswith(f"{package}."):
            below = target.removeprefix(f"{package}.")
            return f"from .{below} import NUMBER" if "." in below else f"from . import {below}"
        case "relative" if parent(package) and parent(target) == parent(package) and target != package:
            return f"from .. import {leaf(target)}"
        case "in a function":
            return f"def later():\n    class Inner:\n        {plain}"
        case "in a try":
            return f"try:\n    {plain}\nexcept ImportError:\n    pass"
        case "importlib":
            return f"import importlib\nimportlib.import_module({target!r})"
        case "for types":
            return f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {plain}"
    return plain


@st.composite
def trees(draw: Any) -> Tree:
    edge = st.tuples(st.sampled_from(FORMS), st.sampled_from(NAMES))
    return Tree(
        {name: tuple(draw(st.lists(edge, max_size=2))) for name in NAMES},
        {name: draw(st.integers(0, 9)) for name in NAMES},
        draw(st.frozensets(st.sampled_from(PACKAGES))),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path, whose modules are forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - before:
        del sys.modules[name]


def code_at(folder: Path, start: str) -> Code:
    """Return the code of a function that is defined in a module of a folder, without importing the module."""
    function = FunctionType((lambda: None).__code__, {"__name__": start})
    function.__module__ = start
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return code_of(function, start)
    finally:
        sys.path.remove(str(folder))


@given(trees(), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_an_edit_changes_the_digest_exactly_if_the_file_is_reached(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree, start: str, edited: str
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    tree = replace(tree, empty=tree.empty - {start})
    tree.write(folder)
    before = code_at(folder, start)
    tree.edited(edited).write(folder)
    after = code_at(folder, start)
    assert (before.digest != after.digest) == (edited in tree.reached(start))
    assert after.modules.keys() == {name for name in tree.reached(start) if tree.edited(edited).text(name).strip()}
    assert [name for name, file in after.modules.items() if file in after.differing(before.files)] == (
        [edited] if edited in tree.reached(start) else []
    )


@given(trees(), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_comments_and_layout_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree, start: str, edited: str
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    tree.write(folder)
    before = code_at(folder, start)
    path = folder.joinpath(*edited.split("."))
    path = path / "__init__.py" if edited in PACKAGES else path.with_suffix(".py")
    path.write_text(f"# a comment\n\n\n{path.read_text().replace(' = ', '  =   ')}# the end")
    assert code_at(folder, start) == before


def test_a_function_of_one_file_keeps_the_digest_that_it_had(folder: Path) -> None:
    (folder / "zoo_pack").mkdir()
    (folder / "zoo_pack" / "__init__.py").write_text('"""Only words."""\n')
    text = "import math\nimport numpy as np\n\ndef make():\n    return math.pi  # a number\n"
    for name, path in (("zoo_alone", "zoo_alone.py"), ("zoo_pack.net", "zoo_pack/net.py")):
        (folder / path).write_text(text)
        make = load(name).make
        assert code_of(make, name) == Code(hash_of_code(make), {path: hash_of_code(make)}, {name: path})
    assert hash_of_code(make) == "f17e8e2ad7ba05704f85"


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("partly", {"zoo_main.py", "zoo_made.py"}),
        ("nested", {"zoo_main.py", "zoo_made.py"}),
        ("decorated", {"zoo_main.py", "zoo_decorator.py", "zoo_made.py"}),
        ("hidden", {"zoo_main.py", "zoo_decorator.py"}),
        ("cached", {"zoo_main.py", "zoo_made.py"}),
        ("an_object", {"zoo_main.py", "zoo_made.py"}),
        ("bound", {"zoo_main.py", "zoo_made.py"}),
        ("Made", {"zoo_main.py", "zoo_made.py"}),
    ],
)
def test_what_wraps_a_function_and_what_is_wrapped_count(folder: Path, name: str, files: set[str]) -> None:
    (folder / "zoo_made.py").write_text(
        "class Made:\n    def __call__(self):\n        pass\n    def make(self):\n        pass\n\n"
        "def make(n=1):\n    pass\n"
    )
    (folder / "zoo_decorator.py").write_text(
        "import functools\ndef named(f):\n    @functools.wraps(f)\n    def inner(*a):\n        return f(*a)\n"
        "    return inner\ndef bare(f):\n    def inner(*a):\n        return f(*a)\n    return inner\n"
    )
    main = folder / "zoo_main.py"
    main.write_text(
        "import importlib, functools\nmade = importlib.import_module('zoo_' + 'made')\n"  # so that no import is seen
        "decorator = importlib.import_module('zoo_' + 'decorator')\n"
        "partly = functools.partial(made.make, 3)\nnested = functools.partial(partly)\n"
        "decorated = decorator.named(made.make)\nhidden = decorator.bare(lambda: made.make)\n"
        "cached = functools.cache(made.make)\nan_object, bound, Made = made.Made(), made.Made().make, made.Made\n"
    )
    module = load("zoo_main")
    found = code_of(getattr(module, name), "zoo_main")
    assert {*found.files} == files
    assert re.fullmatch("[0-9a-f]{20}", found.digest)


def test_the_arguments_of_a_partial_function_count() -> None:
    from functools import partial

    values: list[Any] = [(), (3,), (3.0,), ("3",), (len,), (max,), (int,), ({"a": [1, None]},), ({"a": [1, True]},)]
    assert len({code_of(partial(code_at, *arguments)).digest for arguments in values}) == len(values)
    assert code_of(partial(code_at, object())) == code_of(partial(code_at, object())), "no address is part of it"
    assert code_of(partial(code_at, 3)) == code_of(partial(code_at, 3)) != code_of(partial(code_at, x=3))


def test_a_star_takes_the_modules_that_a_package_exports(folder: Path) -> None:
    (folder / "zoo_stars").mkdir()
    (folder / "zoo_stars" / "__init__.py").write_text("__all__ = ['one', 'value']\nvalue = 3\n")
    for name in ("one", "two"):
        (folder / "zoo_stars" / f"{name}.py").write_text("NUMBER = 1\n")
    (folder / "zoo_star.py").write_text("from zoo_stars import *\n\ndef make():\n    pass\n")
    found = code_of(load("zoo_star").make, "zoo_star")
    assert {*found.files} == {"zoo_star.py", "zoo_stars/__init__.py", "zoo_stars/one.py"}


def test_a_file_that_is_no_python_counts_as_it_is(folder: Path) -> None:
    (folder / "zoo_broken.py").write_text("def (\n")
    (folder / "zoo_tries.py").write_text("try:\n    import zoo_broken\nexcept SyntaxError:\n    pass\nmake = dict\n")
    found = code_of(load("zoo_tries").make, "zoo_tries")
    assert {*found.files} == {"zoo_broken.py", "zoo_tries.py"}


def test_a_function_without_python_source_has_no_digest() -> None:
    assert code_of(len).digest == ""


def test_installed_packages_count_only_if_they_define_the_function() -> None:
    from torch import nn

    found = code_of(nn.Linear, "torch.nn")
    assert found.files == {"torch/nn/modules/linear.py": found.digest}
    assert found.digest == hash_of_code(nn.Linear)


def test_a_file_that_is_edited_after_its_import_is_refused(folder: Path) -> None:
    helper = folder / "zoo_helper.py"
    helper.write_text("NUMBER = 1\n")
    (folder / "zoo_uses.py").write_text("import zoo_helper\ndef make():\n    import zoo_late\n")
    (folder / "zoo_late.py").write_text("NUMBER = 1\n")
    make = load("zoo_uses").make
    code = code_of(make, "zoo_uses")
    helper.write_text("NUMBER = 1  # the same\n")
    assert code_of(make, "zoo_uses") == code
    helper.write_text("NUMBER = 2\n")
    with pytest.raises(CodeError, match=r"^zoo_helper\.py was edited after this process imported it; start a new proc"):
        code_of(make, "zoo_uses")
    code.verify_loaded()  # what was imported is what was hashed
    (folder / "zoo_late.py").write_text("NUMBER = 2\n")
    code.verify_loaded()
    make()
    with pytest.raises(CodeError, match=r"^zoo_late\.py was edited"):
        code.verify_loaded()


def test_a_file_that_is_edited_while_it_is_imported_is_refused(folder: Path) -> None:
    path = folder / "zoo_restless.py"
    path.write_text(
        "from pathlib import Path\nPath(__file__).write_text('def make(): return 2')\ndef make(): return 1\n"
    )
    make = load("zoo_restless").make
    assert make() == 1
    with pytest.raises(CodeError, match=r"^zoo_restless\.py was edited"):
        code_of(make, "zoo_restless")


def test_two_files_of_one_name_are_not_confused(folder: Path) -> None:
    for name in ("first", "second"):
        (folder / name).mkdir()
        (folder / name / "zoo_twice.py").write_text(f"def make():\n    return {name!r}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "first"))
        make = load("zoo_twice").make
        patch.syspath_prepend(str(folder / "second"))
        with pytest.raises(CodeError, match=r"'zoo_twice' is at .*second.*, but this process has imported .*first"):
            code_of(make, "zoo_twice")
