"""memsweep: train grids of networks on partly random labels, and map where they memorize and generalize."""
