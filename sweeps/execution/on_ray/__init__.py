"""Execution on Ray. No other package imports ray."""
