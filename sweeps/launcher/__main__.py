"""`python -m memsweep`."""

from memsweep import main

main()
