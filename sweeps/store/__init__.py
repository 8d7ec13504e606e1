"""What is kept: records, parts, checkpoints and leases."""
