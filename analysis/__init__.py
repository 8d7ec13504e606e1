"""Reads what a sweep stored and draws it. Needs neither torch nor ray."""
