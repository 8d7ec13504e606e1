"""The generated parts of docs/gpu.md: what `make gpu` measured, one result file per kind of GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from speed_tables import RESULTS, significant, table

NOTHING = ["*Not measured yet; `make gpu` does, on a machine with a GPU.*"]


PARTS = ("updates", "convolution")
"""The cases that are not whole trainings."""


def best(series: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the point of a series with the most points per second."""
    return max(series["points"], key=lambda point: point["points_per_second"], default=None)


def rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Return one line per series: its case, name, best number of members, its rate there, and memsweep's advantage."""
    ours = {each["case"]: best(each) for each in results if each["name"] == "memsweep"}
    lines = []
    for each in results:
        point, mine = best(each), ours.get(each["case"])
        if point is None:
            lines.append((each["case"], each["name"], "", each.get("skipped") or each.get("error", "")[:80], ""))
            continue
        rate = point["points_per_second"]
        ratio = f"{significant(mine['points_per_second'] / rate)} ×" if mine and each["name"] != "memsweep" else ""
        lines.append((each["case"], each["name"], str(point["members"]), significant(rate), ratio))
    return lines


def throughput() -> list[str]:
    heads = ("trainings", "trained by", "members or processes", "points per second", "memsweep is faster by")
    return _for_every_gpu(
        lambda found: table(heads, rows([each for each in _series(found) if each["case"] not in PARTS]))
    )


def by_members() -> list[str]:
    """Return the points per second of a stack, by its number of members."""

    def lines(found: Mapping[str, Any]) -> list[str]:
        stacks = [each for each in _series(found) if each["name"].startswith("memsweep")]
        counts = sorted({point["members"] for each in stacks for point in each["points"]})
        rates = [
            {point["members"]: significant(point["points_per_second"]) for point in each["points"]} for each in stacks
        ]
        names = [f"{each['case']}{each['name'].removeprefix('memsweep')}" for each in stacks]
        return table(("members", *names), [(str(count), *(each.get(count, "") for each in rates)) for count in counts])

    return _for_every_gpu(lines)


def updates() -> list[str]:
    """The time and the launches of an update, with and without CUDA graphs."""

    def lines(found: Mapping[str, Any]) -> list[str]:
        heads = ("update", "members", "µs", "without graphs", "µs of the host", "without graphs", "launches",
                 "without graphs")  # fmt: skip
        ways = [
            (each["name"].removeprefix("updates, "), point["members"], point["ways"]["graphs"], point["ways"]["eager"])
            for each in _series(found) if each["case"] == "updates" for point in each["points"]
        ]  # fmt: skip
        return table(
            heads,
            [
                (case, str(members),
                 *(significant(1e6 * way[name]) for name in ("seconds", "host_seconds") for way in both),
                 *(significant(way["launches"]) if way["launches"] else "" for way in both))
                for case, members, *both in ways
            ],
        )  # fmt: skip

    return _for_every_gpu(lines)


def convolutions() -> list[str]:
    """Return the milliseconds of one convolution, forward and backward, by its mechanism."""

    def lines(found: Mapping[str, Any]) -> list[str]:
        layers = [each for each in _series(found) if each["case"] == "convolution"]
        counts = sorted({point["members"] for each in layers for point in each["points"]})
        times = [
            {point["members"]: significant(1e3 * point["members"] / point["points_per_second"])
             for point in each["points"]} for each in layers
        ]  # fmt: skip
        return table(
            ("convolution", *(f"{count} members, ms" for count in counts)),
            [
                (each["name"], *(row.get(count, "") for count in counts))
                for each, row in zip(layers, times, strict=True)
            ],
        )

    return _for_every_gpu(lines)


def tests() -> list[str]:
    def lines(found: Mapping[str, Any]) -> list[str]:
        heads = ("test", "outcome", "measured")
        return table(
            heads,
            [
                (
                    f"`{test['test']}`".replace("|", " "),
                    test["outcome"],
                    ", ".join(f"{name}: {value:.2g}" for name, value in test["measured"].items()),
                )
                for test in found["tests"]
            ],
        )

    return _for_every_gpu(lines)


def _series(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    series: list[dict[str, Any]] = found["benchmark"].get("series", [])
    return series


def _for_every_gpu(lines: Callable[[Mapping[str, Any]], list[str]]) -> list[str]:
    parts: list[str] = []
    for path in sorted(RESULTS.glob("gpu-*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        gpu, about = found["gpu"], found["benchmark"].get("machine", {})
        parts += [
            f"{gpu['name']}, {gpu['multiprocessors']} multiprocessors, {gpu['bytes'] / 2**30:.0f} GiB, driver for CUDA "
            f"{gpu['cuda']}; torch {about.get('torch', 'unknown')}, commit {about.get('commit', 'unknown')}, "
            f"{about.get('date', 'unknown')}:",
            "",
            *lines(found),
            "",
        ]
    return parts[:-1] or NOTHING
