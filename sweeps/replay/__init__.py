"""Replays of early-stopping schedulers on recorded curves."""
