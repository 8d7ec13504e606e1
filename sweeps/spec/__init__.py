"""Specifications of what to train: points, sweeps and sweep files."""
