"""Executors, which train a plan: `inline` in this process, `on_ray` with one Tune trial per cohort."""
