from __future__ import annotations

import os

# MKL reads this at its first call: without it a matrix product's bits depend on where in memory the operands lie.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
