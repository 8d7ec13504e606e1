"""Figures: one module per kind, and the registry of kinds."""
