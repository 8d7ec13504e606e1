"""Which code the text of a sweep may run, and what that code cannot do to the program."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import memsweep as ms
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from memsweep import cli

from lightning_modules.training.checkpoint import decode
from sweeps.errors import SweepError

NETWORK = """
from torch import nn
def make(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], width), nn.Linear(width, classes))
"""
DATA = """
import numpy as np
def make():
    x = np.arange(80.0).reshape(40, 2)
    return x, np.arange(40) % 2, x, np.arange(40) % 2
"""
MAIN = "from memsweep.guard import main; main()"


def sweep_of(field: str, path: str, name: str = "s") -> str:
    other = "" if field == "data" else "data: digits, "
    return f"name: {name}\nfixed: {{{other}{field}: '{path}', epochs: 1}}\ngrid: {{seed: [0, 1]}}\n"


@pytest.mark.parametrize("field", ["data", "model"])
@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("os:abort", "belongs to Python"), ("builtins:input", "belongs to Python"), ("sys:exit", "belongs to Python"),
        ("os.path:join", "belongs to Python"), ("pty:spawn", "belongs to Python"), ("runpy:x", "belongs to Python"),
        ("pytest:exit", "is /"), ("numpy:array", "is /"), ("torch.nn:Linear", "is /"), ("pandas.no.such:f", "is /"),
        ("memsweep.running:compact", "is memsweep's"), ("memsweep.cli:main", "is memsweep's"),
        ("sweeps.plugins:import_module", "is memsweep's"), ("__main__:main", "is "),
    ],
)  # fmt: skip
def test_code_that_is_not_the_users_own_is_refused_before_it_is_imported(memsweep, tmp_path, field, path, where):
    (tmp_path / "s.yaml").write_text(sweep_of(field, path))
    for command in ("plan", "status"):
        said = memsweep(command, "s.yaml")
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"error: s.yaml: fixed.{field}: given {path!r}, whose module {where}")
        assert said.err.endswith(f"; --trust-module {path.partition(':')[0].partition('.')[0]} allows the sweep to run "
                                 "this code too\n")  # fmt: skip
        assert len(said.err.splitlines()) == 1


@given(st.sampled_from(sorted(sys.stdlib_module_names)), st.sampled_from(["", ".path", ".x"]), st.booleans())
def test_no_module_of_python_is_a_model(tmp_path_factory, module, inner, as_axis):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    path = f"'{module}{inner}:main'"
    block = f"grid: {{model: [mlp, {path}]}}" if as_axis else f"fixed: {{model: {path}}}"
    (folder / "any.yaml").write_text(f"name: s\n{block}\n")
    with pytest.raises(SweepError, match="belongs to Python"):
        ms.load_sweep(folder / "any.yaml")


def test_files_beside_the_sweep_and_in_the_working_folder_need_no_trust(memsweep, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    (there / "beside_the_sweep.py").write_text(DATA)
    (tmp_path / "in_working_folder.py").write_text(DATA)
    (tmp_path / "in_a_package").mkdir()
    (tmp_path / "in_a_package" / "inner.py").write_text(DATA)
    for module in ("beside_the_sweep", "in_working_folder", "in_a_package.inner"):
        (there / "s.yaml").write_text(sweep_of("data", f"{module}:make"))
        assert memsweep("plan", "there/s.yaml").out.startswith("s: 2 points, 0 done"), module


def test_a_module_elsewhere_needs_trust_and_suggested_commands_keep_it(
    memsweep, tmp_path, tmp_path_factory, monkeypatch
):
    elsewhere = tmp_path_factory.mktemp("lib")
    (elsewhere / "kept_elsewhere.py").write_text(DATA)
    monkeypatch.syspath_prepend(elsewhere)
    (tmp_path / "s.yaml").write_text(sweep_of("data", "kept_elsewhere:make"))
    (tmp_path / "results" / "parts").mkdir(parents=True)
    refused = memsweep("status", "s.yaml")
    assert refused.code == 2
    assert (
        f"whose module is {elsewhere}/kept_elsewhere.py; valid: a module in the folder of the sweep file" in refused.err
    )
    assert "kept_elsewhere" not in sys.modules
    trusted = memsweep("status", "s.yaml", "--trust-module", "kept_elsewhere", "--trust-module", "not_needed")
    assert trusted.out.endswith("to train the missing ones: memsweep run s.yaml --trust-module kept_elsewhere\n")
    monkeypatch.setenv("MEMSWEEP_TRUSTED_MODULES", "other, kept_elsewhere")
    assert memsweep("status", "s.yaml").out == trusted.out


def test_trust_in_a_module_is_not_trust_in_its_namesakes(memsweep, tmp_path):
    (tmp_path / "s.yaml").write_text(sweep_of("model", "os:abort"))
    assert memsweep("plan", "s.yaml", "--trust-module", "o").code == 2
    assert memsweep("plan", "s.yaml", "--trust-module", "os.path").code == 2


def test_set_is_checked_too_and_python_is_not(memsweep, tmp_path):
    said = memsweep("plan", "small.yaml", "--set", "model=os:abort")
    assert said.code == 2
    assert "fixed.model: given 'os:abort', whose module belongs to Python" in said.err
    assert ms.Sweep("s", fixed={"data": "digits", "model": "os:abort"}).fixed["model"] == "os:abort"


def test_an_installed_folder_inside_the_working_folder_is_not_the_users_own(memsweep, tmp_path, monkeypatch):
    packages = tmp_path / ".venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "installed_here.py").write_text(DATA)
    monkeypatch.syspath_prepend(packages)
    (tmp_path / "s.yaml").write_text(sweep_of("data", "installed_here:make"))
    assert memsweep("plan", "s.yaml").code == 2


ENDINGS = {
    "sys.exit(0)": "it ends the program with sys.exit(0); valid: code that returns or raises an error",
    "os._exit(0)": "it ends the program with os._exit(0); valid: code that returns or raises an error",
    "os.abort()": "it ends the program with os.abort(); valid: code that returns or raises an error",
    "input()": "it reads standard input, which memsweep keeps closed; valid: code that asks nothing",
    "sys.stdin.read()": "it reads standard input, which memsweep keeps closed; valid: code that asks nothing",
}


@pytest.mark.parametrize("call", ENDINGS)
@pytest.mark.parametrize(
    ("field", "where"),
    [
        ("data", "call"),
        pytest.param("data", "import", marks=pytest.mark.slow),
        pytest.param("model", "call", marks=pytest.mark.slow),
        ("model", "import"),
    ],
)
def test_code_that_ends_the_program_or_reads_the_terminal_is_one_sentence(memsweep, tmp_path, call, where, field):
    module = f"ends_{abs(hash((call, where, field)))}"
    body = f"import os, sys\n{call}\n" if where == "import" else f"import os, sys\ndef make():\n    {call}\n"
    (tmp_path / f"{module}.py").write_text(body)
    (tmp_path / "s.yaml").write_text(sweep_of(field, f"{module}:make"))
    said = memsweep("plan", "s.yaml")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: s.yaml: {field}: ")
    assert said.err.endswith(f"{ENDINGS[call]}\n")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("sys.exit(0)", "at once"),
        pytest.param("os._exit(0)", "in training mode alone, with real numbers", marks=pytest.mark.slow),
        *(pytest.param(call, "at once", marks=pytest.mark.slow) for call in list(ENDINGS)[1:]),
    ],
)
def test_a_forward_pass_that_ends_the_program_is_one_sentence_too(memsweep, tmp_path, call, when):
    """The size of a network is measured without numbers, and then it is inspected with them."""
    condition = "True" if when == "at once" else "self.training and x.device.type == 'cpu'"
    module = f"forward_ends_{abs(hash((call, when)))}"
    (tmp_path / f"{module}.py").write_text(
        "import os, sys\nfrom torch import nn\nclass Network(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.layer = nn.Linear(64, 10)\n    def forward(self, x):\n"
        f"        if {condition}:\n            {call}\n        return self.layer(x.flatten(1))\n"
        "def make():\n    return Network()\n"
    )
    (tmp_path / "s.yaml").write_text(sweep_of("model", f"{module}:make"))
    said = memsweep("plan", "s.yaml")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: s.yaml: model: {module}:make")
    assert ENDINGS[call] in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("end", ["", pytest.param("\n    os._exit(7)", marks=pytest.mark.slow)])
def test_a_child_of_the_users_code_does_not_go_on_as_a_second_memsweep(tmp_path, end):
    """Without an end of its own, the child of `fork` would return into the plan, and print it a second time."""
    fork = f"    if os.fork() == 0:\n        pass{end.replace('    ', '        ')}\n    else:\n        os.wait()\n"
    (tmp_path / "forks.py").write_text(DATA.replace("def make():\n", f"import os\ndef make():\n{fork}"))
    (tmp_path / "s.yaml").write_text(sweep_of("data", "forks:make"))
    done = subprocess.run([sys.executable, "-c", MAIN, "plan", "s.yaml"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("2 points, 0 done") == 1


def test_a_pool_of_processes_in_the_users_code_works(memsweep, tmp_path):
    pool = "    import multiprocessing\n    with multiprocessing.get_context('fork').Pool(1) as pool:\n"
    pool += "        assert pool.map(abs, [-1]) == [1]\n"
    (tmp_path / "pools_data.py").write_text(DATA.replace("def make():\n", f"def make():\n{pool}"))
    (tmp_path / "s.yaml").write_text(sweep_of("data", "pools_data:make"))
    assert memsweep("plan", "s.yaml").code == 0


class Hostile:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_with_code_runs_nothing(tmp_path):
    import torch

    content = io.BytesIO()
    torch.save({"version": Hostile(tmp_path / "from_torch")}, content)
    for hostile in (content.getvalue(), pickle.dumps(Hostile(tmp_path / "from_pickle"))):
        assert decode(hostile) is None
    assert [*tmp_path.iterdir()] == []
    pickle.loads(pickle.dumps(Hostile(tmp_path / "made")))
    assert (tmp_path / "made").is_dir(), "the pickle would have done something"


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir [made]", "!!python/name:os.mkdir", "!include made"])
def test_a_tag_makes_no_object(memsweep, tmp_path, tag):
    (tmp_path / "s.yaml").write_text(f"name: s\nquestion: {tag}\n")
    for words in (("plan", "s.yaml"), ("plan", "small.yaml", "--set", f"data={tag}")):
        said = memsweep(*words)
        assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert not (tmp_path / "made").exists()


def test_every_command_on_a_sweep_takes_the_option():
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    named = {name: {each.name for each in command.params} for name, command in commands.items()}
    assert {name for name, options in named.items() if "trust" in options} == {
        name for name, options in named.items() if "sweep" in options
    }


def test_the_names_that_documents_give_are_the_names_of_the_program():
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    assert "--trust-module" in text
    assert "MEMSWEEP_TRUSTED_MODULES" in text
