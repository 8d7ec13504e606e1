"""Generator of hostile sweep files and `--set` strings, and the examination of what memsweep answers to them.

Valid presets are mutated in their structure and in their bytes. Each case must be accepted or refused with a short
message, within seconds and a bounded memory; anything else raises.

Usage: python -m tests.sweeps.spec.hostile SEED COUNT    prints how many cases were answered how, as JSON
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from memsweep.inputs import load_sweep

from analysis.figures.parsing import figures_of
from lightning_modules.errors import MemsweepError
from sweeps.planning.explain import explain, summary
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep, settable
from sweeps.spec.sweep_source import PRESETS
from tests.peak_memory import peak_bytes
from tests.sweeps.spec.hostile_values import ODD, RAW, TEXTS, VALID, bomb

CPU_SECONDS = 10
LONGEST_MESSAGE = 2000
MEMORY = 2**30
FEW_POINTS = 2000
"""The maximum number of points of a sweep that is also packed into cohorts."""


@dataclass(frozen=True)
class Case:
    kind: str
    text: bytes
    settings: tuple[str, ...] = ()


class Generator:
    """Generates cases from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.texts = [path.read_text() for path in sorted(PRESETS.glob("*.yaml"))]
        self.kinds: list[Callable[[], Case]] = [self.structure, self.structure, self.raw, self.bytes, self.setting]

    def cases(self, count: int) -> Iterator[Case]:
        for _ in range(count):
            yield self.random.choice(self.kinds)()

    def odd(self) -> Any:
        """Return an odd value, which is sometimes nested or repeated."""
        value = self.random.choice(ODD)
        match self.random.randrange(12):
            case 0:
                return [value] * self.random.choice([1, 2, 3, 1000])
            case 1:
                return [value, self.odd()]
            case 2:
                return {self.key(): value, self.key(): self.odd()}
            case 3:
                for _ in range(self.random.choice([2, 5, 18, 30, 60])):
                    value = [value] if self.random.random() < 0.7 else {self.key(): value}
        return value

    def valid(self, field: str) -> Any:
        """Return a value that a field can have, often an extreme one, or an axis of such values."""
        values = VALID[field]
        match self.random.randrange(4):
            case 0:
                return self.random.sample(values, self.random.randint(1, min(3, len(values))))
            case 1 if 1 in values and 2 in values:
                return self.random.choice(["1..2", "1..3", "2..40", "1..1000", "1..30000"])
        return self.random.choice(values)

    def key(self) -> Any:
        return self.random.choice(
            [*settable(), "kind", "x", "where", "metric", "scheduler", *TEXTS[:40], None, 7, True]
        )

    def structure(self) -> Case:
        """Mutate the content of a preset at one to three places."""
        content = yaml.safe_load(self.random.choice(self.texts))
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            if self.random.random() < 0.5:
                self._mutate(content)
                continue
            field = self.random.choice(settable())
            value = self.valid(field)
            is_axis = isinstance(value, list) or (isinstance(value, str) and ".." in value)
            for key in ("fixed", "grid"):
                if isinstance(content.get(key), dict):
                    content[key].pop(field, None)
            if isinstance(content.get("grid" if is_axis else "fixed"), dict):
                content["grid" if is_axis else "fixed"][field] = value
        wide = self.random.random() < 0.3
        return Case("structure", _dumped(content, default_flow_style=wide, allow_unicode=self.random.random() < 0.5))

    def _mutate(self, content: Any) -> None:
        places = [*_places(content)]
        parent, key = self.random.choice(places)
        match self.random.randrange(8):
            case 0 | 1 | 2:
                parent[key] = self.odd()
            case 3:
                del parent[key]
            case 4 if isinstance(parent, dict):
                parent[self.key()] = parent.pop(key)
            case 5 if isinstance(parent, dict):
                parent[self.key()] = self.odd()
            case 6:  # an alias to another place, which may contain this one
                other, name = self.random.choice(places)
                parent[key] = other[name]
            case _:
                parent[key] = [parent[key]] * self.random.choice([1, 2, 5])

    def raw(self) -> Case:
        """Put YAML that no dumper writes in the place of a value, or of a line."""
        lines = self.random.choice(self.texts).splitlines()
        place = self.random.randrange(len(lines))
        odd = self.random.choice([*RAW, bomb(3), bomb(11), bomb(60), "x" * 300_000, "[" + "1, " * 60_000 + "1]"])
        match self.random.randrange(4):
            case 0:
                lines[place] = odd
            case 1:
                lines.insert(place, odd)
            case 2:
                lines[place] = lines[place].partition(":")[0] + ": " + odd
            case _:
                first, colon, rest = lines[place].rpartition(self.random.choice([": ", "[", ", "]))
                lines[place] = first + colon + odd + rest[self.random.randrange(4) :]
        return Case("raw YAML", "\n".join(lines).encode("utf-8", "surrogatepass"))

    def bytes(self) -> Case:
        """Change, remove, insert, repeat or move bytes of a preset."""
        text = bytearray(self.random.choice(self.texts).encode())
        for _ in range(self.random.choice([1, 1, 2, 5, 30])):
            start = self.random.randrange(max(len(text), 1))
            end = start + self.random.choice([1, 1, 2, 8, 40])
            match self.random.randrange(6):
                case 0:
                    text[start : start + 1] = bytes([self.random.randrange(256)])
                case 1:
                    del text[start:end]
                case 2:
                    text[start:start] = self.random.choice(b"\t\n :,-[]{}&*!|>'\"%@`#?~\x00\x7f\x85\xff").to_bytes(
                        1, "big"
                    )
                case 3:
                    text[start:start] = text[start:end] * self.random.choice([1, 3, 100])
                case 4:
                    place = self.random.randrange(max(len(text), 1))
                    text[place:place] = text[start:end]
                case _ if self.random.random() < 0.2:
                    del text[start:]
        return Case("bytes", bytes(text))

    def setting(self) -> Case:
        """Set one to three fields of a preset to odd values."""
        settings = []
        for _ in range(self.random.choice([1, 1, 2, 3])):
            field = self.random.choice([*settable(), "seed", "depth", "epochs", self.random.choice(TEXTS)])
            given = self.valid(field) if field in VALID and self.random.random() < 0.7 else self.odd()
            value = _dumped(given, default_flow_style=True, width=10**6).decode().removesuffix("...\n").strip()
            if self.random.random() < 0.2:
                value = self.random.choice([*RAW, bomb(11)])
            settings.append(
                self.random.choice([f"{field}={value}"] * 9 + [f"{field}", f"={value}", f"{field}=={value}"])
            )
        return Case("--set", self.random.choice(self.texts).encode(), tuple(settings))


def _dumped(content: Any, **options: Any) -> bytes:
    text: str = yaml.dump(content, Dumper=yaml.SafeDumper, sort_keys=False, **options)
    return text.encode("utf-8", "surrogatepass")


def _places(content: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of each value, up to some depth, because content can contain itself."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in [*items][:50]:
        yield content, key
        if depth < 5:
            yield from _places(value, depth + 1)


def answer(case: Case, file: Path) -> str:
    """Return how memsweep answers a case. Raise AssertionError for a long message, and any error but its own."""
    file.write_bytes(case.text)
    try:
        sweep = load_sweep(str(file), case.settings)
        figures_of(sweep)
        again = parse_sweep(sweep.definition(), sweep.source)
        assert again.definition() == sweep.definition(), "the definition of a sweep must give the same sweep"
    except MemsweepError as error:
        return f"refused when read: {_checked(error, file)}"
    try:
        points = sweep.points()
        if len(points) <= FEW_POINTS:
            plan = Plan.of(sweep)
            assert plan.cohorts
            assert json.dumps(summary(plan))
            assert explain(plan)
    except MemsweepError as error:
        return f"refused when planned: {_checked(error, file)}"
    return "accepted"


def _checked(error: MemsweepError, file: Path) -> str:
    """Check that a message is short and can be printed on a line, and return its first words after the source."""
    message = str(error)
    assert len(message) <= LONGEST_MESSAGE, f"a message of {len(message):,} characters"
    assert len(message.splitlines()) == 1, f"a message of {len(message.splitlines())} lines"
    return message.replace(str(file), "FILE")


class HangError(BaseException):
    """An alarm, which is no Exception because code under test catches those."""


@contextlib.contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Raise HangError in this thread after some seconds of processor time."""

    def ring(*_: object) -> None:
        raise HangError(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def examine(cases: Iterator[Case], file: Path) -> tuple[Counter[str], list[str]]:
    """Answer all cases. Return how many of each kind were accepted and refused, and the cases that went wrong."""
    counts: Counter[str] = Counter()
    faults = []
    for case in cases:
        try:
            with watchdog(CPU_SECONDS):
                answered = answer(case, file).partition(":")[0]
        except (Exception, HangError) as error:
            answered = "wrong"
            faults.append(f"{type(error).__name__}: {str(error)[:300]} for {case.settings} of {case.text[:3000]!r}")
        counts[f"{case.kind}: {answered}"] += 1
    return counts, faults


def main(seed: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        counts, faults = examine(Generator(seed).cases(count), Path(folder) / "hostile.yaml")
    peak = peak_bytes()
    print(json.dumps({"counts": dict(sorted(counts.items())), "faults": faults, "peak": peak}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
