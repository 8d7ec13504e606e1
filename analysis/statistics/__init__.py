"""Statistics computed from tables: intervals, scores, regimes and others."""
