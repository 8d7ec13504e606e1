"""Fakes for tests of code that uses memsweep, and test suites for custom executors and stores.

- `Scripted`: an executor that computes measures with a function of the point and the epoch, without torch or Ray.
- `scripted_measures`: the default function of `Scripted`; its values differ between points, epochs and measures.
- `make_entries`: a function that creates one entry per point, as `train_cohort` and `Stack` require.
- `make_record`: a function that creates a fake record of a training, which can be appended to a store.
- `memsweep.testing.executors.ExecutorSuite`: pytest tests of the contract in `sweeps.execution.protocol.Executor`.
- `memsweep.testing.stores.StoreSuite`: pytest tests of the store properties on which runs rely.

To run a suite, subclass it in a test module and define one fixture::

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
