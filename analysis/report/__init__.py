"""Report pages for studies, claims and early stopping."""
