"""Pages of a study with its figures, of claims, and of early stopping."""
