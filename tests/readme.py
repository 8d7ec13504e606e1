"""The generated parts of the README: written here, checked by tests/test_readme.py.

python tests/readme.py --write
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from lightning_modules.models import FAMILIES
from sweeps.records import MEASURES, PROVENANCE
from sweeps.spec import DEFAULTS, Point, valid_values
from sweeps.sweep_file import SETTABLE

README = Path(__file__).parent.parent / "README.md"


def fields() -> list[str]:
    rows = ["| field | default | valid | meaning |", "|---|---|---|---|"]
    for name in SETTABLE:
        default = "unset" if DEFAULTS[name] is None else f"`{DEFAULTS[name]}`"
        valid = valid_values(name).replace(" or null", "")
        rows.append(f"| `{name}` | {default} | {valid} | {Point.model_fields[name].description} |")
    return rows


def columns() -> list[str]:
    rows = ["| column | meaning |", "|---|---|"]
    rows += [
        "| `trajectory_id` | hash of the training: its fields but `epochs`, unless the schedule depends on it |",
        "| `epoch` | the evaluated epoch (0: before training), or the one in which it broke |",
        "| `outcome` | `finished`, `diverged` or `failed` |",
        "| every field | as in the table above; `width` and `depth` as trained |",
    ]
    rows += [f"| `{name}` | {words} |" for name, words in MEASURES.items()]
    rows += [f"| `{name}` | {words} |" for name, (_, words) in PROVENANCE.items()]
    return rows


def families() -> list[str]:
    rows = ["| model | what it is | default width | default depth |", "|---|---|---|---|"]
    rows += [
        f"| `{family.name}` | {family.summary} | {family.default_width or '-'} | {family.default_depth or '-'} |"
        for family in FAMILIES.values()
    ]
    return rows


BLOCKS = {"fields": fields, "columns": columns, "families": families}


def generated(text: str) -> str:
    """The README with every block between its markers written anew."""
    for name, lines in BLOCKS.items():
        block = re.compile(rf"(<!-- {name}: generated -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not block.search(text):
            raise ValueError(f"README.md has no block {name!r}")
        text = block.sub(lambda match, lines=lines: match[1] + "\n".join(lines()) + "\n" + match[2], text)
    return text


if __name__ == "__main__" and "--write" in sys.argv:
    README.write_text(generated(README.read_text()))
