"""Pages: of a study with its figures, of the claims, and of early stopping."""
