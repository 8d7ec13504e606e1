"""`python -m memsweep`."""

from . import main

main()
