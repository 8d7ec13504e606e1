"""The console script. Checks that memsweep's packages are memsweep's own before it imports one of them.

`sweeps`, `analysis` and `lightning_modules` are common words: another distribution, or a folder on PYTHONPATH, may hold
a package of the same name, and Python would run that one without a word.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {"sweeps": "planning", "lightning_modules": "training", "analysis": "figures"}
"""Each package, with a room by which it is known to be ours."""


def foreign_packages() -> list[str]:
    """A sentence for each package that Python would take from elsewhere."""
    problems = []
    for name, known_by in PACKAGES.items():
        spec = find_spec(name)
        places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
        if not places or not (places[0] / known_by).is_dir():
            where = places[0] if places else (spec.origin if spec else "nowhere")
            problems.append(f"package {name!r} is found at {where}, which is not memsweep's")
    return problems


def check_packages() -> None:
    """Raise ImportError, in one sentence, if Python would take a package from elsewhere."""
    problems = foreign_packages()
    if problems:
        raise ImportError(
            f"{'; '.join(problems)}. Uninstall what shadows it, or take its folder off PYTHONPATH "
            f"(now: {os.environ.get('PYTHONPATH', '')}); valid: memsweep in an environment of its own"
        )


def main() -> None:
    """Run the command line, or say in one sentence why it cannot be run."""
    try:
        check_packages()
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for name in PACKAGES:
        import_module(name)  # now, before the command line adds the user's folder to the places to import from
    from memsweep.cli import main as run

    run()
