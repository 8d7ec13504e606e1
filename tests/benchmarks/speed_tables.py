"""The generated parts of README.md and docs/ that show what `make bench` measured: tests/documents.py calls them.

A part whose benchmark has no stored result says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
"""The results that documents show, one JSON file per benchmark, which --save writes."""

CONTENDERS = {
    "memsweep": "memsweep, one training per point",
    "folded": "the same with `epochs` folded",
    "tune": "Ray Tune, one trial per point: Lightning `Trainer`, `DataLoader`, `TuneReportCheckpointCallback`",
    "tune+reuse": "the same with `reuse_actors=True`",
    "bare": "a bare PyTorch loop per core, tensors in memory, evaluated once at the end",
}


def shows(benchmark: str) -> Callable[[Callable[[dict[str, Any]], list[str]]], Callable[[], list[str]]]:
    """Return a decorator that calls a function with the stored result of a benchmark."""

    def decorator(lines: Callable[[dict[str, Any]], list[str]]) -> Callable[[], list[str]]:
        def part() -> list[str]:
            path = RESULTS / f"{benchmark}.json"
            if not path.exists():
                return [f"*Not measured yet; `make bench-{benchmark}` does.*"]
            return lines(json.loads(path.read_text(encoding="utf-8")))

        return part

    return decorator


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def measured(benchmark: str, found: dict[str, Any]) -> str:
    """Return a sentence that says when and where a result was measured."""
    about = found["machine"]
    software = f", torch {about['torch']}" if "torch" in about else ""
    processor = f", {about['cpu']}" if "cpu" in about else ""
    load = f", load {about['load']:.1f} before it" if "load" in about else ""
    return (
        f"Measured by `make bench-{benchmark}` at commit {about['commit']}, {about['date']}: "
        f"{about['cores']} cores{processor}{software}{load}."
    )


def significant(value: float, digits: int = 2) -> str:
    """Return a positive number with at least this many significant digits, and all of those before the point."""
    decimals = digits - len(f"{value:.0f}".lstrip("0")) if value >= 1 else digits
    return f"{value:,.{max(0, decimals)}f}"


def rate(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 else f"{value:.2f}"


def times(row: dict[str, Any]) -> str:
    return f"{significant(row['memsweep_is_times_faster'])} ×"


@shows("throughput")
def headline(found: dict[str, Any]) -> list[str]:
    summary, cores = found["summary"], found["machine"]["cores"]
    ours, factor = summary["memsweep"], significant(summary["tune"]["memsweep_is_times_faster"])
    return [
        "**memsweep trains whole grids of networks on partly random labels and maps where they memorize and where they "
        "generalize:",
        f"{ours['points']} trainings take {ours['seconds']:.0f} seconds on {_count(cores)} cores, {factor} times as "
        "fast as a Ray Tune trial with a Lightning Trainer for each.**",
    ]


def _count(number: int) -> str:
    return {1: "one", 2: "two", 4: "four", 8: "eight"}.get(number, str(number))


@shows("throughput")
def throughput(found: dict[str, Any]) -> list[str]:
    rows = [
        (
            words,
            rate(found["summary"][name]["points_per_second"]),
            "" if name in ("memsweep", "folded") else f"{times(found['summary'][name])} as fast",
        )
        for name, words in CONTENDERS.items()
    ]
    lines = [*table(("", "points per second", "memsweep is"), rows), "", measured("throughput", found)]
    if widths := found.get("by_width"):
        lines += ["", "By width, training alone (no start, no store), in the same runs:", ""]
        lines += table(
            ("width", "memsweep, points per second", "bare loop", "memsweep is"),
            [
                (width, rate(row["memsweep"]), rate(row["bare"]), f"{times(row)} as fast")
                for width, row in widths.items()
            ],
        )
    return lines


@shows("throughput")
def decision(found: dict[str, Any]) -> list[str]:
    """Return the sentence of the decision on cohorts."""
    tune, bare = (times(found["summary"][name]) for name in ("tune", "bare"))
    return [
        f"On the reference grid memsweep is {tune} as fast as one Tune trial with a Lightning `Trainer` per training,",
        f"and {bare} as fast as a bare PyTorch loop per core ([speed](../speed.md)).",
    ]


@shows("efficiency")
def efficiency(found: dict[str, Any]) -> list[str]:
    rows = [
        (
            str(row["width"]),
            str(row["members"]),
            "yes" if row["dropout"] else "no",
            f"{1e6 * row['update'] / row['members']:.0f} µs",
            f"{row['update_to_products']:.1f} ×",
            f"{1e3 * row['evaluation'] / row['members']:.1f} ms",
            f"{row['evaluation_share']:.0%}",
        )
        for row in found["cohorts"]
    ]
    heads = ("width", "members", "dropout", "update, per member", "to its products alone", "evaluation, per member")
    return [*table((*heads, "its share of a cohort"), rows), "", measured("efficiency", found)]


@shows("packing")
def packing(found: dict[str, Any]) -> list[str]:
    sizes: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in found["cases"]:
        sizes.setdefault((row["model"], row["width"]), []).append(row)
    rows = [
        (
            f"{model} of {width}",
            f"{1000 * cases[0]['loop'] / cases[0]['epochs']:.0f} ms",
            *(f"{case['ratio']:.2f} × ({' + '.join(map(str, case['cohorts']))})" for case in cases),
        )
        for (model, width), cases in sizes.items()
    ]
    seeds = [f"{case['seeds']} seeds" if case["seeds"] > 1 else "1 seed" for case in next(iter(sizes.values()))]
    return [*table(("", "plain loop, per epoch", *seeds), rows), "", measured("packing", found)]


@shows("cohort_sizes")
def cohort_sizes(found: dict[str, Any]) -> list[str]:
    rows = []
    for shape in found["shapes"]:
        each = shape["seconds_per_member_and_update"]
        cells = [f"**{1e6 * t:.0f}**" if count == str(shape["best"]) else f"{1e6 * t:.0f}" for count, t in each.items()]
        rows.append((f"{shape['model']} of {shape['width']}", *cells))
    heads = ("µs per member and update", *(f"K = {count}" for count in each))
    return [*table(heads, rows), "", measured("cohort_sizes", found)]


@shows("split")
def split(found: dict[str, Any]) -> list[str]:
    runs = found["runs"]
    shares: dict[str, list[float]] = {}
    for number, run in enumerate(runs.values()):
        for sections in run["sections"].values():
            for section, spent in sections.items():
                shares.setdefault(section, [0.0] * len(runs))[number] += spent
    rows = [
        ("**wall time**", *(f"**{run['seconds']:.1f} s**" for run in runs.values())),
        ("until the first result", *(f"{run['first_result']:.1f} s" for run in runs.values())),
        ("**CPU time of all processes**", *(f"**{run['cpu_seconds']:.1f} s**" for run in runs.values())),
    ]
    for section, spent in sorted(shares.items(), key=lambda item: -max(item[1])):
        each = zip(spent, runs.values(), strict=True)
        rows.append((section, *(f"{t:.1f} s, {t / run['cpu_seconds']:.0%}" if t else "" for t, run in each)))
    lines = [*table(("", *runs), rows), ""]
    starts = [f"`{name}` takes {each['seconds']:.1f} s" for name, each in found["commands"].items()]
    return [*lines, f"{', '.join(starts)}. {measured('split', found)}"]


@shows("scale")
def scale(found: dict[str, Any]) -> list[str]:

    def after(figures: dict[str, float], *names: str) -> str:
        merged = [f"{figures[f'compacted_{name}']:.1f} s" for name in names if f"compacted_{name}" in figures]
        return ", ".join(f"{figures[name]:.1f} s" for name in names) + (f" ({', '.join(merged)})" if merged else "")

    rows = [
        (
            f"{int(points):,}",
            f"{figures['plan']:.1f} s",
            f"{significant(figures['ms_a_point'])} ms",
            f"{figures['driver_mib']:.0f} MiB",
            after(figures, "status"),
            after(figures, "heatmap_last", "heatmap_epochs"),
        )
        for points, figures in found["points"].items()
    ]
    heads = (
        "points",
        "plan",
        "run, per point",
        "driver's memory",
        "status",
        "heatmap of the last epochs, of every epoch",
    )
    *_, most = found["points"].values()
    return [
        *table(heads, rows),
        "",
        "The times in brackets are those after the parts were merged, which `run` does at its end if it leaves 500 or",
        f"more parts ({most['compact']:.0f} s for the last line). {measured('scale', found)}",
    ]


@shows("early_stopping")
def early_stopping(found: dict[str, Any]) -> list[str]:
    rows = []
    for case in found["cases"]:
        for name, words in (("refilled", "filled again"), ("rigid", "left empty")):
            if name in case["medians"]:
                shares = [each["share"] for each in case[name]]
                low, high = min(shares), max(shares)
                share = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{100 * low:.0f} to {high:.0%}"
                ratio = f"{significant(case['medians'][name], 3 if case['medians'][name] < 1.1 else 2)} ×"
                rows.append((str(case["width"]), str(case["epochs"]), words, share, ratio))
    heads = ("width", "epochs", "free places", "epochs trained", "time, to that share of the time without stopping")
    return [*table(heads, rows), "", measured("early_stopping", found)]


@shows("replay")
def replay(found: dict[str, Any]) -> list[str]:
    sentences = [
        f"{load['trainings']:,} trainings of 100 epochs in {load['orders']} orders under `{load['scheduler']}` take "
        f"{load['seconds']:.0f} s"
        for load in found["loads"]
        if load["orders"] == 20
    ]
    return [f"Replays on recorded curves: {'; '.join(sentences)}. {measured('replay', found)}"]


PARTS: dict[str, dict[str, Callable[[], list[str]]]] = {
    "README.md": {"headline": headline},
    "docs/speed.md": {
        "throughput": throughput,
        "packing": packing,
        "efficiency": efficiency,
        "cohort-sizes": cohort_sizes,
        "split": split,
        "scale": scale,
        "early-stopping": early_stopping,
        "replay": replay,
    },
    "docs/decisions/cohorts.md": {"speed": decision},
}
"""Document -> its generated parts, as in `documents.DOCUMENTS`."""
