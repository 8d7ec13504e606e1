"""Tests of the YAML dialect: what is text and what is a number, and the bounds of what is read."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweeps.spec.yaml_dialect import MAX_DEPTH, MAX_TEXT, Dumper, InvalidYaml, parse_yaml

printable = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | printable
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(printable, inner, max_size=4), max_leaves=12
)


@given(documents)
def test_what_is_dumped_is_parsed_to_the_same(content):
    assert parse_yaml(yaml.dump(content, Dumper=Dumper, allow_unicode=True)) == content


@pytest.mark.parametrize(
    "typed",
    ["yes", "No", "on", "OFF", "y", "2020-01-01", "2020-13-45", "12:30:45", "007", "010", "0x10", "0b1", "1e400", "=",
     "1_0.5", "0..3", "١٢", "9" * 60, "None", "nan"],
)  # fmt: skip
def test_text_stays_as_typed(typed):
    assert parse_yaml(f"a: {typed}") == {"a": typed}


@pytest.mark.parametrize(
    ("typed", "value"),
    [("0", 0), ("-7", -7), ("+3", 3), ("1_000", 1000), ("10000000000000000000000", 10**22), ("1e-3", 0.001),
     ("007.5", 7.5), ("1.", 1.0), (".5", 0.5), ("-1.5E3", -1500.0), (".inf", math.inf), ("-.INF", -math.inf),
     ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("!!str 7", "7"), ("'007'", "007")],
)  # fmt: skip
def test_numbers_and_words(typed, value):
    (parsed,) = parse_yaml(f"a: {typed}").values()
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("key", ["yes", "7", "007", "null", "2020-01-01", "''", "1e3", "~"])
def test_a_key_is_text(key):
    assert parse_yaml(f"{key}: 1") == {key.strip("'"): 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2", "line 2, column 1: key 'a' is given twice"),
        ("1: a\n'1': b", "line 2, column 1: key '1' is given twice"),
        ("a:\n\tb: 1", "line 2, column 1: a tab, which cannot indent; valid: spaces"),
        ("a: [1, 2", "line 1, column 9: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence "
         "that begins in line 1)"),
        ("a: b: c", "line 1, column 5: a key within a line, or after a wrong indentation; a text with ': ' "
         "needs quotes"),
        ("a: !!python/name:os.system x", "line 1, column 4: the tag 'tag:yaml.org,2002:python/name:os.system'; valid: "
         "no tag, or !!str"),
        ("a: !!int ''", "line 1, column 4: the tag 'tag:yaml.org,2002:int'; valid: no tag, or !!str"),
        ("{? [a] : b}", "line 1, column 4: a key that is a list or a mapping; valid: text"),
        ("a: *b", "line 1, column 4: the alias 'b', of which there is no anchor above"),
        ("a: @b", "line 1, column 4: a text cannot start with '@'; put it in quotes"),
        ("a: 1\nb\nc: 2", "line 3, column 1: a line without ':' after its key"),
        ("a: [1]\n  b: 2", "line 2, column 3: an indentation or a character that does not fit the lines above"),
        ("- a\nb: 1", "line 2, column 1: an indentation or a character that does not fit the lines above"),
        ("[1]\nb: 1", "line 2, column 1: an indentation that does not fit the lines above"),
        ("--- a\n--- b", "line 2, column 1: a second document; valid: one"),
        ("a: &a [1, *a]", "line 1, column 11: the alias *a lies in the value that it repeats"),
        ("a: &a {b: [*a]}", "line 1, column 12: the alias *a lies in the value that it repeats"),
        (r'a: "\e[31m"', r"line 1, column 4: the control character '\x1b' in a text; valid: printable characters"),
        (r'a: "\ud800"', r"line 1, column 4: the control character '\ud800' in a text; valid: printable characters"),
        ('"\\0": 1', r"line 1, column 1: the control character '\x00' in a text; valid: printable characters"),
        ("a: \x07", r"the character '\x07'; valid: printable characters"),
        ("a: " + "x" * 5000, f"line 1, column 4: a text of 5,000 characters; valid: at most {MAX_TEXT:,}"),
        ("a: " + "[" * 3000, f"line 1, column 23: nested more than {MAX_DEPTH} deep, which is the most"),
        ("x" * 300_000, "more than 250,000 characters, which is the most"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_of_this_dialect_is_one_sentence(text, problem):
    with pytest.raises(InvalidYaml) as caught:
        parse_yaml(text)
    assert str(caught.value) == problem


@pytest.mark.parametrize("escape", [r'"\UFFFFFFFF"', r'"\U00110000"', "%YAML " + "9" * 5000 + ".1\n---\nx"])
def test_what_makes_pyyaml_fail_otherwise_is_refused_too(escape):
    with pytest.raises(InvalidYaml):
        parse_yaml(escape)


class TestBounds:
    def test_a_value_counts_as_often_as_aliases_repeat_it(self):
        lists = ["&a0 [x, x]", *(f"&a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 19))]
        with pytest.raises(InvalidYaml, match="more than 50,000 values, aliases included"):
            parse_yaml(f"[{', '.join(lists)}]")
        assert len(parse_yaml(f"[{', '.join(lists[:10])}]")) == 10

    def test_merged_mappings_count_too(self):
        maps = ["- &a0 {a: 1, b: 2}", *(f"- &a{i} {{c{i}: *a{i - 1}, d{i}: *a{i - 1}}}" for i in range(1, 15))]
        with pytest.raises(InvalidYaml, match="more than 50,000 values, aliases included"):
            parse_yaml("\n".join([*maps, "- {<<: [" + ", ".join(["*a14"] * 3) + "]}"]))

    def test_aliases_count_towards_the_depth(self):
        nested = ["&a0 [x]", *(f"&a{i} [*a{i - 1}]" for i in range(1, 30))]
        with pytest.raises(InvalidYaml, match="nested more than 20 deep"):
            parse_yaml("\n".join(f"k{i}: {each}" for i, each in enumerate(nested)))

    @given(st.integers(1, MAX_DEPTH + 3))
    def test_depth(self, depth):
        text = "[" * depth + "]" * depth
        if depth <= MAX_DEPTH:
            assert parse_yaml(text) is not None
        else:
            with pytest.raises(InvalidYaml, match="nested more than 20 deep"):
                parse_yaml(text)

    def test_the_number_of_values_is_checked_while_they_are_read(self, monkeypatch):
        monkeypatch.setattr("sweeps.spec.yaml_dialect.MAX_VALUES", 1000)
        with pytest.raises(InvalidYaml, match="more than 1,000 values"):
            parse_yaml("[" + "1," * 1010 + "'")  # it is not YAML from here on, but the bound comes first
