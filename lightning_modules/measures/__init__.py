"""The catalogue of measures, the per-epoch measures, and one module for each on-demand measure."""
