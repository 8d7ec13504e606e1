"""Provoke the errors in errors.txt, and write their messages there.

errors.txt has one paragraph per error: the sweep file `s.yaml`, if there is one, a command, and the message, which
`python -P tests/messages/texts.py --write` writes again, or for the first time.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent))

from memsweep import cli
from memsweep.testing import make_record

from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import load_sweep
from sweeps.store.store import Store
from tests.messages.bad_files import make_files

TEXTS = Path(__file__).parent / "errors.txt"
SMALL = """name: small
fixed: {data: digits, depth: 1, width: 4}
grid: {label_noise: [0, 0.5], seed: [0, 1], epochs: [1, 2]}
"""


@dataclass(frozen=True)
class Case:
    """An error: the text of a sweep file (or none), the command, and the message (or none yet)."""

    sweep: str
    command: str
    message: str = ""

    @staticmethod
    def of(paragraph: str) -> Case:
        *sweep, command, message = [*paragraph.splitlines(), *([] if "\nerror: " in paragraph else [""])]
        return Case("".join(sweep).removeprefix("sweep: "), command.removeprefix("$ "), message)

    def paragraph(self) -> str:
        return "\n".join([*([f"sweep: {self.sweep}"] if self.sweep else []), f"$ {self.command}", self.message])


def paragraphs() -> list[str | Case]:
    """Return the headings and the cases of the file, in order."""
    parts = TEXTS.read_text().strip().split("\n\n")
    return [part if part.startswith("# ") else Case.of(part) for part in parts]


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Work in a folder with a small sweep, which is trained, and with the files that the cases name."""
    here, path, cache = os.getcwd(), [*sys.path], os.environ.get("MEMSWEEP_CACHE")
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["MEMSWEEP_CACHE"] = f"{name}/cache"
        try:
            Path("small.yaml").write_text(SMALL)
            make_files(Path(name))
            Store("results").append(
                [make_record(training.id, training.evaluated, **training.settings.model_dump(exclude_unset=True))
                 for training in Plan.of(load_sweep("small.yaml")).trainings]
            )  # fmt: skip
            yield Path(name)
        finally:
            os.chdir(here)
            sys.path[:] = path
            os.environ.pop("MEMSWEEP_CACHE")
            if cache is not None:
                os.environ["MEMSWEEP_CACHE"] = cache


def provoked(case: Case, at: Path) -> str:
    """Run the command of a case in the folder, and return its message with the folder's name replaced."""
    if case.sweep:
        Path("s.yaml").write_text(case.sweep)
    said, sys.argv = io.StringIO(), shlex.split(case.command)
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main()
            code: object = 0
        except SystemExit as end:
            code = end.code
    message = said.getvalue().rstrip("\n").replace(str(at), "FOLDER")
    message = re.sub(r"/[^\s;:']*/site-packages", "SITE-PACKAGES", message)
    return message if code == 2 else f"error: none, but exit code {code}: {message}"


def main() -> None:
    with folder() as at:
        parts = [part if isinstance(part, str) else Case(part.sweep, part.command, provoked(part, at)).paragraph()
                 for part in paragraphs()]  # fmt: skip
    TEXTS.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__" and "--write" in sys.argv:
    main()
