"""Plans of what a sweep still has to train, their costs, and their explanation."""
