"""Registry of model families by name.

To add a family, define a `FAMILY` in its own module and list it in `FAMILIES`, or call `register_family`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from lightning_modules.errors import ModelError, choices
from lightning_modules.models import convnet, linear, mlp, residual_mlp, resnet, transformer
from lightning_modules.models.family import Family
from lightning_modules.models.layers import Shape
from lightning_modules.models.user_model import ImportedFamily, import_family
from lightning_modules.user_code import Code, CodeError, code_of

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


_codes: dict[str, Code] = {}
"""The code of each family from outside the package as this process last hashed it."""


def digest(model: str) -> str:
    """Hash the code of a family, for the ids of its points. Return "" for a built-in family.

    Raises:
        ModelError: See `find`. A file was edited after this process imported it.
    """
    if model in BUILT_IN:
        return ""
    family = find(model)
    try:
        module = model.partition(":")[0] if ":" in model else ""
        code = code_of(family.layout if isinstance(family, Family) else family.make, module)
    except CodeError as error:
        raise ModelError("model", f"{model}: {error}") from None
    _codes[model] = code
    return code.digest


def files(model: str) -> Mapping[str, str]:
    """Return the hash of each file of a family's code as `digest` hashed them last; nothing for a built-in family."""
    return _codes[model].files if model in _codes else {}


def modules(model: str) -> Mapping[str, str]:
    """Return the user's modules that `digest` hashed for a model, each with its file."""
    return _codes[model].modules if model in _codes else {}


def verify(model: str, planned: str, files: Mapping[str, str]) -> None:
    """Check that this process would train the code of a plan, however the files were edited since.

    Args:
        planned: The digest of the plan's code.
        files: The files of the plan's code, for the message.

    Raises:
        ModelError: The code that this process has imported, or would import, is other code.
    """
    if model in BUILT_IN:
        return
    if model not in _codes:
        digest(model)
    code = _codes[model]
    if code.digest != planned:
        edited = ", ".join(code.differing(files)) if files else "its code"
        raise ModelError("model", f"{model}: {edited} changed after the run was planned; run the same command again")
    try:
        code.verify_loaded()
    except CodeError as error:
        raise ModelError("model", f"{model}: {error}") from None


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
