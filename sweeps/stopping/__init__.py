"""Early stopping: Ray Tune's own schedulers, which judge live trainings or recorded curves."""
