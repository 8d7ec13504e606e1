"""Odd values for sweep files: numbers, texts, and YAML that no dumper writes."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from pydantic import ValidationError

from sweeps.spec.point import valid_values, validate_value
from sweeps.spec.sweep_file import settable

NUMBERS = [0, -1, 1, 2, 3, 0.5, -0.0, 1.5, 7.0, 99, 10**4, 10**7, 10**9, 2**31, 2**63, 10**19, 10**30, 10**39, 10**45]
NUMBERS += [17, 64, 250, 1000, 1437, 4000, 10**6, 10**12, 2**31 - 1, 2**63 - 1, 0.25, 0.999999, 180, 1e-9, 1e6]
NUMBERS += [-(2**63), 1e-320, 1e16, 1e308, math.inf, -math.inf, math.nan, 1.0000001]
TEXTS = [
    "",
    " ",
    "x",
    "seed",
    "log",
    "every",
    "asha",
    "none",
    "max",
    "0..3",
    "0..99",
    "3..1",
    "0..999999",
    "5..5",
    "0..1e3",
]
TEXTS += [
    "0.." + "9" * 5000,
    "9" * 5000 + "..",
    "٣..٤",
    "007",
    "0x10",
    "1_000",
    "1e400",
    "off",
    "Yes",
    "2020-13-45",
    "~",
]
TEXTS += [
    "x" * 5000,
    "$a$b$",
    r"\frac{",
    "[bold]",
    "<b>&amp;",
    ":cat:",
    "é",
    "𝕏",
    "\u202eabc",
    "\u200b",
    "a\nb",
    "\x1b[31m",
]
TEXTS += [
    "\ud800",
    "\x00",
    "\x7f",
    "\ufeff",
    "😀" * 200,
    "parquet:/no/such$file$.parquet",
    "parquet:",
    "hub:",
    ":",
    "a:b:c",
]
TEXTS += [
    "no.such:thing",
    "os:getpid",
    "builtins:len",
    "..:x",
    ".x:y",
    "clusters",
    "digits",
    "mnist1d",
    "resnet",
    "convnet",
    "transformer",
    "linear",
]
ODD: list[Any] = [*NUMBERS, *TEXTS, None, True, False, [], {}, [[]], [None], {"a": 1}, {"": None}, [0, 0.0], [True, 1]]
RAW = [
    "!!python/name:os.system x", "!!int ''", "!!float ''", "!!bool x", "!!set {a, b}", "!!binary ====", "!!null x",
    "!!timestamp x", "!!omap [a: 1]", "!x y", "!!str 7", "*nowhere", "&a [*a]", "&a {b: *a}", "{<<: 3}", "{<<: [1]}",
    "{<<: {seed: 1}, seed: 2}", "{? [a] : b}", "{? {a: 1} : b}", "? x", "[1, 2", "{a: b", "'x", '"\\UFFFFFFFF"',
    '"\\UDDDDDDDD"', '"\\ud800"', '"\\e[31m"', '"\\0"', "=", "<<", "2020-01-01", "2020-01-01T00:00:00Z", "12:30:45",
    "010", "0b1", "0o7", "1__0", "+.inf", "-.nan", ".5e5", "1.e5", "-", "- - - x", "a: b: c", "\t", "@", "`",
    "%YAML 9.9", "---", "...", "--- x\n--- y", "%TAG ! x", "#", "|", ">9", "|+\n  x", "9" * 5000, "1e" + "9" * 50,
    "-" * 3000, "[" * 3000, "{a: " * 500, "[" * 500 + "]" * 500, "[" * 15 + "]" * 15, "&x 1",
    "!<tag:yaml.org,2002:python/object/apply:os.abort> []",
]  # fmt: skip


def bomb(depth: int) -> str:
    """Return a list that aliases multiply to 3^depth items."""
    lists = ["&a0 [x, x, x]", *(f"&a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, depth))]
    return f"[{', '.join(lists)}]"


def _valid(field: str) -> list[Any]:
    values = []
    for value in [*NUMBERS, *TEXTS, None, *valid_values(field).split(", ")]:
        with contextlib.suppress(ValidationError):
            validate_value(field, value)
            values.append(value)
    return values


VALID = {field: _valid(field) for field in settable()}
"""Values of each field that are valid by themselves."""
