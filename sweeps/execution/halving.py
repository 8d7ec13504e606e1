"""Halving: a cohort that raises an error is trained again as two halves, until only the members that raise alone fail.

If many members raise alone for one reason and none trains, the reason is most likely the same for all, such as a
mistake in a model. The rest of the cohort is then not tried, and stays missing in the store.
"""

from __future__ import annotations

import logging
import math
import re

from sweeps.execution.defaults import FAILURE_SHARE, FEWEST_FAILURES, SAME_REASON
from sweeps.planning.plan import Cohort

_log = logging.getLogger(f"memsweep.{__name__}")


def most_failures(trainings: int, given: int | None) -> int:
    """Return the number of failed trainings after which a run of this many trainings starts no further cohort."""
    return given or max(FEWEST_FAILURES, math.ceil(FAILURE_SHARE * trainings))


def halves(cohort: Cohort) -> tuple[Cohort, Cohort]:
    middle = len(cohort.members) // 2
    return cohort.part(cohort.members[:middle]), cohort.part(cohort.members[middle:])


def kind_of(reason: str) -> str:
    """Return the first line of a reason without its numbers, such as sizes and addresses, which differ by member."""
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", reason.partition("\n")[0])


class Halving:
    """The failures of the members of one cohort.

    Args:
        given: the number of failures after which the run stops, if the user has chosen one. As many members of a cohort
            are then tried.
    """

    def __init__(self, given: int | None = None) -> None:
        self._patience = given or SAME_REASON
        self._reasons: list[str] = []
        self._any_trained = False
        self._told = False

    @property
    def is_hopeless(self) -> bool:
        """Whether so many members have failed alone for one reason, and none has trained, that no other is tried."""
        return not self._any_trained and len(self._reasons) >= self._patience and len({*self._reasons}) == 1

    def trained(self) -> None:
        """Record that a member of the cohort has trained."""
        self._any_trained = True

    def failed(self, reason: str) -> None:
        """Record that a member has raised an error alone."""
        self._reasons.append(kind_of(reason))

    def split(self, cohort: Cohort, reason: str) -> tuple[Cohort, Cohort]:
        """Return the halves of a cohort, with its members in the order of their ids.

        Ids are hashes, so the first members that are tried alone are a random sample of the cohort. Neighbours of the
        plan's order may share the one value of an axis that raises.
        """
        level = logging.INFO if self._told else logging.WARNING
        self._told = True
        _log.log(level, "%s: %s; training it again as two halves", cohort, reason.partition("\n")[0])
        return halves(cohort.part(sorted(cohort.members, key=lambda member: member.id)))
