"""Networks of every size: families, their sizes without torch, and their modules.

`resolve` says what a parameter count or a width comes to, `build` makes it.
"""

from lightning_modules.models.families import FAMILIES, build, find
from lightning_modules.models.family import Family
from lightning_modules.models.sizes import Resolved, resolve

__all__ = ["FAMILIES", "Family", "Resolved", "build", "find", "resolve"]
