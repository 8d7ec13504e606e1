"""Registry of model families by name.

To add a family, define a `FAMILY` in its own module and list it in `FAMILIES`, or call `register_family`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from lightning_modules.errors import ModelError, choices
from lightning_modules.hashing import hash_of_code
from lightning_modules.models import convnet, linear, mlp, residual_mlp, resnet, transformer
from lightning_modules.models.family import Family
from lightning_modules.models.layers import Shape
from lightning_modules.models.user_model import ImportedFamily, import_family

if TYPE_CHECKING:
    from torch import nn

AnyFamily = Family | ImportedFamily

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        linear.FAMILY,
        mlp.FAMILY,
        residual_mlp.FAMILY,
        convnet.FAMILY,
        resnet.FAMILY,
        transformer.FAMILY,
    )
}


BUILT_IN = frozenset(FAMILIES)


def register_family(family: Family) -> None:
    """Register a family, so that sweeps can give its name as `model`. Its code is part of the ids of its points.

    Raises:
        ValueError: The name is taken or contains a colon.
    """
    if family.name in FAMILIES or ":" in family.name:
        raise ValueError(f"family {family.name!r} is registered already, or has a colon; taken: {', '.join(FAMILIES)}")
    FAMILIES[family.name] = family


@lru_cache(maxsize=256)
def _imported(model: str) -> ImportedFamily:
    return import_family(model)


def find(model: str) -> AnyFamily:
    """Look up a family by name, or import it from its path `package.module:function`.

    Raises ModelError("model", ...) if `model` is neither a name nor a path, or if the path cannot be imported.
    """
    if model in FAMILIES:
        return FAMILIES[model]
    if ":" in model:
        return _imported(model)
    raise ModelError("model", choices(model, [*FAMILIES, "package.module:function"], ordered=True))


def digest(model: str) -> str:
    """Hash the code of a family, for the ids of its points. Return "" for a built-in family.

    Raises:
        ModelError: See `find`.
    """
    family = find(model)
    if isinstance(family, Family):
        return "" if model in BUILT_IN else _digest_of(family.layout)
    return _digest_of(family.make)


_digest_of = lru_cache(maxsize=256)(hash_of_code)


def check(model: str, shape: Shape, classes: int, width: int | None, depth: int | None) -> AnyFamily:
    """Look up the family and check the arguments. Raises ModelError, which names the invalid setting."""
    family = find(model)
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise ModelError("model", f"given data of shape {shape}; valid are one to three axes, each at least 1")
    if classes < 1:
        raise ModelError("model", f"given {classes} classes; must be at least 1")
    for field, value, takes in (("width", width, family.takes_width), ("depth", depth, family.takes_depth)):
        if value is not None and not takes:
            raise ModelError(field, f"given {value} for {model}, which has no {field}; leave it out")
        if value is not None and value < 1:
            raise ModelError(field, f"given {value}; must be at least 1")
    return family


def build(model: str, shape: Shape, classes: int, width: int | None = None, depth: int | None = None) -> nn.Module:
    """Build a network as an ordinary module that maps [batch, *shape] to [batch, classes].

    A width or depth of None means the family's default. The initialisation is torch's default and uses torch's global
    generator, which the caller must seed. Dropout layers are `nn.Dropout`. Raises ModelError like `sizes.resolve`.
    """
    return check(model, shape, classes, width, depth).build(shape, classes, width, depth)
