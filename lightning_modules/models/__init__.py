"""Model families: the sizes of their networks, which are computed without torch, and the modules.

`resolve` turns a parameter count or a width into a size, and `build` creates the module.
"""

from lightning_modules.models.families import FAMILIES, build, find
from lightning_modules.models.family import Family
from lightning_modules.models.sizes import Resolved, resolve

__all__ = ["FAMILIES", "Family", "Resolved", "build", "find", "resolve"]
