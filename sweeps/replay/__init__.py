"""Early-stopping schedulers replayed on recorded curves."""
