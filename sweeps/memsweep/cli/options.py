"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="a preset's name (`memsweep list`) or a YAML file")]
StoreUri = Annotated[str, typer.Option("--store", metavar="URI", help="a folder, or s3://BUCKET/PATH")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="fix a field, or make it an axis: --set 'seed=[0, 1]'; repeatable"
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-module",
        metavar="NAME",
        help="let the sweep name data or models in this module, which is not in its folder; repeatable",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON for programs")]
MaxCohort = Annotated[
    int | None,
    typer.Option(
        "--max-cohort", min=1, metavar="N", help="most trainings in one stack; default: as many as train fastest"
    ),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, metavar="N", help="cohorts trained at once; default: one per core")
]
AtOnce = Annotated[int, typer.Option("--workers", min=1, metavar="W", help="trainings that run at once")]
Orders = Annotated[
    int, typer.Option("--seeds", min=1, metavar="N", help="orders of arrival: that of the sweep, then shuffled ones")
]
