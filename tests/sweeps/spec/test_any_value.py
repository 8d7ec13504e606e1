"""Tests that a sweep file is parsed or refused in a short sentence, whatever stands at any place of it."""

from __future__ import annotations

import math
from collections import Counter
from copy import deepcopy

import pytest

from sweeps.errors import SweepError
from sweeps.spec.sweep_file import sweep_of
from sweeps.spec.yaml_dialect import parse_yaml

FULL_FILE = """
name: x
question: Why?
fixed: {data: digits, width: 8, epochs: 20, validation_fraction: 0.2}
grid: [{label_noise: [0.2], seed: 0..2}, {label_noise: [0.4], dropout: [0, 0.5]}]
exclude: [{seed: 1, label_noise: [0.2]}]
evaluate: 5
measure: [forgetting, {cumulative_loss: [1, 20]}]
early_stopping: {scheduler: asha, metric: test_loss, mode: min, grace_period: 1, reduction_factor: 3, brackets: 1}
stop_when:
  interpolated: 0.9
  plateau: {metric: test_loss, mode: min, patience: 3, tolerance: 0.1}
  memorization_onset: {evaluations: 3, metric: test_loss}
  budget: 10
figures: [{kind: heatmap, x: label_noise, y: seed, value: test_loss, where: {dropout: [0]}, limits: [0, 1]}]
full: {fixed: {width: 9}, grid: {seed: [0, 1]}, early_stopping: {scheduler: median, metric: test_loss, min_samples: 2}}
"""


def places(content):
    """Yield each container in the content, with each key in it."""
    for key in [*content] if isinstance(content, dict) else range(len(content)):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from places(content[key])


CONTENT = parse_yaml(FULL_FILE)
PLACES = len([*places(CONTENT)])
OTHERS = [None, True, 0, -1, 2, 10**30, 10**400, -(10**400), 1e308, math.inf, math.nan, "", "x", "x" * 3000, [], [[]],
          [None], {}, {"x": {}}, [0, 0], ["a"] * 1000]  # fmt: skip


@pytest.mark.parametrize("value", OTHERS, ids=lambda value: type(value).__name__)
def test_any_value_at_any_place_of_a_file_is_accepted_or_refused_with_a_short_message(value):
    answers = Counter()
    for place in range(PLACES):
        content = deepcopy(CONTENT)
        container, key = [*places(content)][place]
        container[key] = value
        try:
            sweep_of(content, "s.yaml").definition()
            answers["accepted"] += 1
        except SweepError as error:
            answers["refused" if len(str(error)) < 1000 else str(error)] += 1
    assert {*answers} <= {"accepted", "refused"}
    assert answers["refused"] >= PLACES / 2
