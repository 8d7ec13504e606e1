"""The program `python -m memsweep`."""

from memsweep.guard import main

main()
