"""Orchestration: a sweep file becomes points, points become a plan, a plan is executed into a store.

Loggers are below `memsweep`, such as `memsweep.sweeps.execution.worker`, and silent unless a handler is added.
"""

import logging

logging.getLogger("memsweep").addHandler(logging.NullHandler())
