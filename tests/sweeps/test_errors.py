from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from lightning_modules.errors import DataError, InputError, MemsweepError, ModelError, choices, quoted
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


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (False, "false"), (3, "3"), (0.5, "0.5"), (math.inf, ".inf"), (-math.inf, "-.inf"),
     (math.nan, ".nan"), ("off", "'off'"), ([None, "x"], "[null, 'x']"), ({"a": True}, "{'a': true}"),
     ([*range(100)], "[0, 1, 2, 3, 4, 5, 6, 7, ...]"), (10**5000, "a whole number of 16610 bits"),
     ("x" * 10**7, f"'{'x' * 47}...{'x' * 48}'"), ([[[[[[1]]]]]], "[[[[[...]]]]]")],
    ids=lambda value: str(value)[:9] if not isinstance(value, int) else type(value).__name__,
)  # fmt: skip
def test_a_value_is_quoted_as_in_a_sweep_file_and_cut(value, text):
    assert quoted(value) == text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(anything, st.text(), st.text(), st.integers(1, 10**5))
def test_no_message_is_long(value, source, key, times):
    assert len(quoted([value] * times)) <= 120
    problem = f"given {quoted(value)}" * times
    assert len(str(SweepError(source * times, key * times, problem))) <= 2000
    assert len(choices(value, ["red", "blue"])) < 200


OWN = (SweepError, StoreError, ExportError, ReplayError, ExecutionError)


@pytest.mark.parametrize("kind", [*OWN, InputError, DataError, ModelError, AnalysisError])
def test_every_error_is_one_that_the_command_line_prints(kind):
    assert issubclass(kind, MemsweepError)


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(SweepError("s.yaml", "seed", "given -1")))
    assert (str(error), error.key) == ("s.yaml: seed: given -1", "seed")
    assert str(pickle.loads(pickle.dumps(StoreError("full")))) == "full"
