"""Training cohorts: stacks of networks of the same shape."""
