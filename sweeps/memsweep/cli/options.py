"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="a preset's name (`memsweep list`) or a YAML file")]
StoreUri = Annotated[str, typer.Option("--store", metavar="URI", help="a folder, or s3://BUCKET/PATH")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="fix a field, or make an axis of it: --set 'seed=[0, 1]'; repeatable"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON for machines")]
MaxCohort = Annotated[int, typer.Option("--max-cohort", min=1, metavar="N", help="trainings in one stack, at most")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, metavar="N", help="cohorts trained at once; default: one a core")
]
AtOnce = Annotated[int, typer.Option("--workers", min=1, metavar="W", help="trainings that run at once")]
Orders = Annotated[
    int, typer.Option("--seeds", min=1, metavar="N", help="orders of arrival: that of the sweep, then shuffles")
]
