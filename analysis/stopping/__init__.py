"""Evaluation of schedulers that stop trainings early: their savings, their costs, and the trainings that they stop."""
