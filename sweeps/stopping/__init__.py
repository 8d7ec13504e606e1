"""Early stopping of live trainings and recorded curves by Ray Tune's own schedulers."""
