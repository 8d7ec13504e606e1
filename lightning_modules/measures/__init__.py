"""What costs more than an evaluation and is measured on demand: a module a measure, and the registry of them."""
