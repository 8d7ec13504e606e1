"""Records, parts, checkpoints and leases in a store."""
