"""Executors: interpreters of a plan. `inline` trains in this process, `ray_tune` makes each cohort a Tune trial."""
