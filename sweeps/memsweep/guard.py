"""The console script, which checks that no other package shadows memsweep's packages before it imports them.

`sweeps`, `analysis` and `lightning_modules` are common words: another distribution, or a folder on PYTHONPATH, may have
a package with the same name, and Python would import that one without a warning.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {"sweeps": "planning", "lightning_modules": "training", "analysis": "figures"}
"""For each package, a subpackage that identifies it as memsweep's."""


def foreign_packages() -> list[str]:
    """Return an error message for each of memsweep's packages that Python would import from elsewhere."""
    problems = []
    for name, subpackage in PACKAGES.items():
        spec = find_spec(name)
        folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
        if not folders or not (folders[0] / subpackage).is_dir():
            where = folders[0] if folders else (spec.origin if spec else "nowhere")
            problems.append(f"package {name!r} is found at {where}, which is not memsweep's")
    return problems


def check_packages() -> None:
    """Raise ImportError if Python would import one of memsweep's packages from elsewhere."""
    problems = foreign_packages()
    if problems:
        raise ImportError(
            f"{'; '.join(problems)}. Uninstall what shadows it, or take its folder off PYTHONPATH "
            f"(now: {os.environ.get('PYTHONPATH', '')}); valid: memsweep in an environment of its own"
        )


def main() -> None:
    """Run the command line. If something of memsweep cannot be imported, print the reason and exit with code 2."""
    try:
        check_packages()
        if sys.argv[1:2] == ["run"] and not {"--inline", "--help"} & {*sys.argv}:  # which may train on Ray
            from sweeps.execution.supervision import supervise

            supervise(_command_line)
        _command_line()
    except ImportError as error:
        print(f"error: {_reason(error)}", file=sys.stderr)
        sys.exit(2)


def _command_line() -> None:
    for name in PACKAGES:
        import_module(name)  # before the command line appends the user's folder to sys.path
    from memsweep.cli import main as run

    run()


def _reason(error: ImportError) -> str:
    if error.name is None:
        return str(error)
    return f"memsweep is not installed completely: {error}; install it again: pip install --force-reinstall memsweep"
