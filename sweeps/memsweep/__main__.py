"""The entry point of `python -m memsweep`."""

from memsweep.guard import main

main()
