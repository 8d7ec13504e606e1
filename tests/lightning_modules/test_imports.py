"""What planning asks of the science of training is answered without a heavy library."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ["torch", "pyarrow", "sklearn", "scipy", "mnist1d", "datasets", "PIL", "kornia", "ray", "pandas", "sweeps"]
STEPS = {
    "from lightning_modules.measures import catalogue": [],
    "from lightning_modules.data import sources, corruption, applicability\n"
    "for name in sources.BUILT_IN: sources.facts(name)": [],
    "from lightning_modules.models import FAMILIES, build, resolve\n"
    "for name in FAMILIES: resolve(name, (1, 8, 8), 10)": [],
    "build('linear', (40,), 10)": ["torch"],
    "import lightning_modules.data.augmentation": ["torch"],
}
"""Code -> the heavy libraries that are loaded after it, in one process that runs all of it."""


def test_a_library_is_loaded_when_it_is_needed():
    program = "import json, sys\n"
    for code in STEPS:
        program += f"{code}\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()] == list(STEPS.values())
