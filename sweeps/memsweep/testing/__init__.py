"""Fakes for tests of code that uses memsweep, and test suites for custom executors and stores.

- `Scripted`: an executor that computes measures with a function of the point and the epoch, without torch or Ray.
- `scripted_measures`: the function that it uses by default; values differ between points, epochs and measures.
- `make_entries`: a function that makes of points what `train_cohort` and `Stack` take.
- `make_record`: a function that creates the record of a training, to fill a store with.
- `memsweep.testing.executors.ExecutorSuite`: pytest tests of the contract in `sweeps.execution.protocol.Executor`.
- `memsweep.testing.stores.StoreSuite`: pytest tests of the properties of a store that runs rely on.

A suite runs when a test module subclasses it and overrides one fixture::

    from memsweep.testing.executors import ExecutorSuite

    class TestMyExecutor(ExecutorSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def executor(cls):
            return MyExecutor()

For detailed assertion messages, call `pytest.register_assert_rewrite("memsweep.testing")` in `conftest.py`.
"""

from memsweep.testing.entries import make_entries
from memsweep.testing.records import make_record
from memsweep.testing.scripted import Scripted, scripted_measures

__all__ = ["Scripted", "make_entries", "make_record", "scripted_measures"]
