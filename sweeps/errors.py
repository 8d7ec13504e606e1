"""The errors of this package. Their messages are written for users.

MemsweepError       see `lightning_modules.errors`
├── SweepError      a sweep file, preset name or --set that is not valid; names the file, key, value and valid values
├── StoreError      a store that cannot be opened, read or written
├── ExportError     a table, figure or page that cannot be written
├── ReplayError     recorded curves on which a scheduler cannot be replayed
├── PluginError     a plug-in that cannot be imported
└── ExecutionError  workers that cannot be started, are permanently lost, or have other code or data than was planned
"""

from __future__ import annotations

from lightning_modules.errors import MemsweepError, shortened


class SweepError(MemsweepError):
    """A sweep that is not valid or cannot be trained.

    Attributes:
        source: the file, preset or option.
        key: the key in the source, such as `grid.label_noise`; empty if the whole source is wrong.
        problem: the given value and the valid values.
    """

    def __init__(self, source: str, key: str, problem: str) -> None:
        # A source is a path or an option, and a key can contain text of the file: both may be any text.
        source, key, problem = (
            shortened(" ".join(text.splitlines()), length)
            for text, length in ((source, 300), (key, 200), (problem, 1400))
        )
        super().__init__(": ".join(part for part in (source, key, problem) if part))
        self.source, self.key, self.problem = source, key, problem

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.source, self.key, self.problem)


class StoreError(MemsweepError):
    pass


class ExportError(MemsweepError):
    pass


class ReplayError(MemsweepError):
    pass


class PluginError(MemsweepError):
    pass


class ExecutionError(MemsweepError):
    pass


OF_THE_RUN = (StoreError, ExecutionError)
"""The errors of a worker that end the run, and are not recorded as the outcome of a training."""
