"""The words of errors: errors.txt shows each input with its message, for a reader who wants to see all of them."""

from __future__ import annotations

import pytest

from tests.messages.texts import Case, folder, paragraphs, provoked

PARTS = paragraphs()
CASES = [part for part in PARTS if isinstance(part, Case)]
QUICK = {*PARTS[: PARTS.index("# Sweep files: measures")]}
"""The cases that are refused before anything is imported or read. The others take a tenth of a second each."""


@pytest.fixture(scope="module")
def at():
    with folder() as path:
        yield path


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case.sweep} {case.command}".strip(), marks=[] if case in QUICK else pytest.mark.slow)
        for case in CASES
    ],
)
def test_the_message_is_the_one_in_the_file(case, at):
    """After a change of words: `python -P tests/messages/texts.py --write`, then read the difference."""
    assert provoked(case, at) == case.message


def test_each_is_one_sentence_that_names_something_and_is_not_long():
    for case in CASES:
        assert case.message.startswith("error: "), case
        assert case.message.count(": ") >= 2, case
        assert len(case.message) <= 2000
        assert "Traceback" not in case.message
        assert "fault of memsweep" not in case.message
    assert len({(case.sweep, case.command) for case in CASES}) == len(CASES)
