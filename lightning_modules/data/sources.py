"""Where data comes from: one table of sources, and what is asked of each.

A new source is one file with a function that returns a Dataset, and a line in BUILT_IN or OUTSIDE. Planning imports
this module, so the libraries that a source reads with are imported by its functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from lightning_modules.data import builtin, files, hub, user_function
from lightning_modules.data.dataset import Dataset, Facts
from lightning_modules.errors import DataError, did_you_mean

__all__ = ["FORMS", "Dataset", "Facts", "content_digest", "facts", "load"]


@dataclass(frozen=True)
class BuiltIn:
    """A source that comes with memsweep: its facts are known without loading."""

    facts: Facts
    load: Callable[[int], Dataset]
    """Takes the complexity."""
    check: Callable[[int], None] = lambda complexity: None
    """Raises DataError for a complexity that cannot be."""


@dataclass(frozen=True)
class Outside:
    """A source from outside the package, `prefix:argument`: its content is part of a point's id."""

    load: Callable[[str], Dataset]
    digest: Callable[[str], str]


BUILT_IN: dict[str, BuiltIn] = {
    "mnist1d": BuiltIn(builtin.MNIST1D_FACTS, lambda complexity: builtin.mnist1d()),
    "mnist1d_16k": BuiltIn(builtin.MNIST1D_16K_FACTS, lambda complexity: builtin.mnist1d_16k()),
    "digits": BuiltIn(builtin.DIGITS_FACTS, lambda complexity: builtin.digits()),
    "clusters": BuiltIn(builtin.CLUSTERS_FACTS, builtin.clusters, builtin.check_clusters),
}


OUTSIDE: dict[str, Outside] = {
    "parquet": Outside(files.parquet, files.parquet_digest),
    "hub": Outside(hub.hub, hub.hub_digest),
}
IMPORTED = Outside(user_function.imported, user_function.imported_digest)
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

FORMS = (*BUILT_IN, "parquet:PATH", "hub:NAME", "package.module:function")
"""Every valid form of a data set's name."""


@lru_cache(maxsize=1024)
def facts(name: str, complexity: int = 1) -> Facts:
    """Sizes, shape and classes. Free for a built-in source; loads any other, once in a process.

    Loading in full is what tells that the data can be read before anything is trained on it. Raises DataError.
    """
    if name in BUILT_IN:
        BUILT_IN[name].check(complexity)
        return BUILT_IN[name].facts
    source, argument = _outside(name)
    return source.load(argument).facts


def load(name: str, complexity: int = 1) -> Dataset:
    """The data set of this name, read anew at every call. `complexity` is read by `clusters` alone.

    Raises DataError("data") for a name that is none of FORMS, or data that cannot be had, read or used.
    """
    if name in BUILT_IN:
        return BUILT_IN[name].load(complexity)
    source, argument = _outside(name)
    return source.load(argument)


def content_digest(name: str) -> str:
    """20 hexadecimal digits of the content of data from outside the package; empty for a built-in source.

    Independent of where the data lies and how it is compressed or partitioned. Reads the data at every call, but does
    not decode images. Raises DataError.
    """
    if name in BUILT_IN:
        return ""
    source, argument = _outside(name)
    return source.digest(argument)


def _outside(name: str) -> tuple[Outside, str]:
    prefix, colon, argument = name.partition(":")
    if colon and prefix in OUTSIDE:
        if not argument:
            raise DataError("data", f"given {name!r}, which names nothing; valid are {', '.join(FORMS)}")
        return OUTSIDE[prefix], argument
    if IMPORT_PATH.fullmatch(name):
        return IMPORTED, name
    hint = did_you_mean(prefix, [*BUILT_IN, *OUTSIDE]) or ";"
    raise DataError("data", f"given {name!r}{hint} valid: {', '.join(FORMS)}")
