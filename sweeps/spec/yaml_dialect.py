"""The YAML dialect of sweep files, which is the border where their text is bounded and becomes plain values.

It is YAML of lists, mappings, text, numbers, true, false and null. Aliases and the merge key `<<` are allowed. It
differs from YAML 1.1, which PyYAML reads:

- Text stays as typed where YAML 1.1 makes something else of it: yes, no, on and off, dates, and 007, which is seven for
  some readers and octal for others. Keys are always text.
- 1e-3 is a number (in YAML 1.1 it is text).
- A repeated key, a tag other than !!str, and a control character in a text are errors.
- Size and depth are bounded, and a value counts as often as aliases repeat it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable
from itertools import chain
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

from lightning_modules.errors import quoted, shortened

MAX_CHARACTERS = 250_000
MAX_VALUES = 50_000
"""The maximum number of values in a text, counting keys, lists, mappings, and what aliases repeat."""
MAX_DEPTH = 20
MAX_TEXT = 4096
"""The maximum length of a single text, such as a path."""

_TAG = "tag:yaml.org,2002:"
_FLOAT = re.compile(
    r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)
_RESOLVERS = {
    "null": (re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"[-+]?(0|[1-9][0-9_]{0,39})$"), list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
    "merge": (re.compile(r"<<$"), ["<"]),
}
"""The tags of plain scalars other than text: the pattern, and the first characters that it can match."""


_WORDS = {
    r"found character '\\t' that cannot start any token": "a tab, which cannot indent; valid: spaces",
    r"found character (.*) that cannot start any token": r"a text cannot start with \1; put it in quotes",
    r"mapping values are not allowed here": "a key within a line, or after a wrong indentation; a text with ': ' needs "
    "quotes",
    r"could not find expected ':'": "a line without ':' after its key",
    r"expected <block end>, but found .*": "an indentation or a character that does not fit the lines above",
    r"expected '<document start>', but found .*": "an indentation that does not fit the lines above",
    r"but found another document": "a second document; valid: one",
    r"found undefined alias (.*)": r"the alias \1, of which there is no anchor above",
}
"""PyYAML's problems (the patterns) in the words of somebody who writes a sweep file."""


class InvalidYaml(ValueError):
    """Text that is not YAML of this dialect. The message states the line, the column and the problem."""


def parse_yaml(text: str) -> Any:
    """Parse YAML to lists, dictionaries with text as keys, strings, numbers, booleans and None.

    Raises:
        InvalidYaml: If the text is not YAML of this dialect, or exceeds a bound.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidYaml(f"more than {MAX_CHARACTERS:,} characters, which is the most")
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidYaml(f"{place}{_problem(error)}") from None
    except yaml.reader.ReaderError as error:
        raise InvalidYaml(f"the character {chr(error.character)!r}; valid: printable characters") from None
    except Exception as error:  # PyYAML raises ValueError, OverflowError and others for some escapes and directives
        raise InvalidYaml(f"cannot be parsed: {shortened(' '.join(str(error).split()), 300)}") from None


def control_character(text: str) -> str | None:
    """Return the first control character or lone surrogate in a text, besides tabs and line breaks."""
    found = (c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n")
    return None if text.isascii() and text.isprintable() else next(found, None)


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = shortened(error.problem or "cannot be parsed", 300)
    for pattern, words in _WORDS.items():
        if match := re.fullmatch(pattern, problem):
            return match.expand(words)
    if not error.context or not error.context_mark:
        return problem
    return f"{problem} ({shortened(error.context, 100)} that begins in line {error.context_mark.line + 1})"


class Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._level = self._values = 0
        self._extents: dict[int, tuple[int, int]] = {}
        """id of a node -> the number of values in it, and its depth."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, and check the bounds before anything is made of it."""
        event = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        tag = None if is_alias else event.tag
        if tag not in (None, "!", f"{_TAG}str"):
            valid = "valid: no tag, or !!str"
            raise ConstructorError(None, None, f"the tag {quoted(tag)}; {valid}", event.start_mark)
        self._level += 1
        self._values += 1
        self._check(self._values, self._level, event.start_mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        if not is_alias:
            parts = [self._extents[id(part)] for part in _parts(node)]
            values, depth = 1 + sum(part[0] for part in parts), 1 + max((part[1] for part in parts), default=0)
            self._check(values, depth, event.start_mark)
            self._extents[id(node)] = values, depth
        elif id(node) not in self._extents:
            problem = f"the alias *{shortened(event.anchor, 100)} lies in the value that it repeats"
            raise ConstructorError(None, None, problem, event.start_mark)
        return node

    def _check(self, values: int, depth: int, mark: yaml.Mark) -> None:
        if values > MAX_VALUES:
            problem = f"more than {MAX_VALUES:,} values, aliases included, which is the most"
            raise ConstructorError(None, None, problem, mark)
        if depth > MAX_DEPTH:
            raise ConstructorError(None, None, f"nested more than {MAX_DEPTH} deep, which is the most", mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key that is a list or a mapping; valid: text", key.start_mark)
            if key.tag != f"{_TAG}merge" and key.value in keys:
                raise ConstructorError(None, None, f"key {quoted(key.value)} is given twice", key.start_mark)
            keys.add(key.value)
        self.flatten_mapping(node)
        return {self.text(key): self.construct_object(value, deep=True) for key, value in node.value}

    def text(self, node: yaml.ScalarNode) -> str:
        """Return the text of a node as typed."""
        if len(node.value) > MAX_TEXT:
            problem = f"a text of {len(node.value):,} characters; valid: at most {MAX_TEXT:,}"
            raise ConstructorError(None, None, problem, node.start_mark)
        if control := control_character(node.value):
            problem = f"the control character {control!r} in a text; valid: printable characters"
            raise ConstructorError(None, None, problem, node.start_mark)
        return str(node.value)

    def number(self, node: yaml.ScalarNode) -> float | str:
        """Return a number, or the text of a number that is too large for a float."""
        word = re.fullmatch(r"([-+]?)\.(inf|nan)", node.value.lower())
        value = float("".join(word.groups()) if word else node.value)
        return value if word or abs(value) != float("inf") else self.text(node)


def _parts(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [*chain.from_iterable(node.value)]
    return node.value if isinstance(node, yaml.SequenceNode) else []


for _name, (_pattern, _first) in _RESOLVERS.items():
    Loader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _first)
Loader.add_constructor(f"{_TAG}str", Loader.text)
Loader.add_constructor(f"{_TAG}merge", Loader.text)
Loader.add_constructor(f"{_TAG}bool", lambda loader, node: node.value.lower() == "true")
Loader.add_constructor(f"{_TAG}int", lambda loader, node: int(node.value.replace("_", "")))
Loader.add_constructor(f"{_TAG}float", Loader.number)


class Dumper(yaml.SafeDumper):
    """A dumper that quotes text which would otherwise be parsed as a number, and that writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


Dumper.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))
