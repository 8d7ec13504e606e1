"""Analysis of stored sweeps: tables, figures, claims and reports. It imports neither torch nor Ray."""
