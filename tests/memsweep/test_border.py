"""The last border of the command line: no exception ends it with a traceback, whatever raises it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memsweep.border import FAULT, LONGEST, redacted

from sweeps.errors import ExecutionError


@pytest.fixture
def raising(memsweep, monkeypatch, tmp_path):
    """Return a function that runs `plan` with an exception in place of its work."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(error: BaseException):
        def broken(*args: object) -> None:
            raise error

        monkeypatch.setattr("memsweep.inputs.load_sweep", broken)
        return memsweep("plan", "small.yaml", "--store", "s3://KEYID:s/e/c/r/e/t@bucket/x")

    return run


FAULTS = [
    ValueError("a bug"), TypeError("unhashable type: 'list'"), KeyError("epoch"), RecursionError("too deep"),
    AssertionError(), OSError(5, "Input/output error"), RuntimeError("\x1b[2J[red]:cat:\nsecond line"),
    UnicodeEncodeError("ascii", "é", 0, 1, "no"), ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
]  # fmt: skip


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_what_nobody_expected_is_a_fault_of_memsweep_with_a_file_to_report(raising, error, tmp_path):
    said = raising(error)
    assert (said.code, said.out, len(said.err.splitlines())) == (FAULT, "", 1)
    assert said.err.startswith(f"error: this is a fault of memsweep, not of your input: {type(error).__name__}: ")
    assert "\x1b" not in said.err
    (path,) = re.findall(r"please report it with (\S+), which holds the traceback and the versions", said.err)
    assert Path(path).parent == tmp_path
    assert Path(path).stat().st_mode & 0o077 == 0
    account = Path(path).read_text()
    assert "Traceback (most recent call last)" in account
    assert "in broken" in account
    assert "memsweep plan small.yaml" in account
    assert "torch " in account
    assert "s/e/c/r/e/t" not in account + said.err


def test_a_long_message_is_cut(raising):
    said = raising(ValueError("x" * 100_000))
    assert len(said.err) < LONGEST + 400


def test_where_no_file_can_be_written_the_sentence_says_so(raising, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    said = raising(ValueError("a bug"))
    assert said.code == FAULT
    assert said.err == (
        "error: this is a fault of memsweep, not of your input: ValueError: a bug; no account of it could be written "
        f"to {tmp_path}/gone: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ExecutionError("no GPU"), 2, "error: no GPU\n"),
        (MemoryError("Unable to allocate 9 TiB"), 2, "error: not enough memory: Unable to allocate 9 TiB; valid: "),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
    ],
)
def test_what_is_expected_is_no_fault(raising, error, code, words, tmp_path):
    said = raising(error)
    assert said.code == code
    assert said.err.startswith(words)
    assert "fault" not in said.err
    assert list(tmp_path.glob("memsweep-fault-*")) == []


def test_a_plug_in_that_ends_the_program_is_named(memsweep, monkeypatch, tmp_path):
    (tmp_path / "ending_plugin.py").write_text("raise SystemExit(0)")
    monkeypatch.setenv("MEMSWEEP_PLUGINS", "ending_plugin")
    said = memsweep("list")
    assert said.code == 2
    assert said.err == "error: MEMSWEEP_PLUGINS: plug-in 'ending_plugin' cannot be imported: SystemExit: 0\n"


@given(
    st.text(st.characters(exclude_characters=" '\"@", exclude_categories=["Cs", "Cc", "Z"]), min_size=8, max_size=30)
)
def test_secrets_are_redacted(secret):
    texts = [f"s3://KEY:{secret}@bucket/path", f"cannot open 's3://{secret}@b'", f"gs://a:{secret}@b and more"]
    assert all(secret not in redacted(text) for text in texts)
    assert redacted("s3://bucket/path?region=a and user@host") == "s3://bucket/path?region=a and user@host"


def test_values_of_secret_variables_are_redacted(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    assert redacted("signature of wJalrXUtnFEMI/K7MDENG is wrong") == "signature of *** is wrong"


def test_a_working_folder_that_was_removed_is_one_sentence(tmp_path):
    """`os.getcwd` failed with a traceback."""
    folder = tmp_path / "gone"
    folder.mkdir()
    script = "cd gone && rmdir ../gone && exec {} -c 'from memsweep.guard import main; main()' list"
    done = subprocess.run(["sh", "-c", script.format(sys.executable)], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: the working folder cannot be used: No such file or directory; it was removed or may not be read, so "
        "change to another one (cd)\n"
    )


def test_a_package_that_is_missing_is_one_sentence(tmp_path):
    (tmp_path / "typer.py").write_text("import no_such_package_anywhere")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", "from memsweep.guard import main; main()", "list"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: memsweep is not installed completely: No module named 'no_such_package_anywhere'; install it again: "
        "pip install --force-reinstall memsweep\n"
    )
