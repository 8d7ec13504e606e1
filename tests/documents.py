"""Write the generated parts of docs/, which tests/test_documents.py checks.

Usage: python tests/documents.py --write
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "benchmarks"))

import gpu_tables
import typer
from memsweep.cli import app
from speed_tables import PARTS, table

from analysis.claims import CLAIMS
from analysis.claims.wording import rules_table
from analysis.stopping.outcomes import MEASURED
from analysis.words import DERIVED
from lightning_modules.measures.catalogue import MEASURES, MEASURES_ON_DEMAND
from lightning_modules.measures.metric import Metric
from lightning_modules.models import FAMILIES
from lightning_modules.settings import DEFAULTS
from sweeps.planning.plan import Plan
from sweeps.spec.point import Point, valid_values
from sweeps.spec.sweep_file import load_sweep, settable
from sweeps.spec.sweep_source import PRESETS, preset_names
from sweeps.store.records import PROVENANCE, Outcome

ROOT = Path(__file__).parent.parent


def fields() -> list[str]:
    rows = ["| field | default | valid | meaning |", "|---|---|---|---|"]
    for name in settable():
        default = "unset" if DEFAULTS[name] is None else f"`{DEFAULTS[name]}`"
        valid = valid_values(name).replace(" or null", "")
        rows.append(f"| `{name}` | {default} | {valid} | {Point.model_fields[name].description} |")
    return rows


def columns() -> list[str]:
    *others, last = (outcome for outcome in Outcome if outcome is not Outcome.MISSING)
    rows = ["| column | meaning |", "|---|---|"]
    rows += [
        "| `trajectory_id` | hash of the training: its fields but `epochs`, unless the schedule depends on it |",
        "| `epoch` | the evaluated epoch (0: before training), or the one in which it broke |",
        f"| `outcome` | {', '.join(f'`{name}`' for name in others)} or `{last}` |",
        "| every field | as in [the table of fields](fields.md); `width` and `depth` as trained |",
    ]
    rows += [f"| `{name}` | {about.description} |" for name, about in MEASURES.items()]
    rows.append("| what `measure` asks for | [measures](measures.md) |")
    rows += [f"| `{name}` | {words} |" for name, (_, words) in PROVENANCE.items()]
    return rows


def families() -> list[str]:
    rows = ["| model | what it is | default width | default depth |", "|---|---|---|---|"]
    rows += [
        f"| `{family.name}` | {family.summary} | {family.default_width or '-'} | {family.default_depth or '-'} |"
        for family in FAMILIES.values()
    ]
    return rows


def every_epoch() -> list[str]:
    return _meanings(MEASURES)


def derived() -> list[str]:
    return _meanings(DERIVED)


def _meanings(metrics: Mapping[str, Metric]) -> list[str]:
    return table(("column", "meaning"), ((f"`{name}`", about.description) for name, about in metrics.items()))


def on_demand() -> list[str]:
    lines = []
    for name, about in MEASURES_ON_DEMAND.items():
        said = ". ".join(words[0].upper() + words[1:] for words in (about.summary, about.paper))
        lines += [f"### `{name}`", "", f"{said}. Cost: {about.cost}.", ""]
        rows = [(f"`{column}`", metric.description) for column, metric in about.columns.items()]
        rows += [(f"`{column}`, of single examples", words) for column, words in about.examples.items()]
        lines += [*table(("column", "meaning, unit, range"), rows), ""]
    return lines[:-1]


def commands() -> list[str]:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return table(("command", "what it does"), ((f"`{name}`", each.help or "") for name, each in group.commands.items()))


def stopping() -> list[str]:
    return table(("column", "meaning"), ((f"`{name}`", words) for name, words in MEASURED.items()))


def presets() -> list[str]:
    lines = []
    for name in preset_names():
        sweep = load_sweep(name)
        plan = Plan.of(sweep)
        lines += [f"## {name}", "", *header(name), ""]
        lines += [f"`memsweep run {name}`: {len(plan.cells):,} points, {len(plan.trainings):,} trainings.", ""]
        if (ROOT / "docs" / "presets" / f"{name}.png").is_file():
            lines += [f"![{sweep.question}](presets/{name}.png)", ""]
    return lines[:-1]


def header(preset: str) -> list[str]:
    """Return the paragraphs of the comment at the top of a preset."""
    comment = itertools.takewhile(
        lambda line: line.startswith("#"), (PRESETS / f"{preset}.yaml").read_text().splitlines()
    )
    return [line.removeprefix("#").strip() for line in comment]


DOCUMENTS: dict[str, dict[str, Callable[[], list[str]]]] = {
    "docs/fields.md": {"fields": fields, "families": families},
    "docs/columns.md": {"columns": columns},
    "docs/usage.md": {"commands": commands},
    "docs/claims.md": {"claims": lambda: rules_table(CLAIMS).splitlines()},
    "docs/early-stopping.md": {"measures": stopping},
    "docs/presets.md": {"presets": presets},
    "docs/gpu.md": {
        "throughput": gpu_tables.throughput,
        "members": gpu_tables.by_members,
        "updates": gpu_tables.updates,
        "convolutions": gpu_tables.convolutions,
        "tests": gpu_tables.tests,
    },
    "docs/measures.md": {"every-epoch": every_epoch, "derived": derived, "on-demand": on_demand},
    **PARTS,
}


def generated(document: str, text: str) -> str:
    """Return the text of the document with every generated block, which lies between two markers, replaced."""
    for name, lines in DOCUMENTS[document].items():
        block = re.compile(rf"(<!-- {name}: generated -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not block.search(text):
            raise ValueError(f"{document} has no block {name!r}")
        text = block.sub(lambda match, lines=lines: match[1] + "\n".join(lines()) + "\n" + match[2], text)
    return text


def transcript(text: str, language: str = "console", prompt: str = "$ ", more: str = "") -> list[tuple[str, list[str]]]:
    """Return the commands of all blocks in a language, each with the lines of its output.

    Args:
        prompt: The start of a command's first line. A line that ends with a backslash continues on the next line.
        more: The start of a command's other lines, or an empty string if commands have none.
    """
    entries: list[tuple[str, list[str]]] = []
    for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith(prompt):
                entries.append((line.removeprefix(prompt), []))
            elif more and line.startswith(more):
                entries[-1] = (f"{entries[-1][0]}\n{line.removeprefix(more)}", [])
            else:
                entries[-1][1].append(line)
    return entries


def matches(shown: Sequence[str], printed: str, exactly: bool = True) -> bool:
    """Return whether a program has printed what a document shows.

    A line of three dots matches any lines. White space at the end of lines is ignored. Seconds, rates and the number
    of workers are ignored too, because they depend on the machine.

    Args:
        exactly: If false, all numbers and the amount of white space are ignored, as they differ between trainings.
    """

    def plain(line: str) -> str:
        if not exactly:
            line = re.sub(r"\d+(\.\d+)?", "0", line)
            return " ".join(re.sub("─+", "─", line).split())
        line = re.sub(r"(?<=about )[\d.,]+ (s|min|h)\b|[\d.,]+(?= (s|points/s|GFLOP/s)\b)", "0", line)
        return re.sub(r"\d+ workers?", "0 workers", line).rstrip()

    pattern = "".join(r"(.*\n)*" if line == "..." else re.escape(plain(line)) + r"\n" for line in shown if line.strip())
    return (
        re.fullmatch(pattern, "".join(f"{plain(line)}\n" for line in printed.splitlines() if line.strip())) is not None
    )


if __name__ == "__main__" and "--write" in sys.argv:
    for document in DOCUMENTS:
        path = ROOT / document
        path.write_text(generated(document, path.read_text()))
