"""Early stopping: Ray Tune's own schedulers, deciding over live trainings or over recorded curves."""
