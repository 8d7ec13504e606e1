from __future__ import annotations

import pickle

import pytest

from analysis.errors import AnalysisError
from lightning_modules.errors import DataError, InputError, MemsweepError, ModelError, choices
from sweeps.errors import ExecutionError, ExportError, ReplayError, StoreError, SweepError


def test_choices_name_what_was_given_what_is_near_and_what_is_valid():
    assert choices("blu", ["red", "blue"]) == "given 'blu'; did you mean blue? valid: blue, red"
    assert choices("blu", ["red", "blue"], ordered=True) == "given 'blu'; did you mean blue? valid: red, blue"
    assert choices(7, ["red"]) == "given 7; valid: red"
    assert choices(7, []) == "given 7; valid: none"


@pytest.mark.parametrize(
    ("parts", "text"),
    [(("f", "k", "p"), "f: k: p"), (("", "k", "p"), "k: p"), (("f", "", "p"), "f: p"), (("", "", "p"), "p")],
)
def test_a_sweep_error_names_the_file_and_the_key(parts, text):
    assert str(SweepError(*parts)) == text
    assert SweepError(*parts).key == parts[1]


OWN = (SweepError, StoreError, ExportError, ReplayError, ExecutionError)


@pytest.mark.parametrize("kind", [*OWN, InputError, DataError, ModelError, AnalysisError])
def test_every_error_is_one_that_the_command_line_prints(kind):
    assert issubclass(kind, MemsweepError)


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(SweepError("s.yaml", "seed", "given -1")))
    assert (str(error), error.key) == ("s.yaml: seed: given -1", "seed")
    assert str(pickle.loads(pickle.dumps(StoreError("full")))) == "full"
