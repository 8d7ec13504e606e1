"""Data sets that are missing here, but whose digest and facts are known from elsewhere, such as a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from lightning_modules.data.dataset import Facts
from lightning_modules.errors import MissingDataError


@dataclass(frozen=True)
class Identity:
    """All that is known of a data set without its examples: the digest for the ids of points, and its facts."""

    digest: str
    facts: Facts


known: dict[str, Facts] = {}
"""Digest -> facts, for all data sets that this process has identified in spite of their being missing."""

Recall = Callable[[str, MissingDataError], Identity | None]


@dataclass(frozen=True)
class _Scope:
    recall: Recall
    found: dict[str, Identity]


_scope: ContextVar[_Scope | None] = ContextVar("recalled", default=None)


@contextmanager
def recalling(recall: Recall) -> Iterator[dict[str, Identity]]:
    """Yield a dictionary of the data sets that turn out to be missing in this block, which `recall` identifies.

    Within the block, `facts` and `content_digest` of such a data set return what `recall` knows. Loading still fails.

    Args:
        recall: Returns the identity of the data set with a name, or None for the given error to be raised.
    """
    scope = _Scope(recall, {})
    token = _scope.set(scope)
    try:
        yield scope.found
    finally:
        _scope.reset(token)


def found(name: str) -> Identity | None:
    """Return the identity of a data set if it was missing before in this block."""
    scope = _scope.get()
    return scope.found.get(name) if scope else None


def find(name: str, error: MissingDataError) -> Identity:
    """Return the identity of a data set that is missing. Raises the error if nothing is known of the data set."""
    scope = _scope.get()
    identity = scope.recall(name, error) if scope else None
    if scope is None or identity is None:
        raise error
    known[identity.digest] = identity.facts
    return scope.found.setdefault(name, identity)
