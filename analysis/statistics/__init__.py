"""Intervals, scores, regimes and other statistics of tables."""
