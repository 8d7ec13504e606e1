"""Choices that the functions of the API and the command line share. The module imports nothing."""

from __future__ import annotations

from typing import Literal

Rows = Literal["points", "curves", "examples", "scores"]
