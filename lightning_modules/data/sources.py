"""Registry of data sources: load a data set, or its sizes and digest, by name.

To add a source, define a function that returns a Dataset in its own module, and add an entry to BUILT_IN or OUTSIDE, or
call `register_source`. Planning imports this module, so the functions of a source must import the libraries that
they need locally.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from lightning_modules.data import builtin, files, hub, recalled, user_function
from lightning_modules.data.border import reading
from lightning_modules.data.cached import through_cache, versions
from lightning_modules.data.dataset import Dataset, Facts
from lightning_modules.errors import DataError, MissingDataError, choices, did_you_mean
from lightning_modules.hashing import hash_of_code, hash_of_text
from lightning_modules.settings import DEFAULTS, FIELDS
from lightning_modules.user_code import code_of

__all__ = ["Dataset", "Facts", "Reference", "content_digest", "facts", "load", "reference", "register_source"]

Reference = tuple[Any, ...]
"""The identity of a data set: the value of the field `data`, then the values of the fields that its source reads."""


@dataclass(frozen=True)
class BuiltIn:
    """A source with a fixed name, whose facts are known without loading.

    Attributes:
        facts: The sizes, shape and classes of the data.
        load: Returns the data set. Like `check`, it is called with the values of `fields`.
        fields: The fields of a training that the data depends on, besides `data`.
        check: Raises DataError for invalid values.
        digest: The digest of the source's name and code, for a point's id; "" for a source of this package.
        made_by: The packages that make the data. If there are any, the data are kept in the cache, under their
            versions and the code of `load`.
    """

    facts: Facts
    load: Callable[..., Dataset]
    fields: tuple[str, ...] = ()
    check: Callable[..., None] = lambda *values: None
    digest: str = ""
    made_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outside:
    """A source of data from outside the package, `prefix:argument`.

    Attributes:
        argument: The word for the argument in messages.
        load: Returns the data set for an argument.
        digest: Returns the hash of the content of an argument's data set, which is part of a point's id.
        recipe: Returns a text that names everything on which the data depend, under which they are kept in the cache.
            None for data that are not kept.
    """

    argument: str
    load: Callable[[str], Dataset]
    digest: Callable[[str], str]
    recipe: Callable[[str], str] | None = None


BUILT_IN: dict[str, BuiltIn] = {
    "mnist1d": BuiltIn(builtin.MNIST1D_FACTS, builtin.mnist1d, made_by=("mnist1d", "numpy", "scipy")),
    "mnist1d_16k": BuiltIn(builtin.MNIST1D_16K_FACTS, builtin.mnist1d_16k, made_by=("mnist1d", "numpy", "scipy")),
    "digits": BuiltIn(builtin.DIGITS_FACTS, builtin.digits, made_by=("scikit-learn", "numpy")),
    "clusters": BuiltIn(builtin.CLUSTERS_FACTS, builtin.clusters, ("complexity",), builtin.check_clusters),
}

OUTSIDE: dict[str, Outside] = {
    "parquet": Outside("PATH", files.parquet, files.parquet_digest, files.parquet_recipe),
    "hub": Outside("NAME", hub.hub, hub.hub_digest),
}
_latest: dict[str, str] = {}
"""Name -> the digest that was found last, so that no facts are kept of what the data were before."""
IMPORTED = Outside("", user_function.imported, user_function.imported_digest)
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def register_source(
    name: str,
    load: Callable[..., Dataset],
    *,
    facts: Facts | None = None,
    fields: tuple[str, ...] = (),
    digest: Callable[[str], str] | None = None,
) -> None:
    """Add a source of data under a name that the field `data` may have.

    Args:
        name: The name, or the prefix in `name:argument` if `digest` is given.
        load: Returns the data set. It is called with the values of `fields`, or with the argument.
        facts: Sizes, shape and classes, which are known without loading. Required unless `digest` is given.
        fields: The fields of a training that the data depends on, such as a field that you registered.
        digest: Returns the hash of the content of an argument's data set, which is part of a point's id.

    Raises:
        ValueError: The name is taken or has a colon, a field is unknown, or neither or both of facts and digest are
            given.
    """
    if name in BUILT_IN or name in OUTSIDE or ":" in name:
        raise ValueError(f"source {name!r} is registered already or has a colon; registered: {', '.join(forms())}")
    if unknown := [field for field in fields if field not in FIELDS]:
        raise ValueError(f"source {name!r} reads {choices(unknown[0], FIELDS)}")
    if facts is not None and digest is None:
        BUILT_IN[name] = BuiltIn(facts, load, fields, digest=hash_of_text(f"{name}:{code_of(load).digest}"))
    elif digest is not None and facts is None and not fields:
        OUTSIDE[name] = Outside("ARGUMENT", load, digest)
    else:
        raise ValueError("give facts (and fields) for a source of one name, or digest for one of many")


def forms() -> tuple[str, ...]:
    """Return every valid form of a data set's name."""
    outside = (f"{prefix}:{source.argument}" for prefix, source in OUTSIDE.items())
    return *BUILT_IN, *outside, "package.module:function"


def fields_read(data: str) -> tuple[str, ...]:
    """Return the fields besides `data` that the data set of this name depends on."""
    return BUILT_IN[data].fields if data in BUILT_IN else ()


def all_fields_read() -> tuple[str, ...]:
    """Return the fields besides `data` that any source reads."""
    return tuple(dict.fromkeys(name for source in BUILT_IN.values() for name in source.fields))


def _defaults(data: str) -> tuple[Any, ...]:
    return tuple(DEFAULTS[name] for name in fields_read(data))


def reference(settings: Any) -> Reference:
    """Return the arguments for `facts` and `load` that identify the data set of a training."""
    return settings.data, *(getattr(settings, name) for name in fields_read(settings.data))


def facts(name: str, *values: Any) -> Facts:
    """Return the sizes, input shape and number of classes of a data set.

    Nothing is loaded for a built-in source. Any other source is loaded in full, once per process, so that unreadable
    data is refused before training starts. For data that are missing, see `recalling`.

    Args:
        name: The value of the field `data`.
        values: The values of the fields that the source reads. If there are none, the defaults are used.

    Raises:
        DataError: See `load`.
    """
    if identity := recalled.found(name):
        return identity.facts
    try:
        return loaded_facts(name, _latest.get(name, ""), *values)
    except MissingDataError as error:
        return recalled.find(name, error).facts


@lru_cache(maxsize=1024)
def loaded_facts(name: str, digest: str, *values: Any) -> Facts:
    """Return the facts of a data set whose content has this digest, if it is known."""
    if name in BUILT_IN:
        BUILT_IN[name].check(*(values or _defaults(name)))
        return BUILT_IN[name].facts
    return load(name).facts


def load(name: str, *values: Any) -> Dataset:
    """Load a data set. The arguments are those of `facts`. A process that calls this again loads the data again.

    Data that take long to make are read from files of the cache folder (see `cached`).

    Raises:
        DataError: The name matches none of `forms()`, or the data is missing, unreadable or invalid.
    """
    if name in BUILT_IN:
        built_in, values = BUILT_IN[name], values or _defaults(name)
        build = partial(built_in.load, *values)
        if not built_in.made_by:
            return build()
        recipe = f"{name} {values} {hash_of_code(built_in.load)} {versions(*built_in.made_by)}"
        return through_cache(lambda: recipe, build)
    source, argument = _outside(name)
    build = partial(source.load, argument)
    with reading(name):
        return through_cache(partial(source.recipe, argument), build) if source.recipe else build()


def load_planned(settings: Any) -> Dataset:
    """Load the data set of a training, and check that its content is what the training's id says.

    Raises:
        DataError: See `load`. The data changed after `content_digest` was called for the plan.
    """
    name = settings.data
    dataset = load(*reference(settings))
    if name in BUILT_IN:
        return dataset
    source, _ = _outside(name)
    found = dataset.digest() if source is IMPORTED else content_digest(name)
    if found != settings.data_digest:
        raise DataError("data", f"{name} changed after the run was planned; run the same command again")
    return dataset


def content_digest(name: str) -> str:
    """Hash the content of data from outside the package (20 hexadecimal digits); "" for a source of this package.

    The digest does not depend on where the data is stored or on how it is compressed or partitioned. The data are read
    again if their files have changed since the last call, but images are not decoded. For a registered source with a
    fixed name, its name and code are hashed. For data that are missing, see `recalling`.

    Raises:
        DataError: See `load`.
    """
    if name in BUILT_IN:
        return BUILT_IN[name].digest
    if identity := recalled.found(name):
        return identity.digest
    source, argument = _outside(name)
    try:
        with reading(name):
            _latest[name] = source.digest(argument)
    except MissingDataError as error:
        return recalled.find(name, error).digest
    return _latest[name]


def _outside(name: str) -> tuple[Outside, str]:
    prefix, colon, argument = name.partition(":")
    if colon and prefix in OUTSIDE:
        if not argument:
            raise DataError("data", f"given {name!r}, which names nothing; valid are {', '.join(forms())}")
        return OUTSIDE[prefix], argument
    if IMPORT_PATH.fullmatch(name):
        return IMPORTED, name
    hint = did_you_mean(prefix, [*BUILT_IN, *OUTSIDE]) or ";"
    raise DataError("data", f"given {name!r}{hint} valid: {', '.join(forms())}")
