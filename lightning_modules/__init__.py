"""Data and its corruption, model families, measures, and cohorts, which train many networks as one stacked model."""
