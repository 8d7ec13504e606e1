"""Tests of the settings of early stopping: their text, their digest, and the file that parses to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweeps.spec.stopping import SCHEDULERS, EarlyStopping, Onset, Plateau, StopWhen, sense
from sweeps.spec.stopping_file import of_scheduler, parse

METRICS = ("validation_accuracy", "test_loss", "weight_norm")
NUMBERS = {
    "grace_period": st.integers(1, 50),
    "reduction_factor": st.integers(2, 5) | st.floats(1.1, 9, allow_nan=False),
    "brackets": st.integers(1, 4),
    "min_samples": st.integers(1, 9),
}
modes = st.sampled_from(["max", "min"])
plateaus = st.builds(Plateau, st.sampled_from(METRICS), modes, st.integers(1, 9), st.floats(0, 1, allow_nan=False))
onsets = st.builds(Onset, st.integers(1, 9), st.sampled_from(METRICS[:2]))
rules = st.builds(
    StopWhen, st.none() | st.floats(0.1, 1), st.none() | plateaus, st.none() | onsets, st.none() | st.integers(1, 99)
).filter(lambda rules: rules != StopWhen())


@st.composite
def every_setting(draw: st.DrawFn) -> EarlyStopping:
    scheduler = draw(st.sampled_from(sorted(SCHEDULERS)))
    if scheduler == "none":
        return EarlyStopping(stop_when=draw(st.none() | rules))
    numbers = {name: draw(NUMBERS[name]) for name in SCHEDULERS[scheduler].settings}
    return EarlyStopping(
        scheduler, draw(st.sampled_from(METRICS)), draw(modes), stop_when=draw(st.none() | rules), **numbers
    )


@given(every_setting())
def test_the_definition_makes_the_same_settings_again(settings):
    assert parse("s.yaml", yaml.safe_load(yaml.safe_dump(settings.definition()))) == settings


@given(every_setting(), every_setting())
def test_the_digest_names_the_settings(one, other):
    assert (one.digest() == other.digest()) == (one == other)


def test_the_digest_does_not_tell_3_from_3_0_and_is_as_it_was():
    settings = EarlyStopping("asha", "validation_accuracy", "max")
    assert settings.digest() == replace(settings, reduction_factor=3.0).digest()
    assert settings.digest() == "9f9048281fa47de4ebd0"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (EarlyStopping("asha", "validation_accuracy", "max"),
         "asha(validation_accuracy max, grace 1, factor 3, 1 bracket)"),
        (EarlyStopping("asha", "test_loss", "min", 4, 2.5, 3), "asha(test_loss min, grace 4, factor 2.5, 3 brackets)"),
        (EarlyStopping("hyperband", "test_loss", "min"), "hyperband(test_loss min, factor 3)"),
        (EarlyStopping("median", "test_loss", "min", 2, min_samples=1), "median(test_loss min, grace 2, 1 sample)"),
        (EarlyStopping(), "none"),
        (EarlyStopping(stop_when=StopWhen(interpolated=0.99, budget=50)),
         "stop at train_accuracy at least 0.99 or 50 epochs"),
        (EarlyStopping("hyperband", "test_loss", "min",
                       stop_when=StopWhen(None, Plateau("test_loss", "min", 3, 0.1), Onset(2))),
         "hyperband(test_loss min, factor 3), stop at test_loss min not better by 0.1 in 3 evaluations or memorizing "
         "while validation_accuracy worsens for 2 evaluations"),
    ],
)  # fmt: skip
def test_in_words(settings, words):
    assert settings.words() == words


def test_what_it_looks_at_and_whether_it_pauses():
    settings = EarlyStopping("asha", "test_loss", "min", stop_when=StopWhen(0.9, Plateau("test_loss", "min", 2)))
    assert settings.metrics == ("test_loss", "train_accuracy")
    assert EarlyStopping(stop_when=StopWhen(memorization_onset=Onset(1))).metrics == (
        "memorized_fraction",
        "validation_accuracy",
    )
    assert [name for name in SCHEDULERS if of_scheduler("", _given(name)).pauses] == ["hyperband"]


def _given(scheduler: str) -> dict[str, str]:
    return {"scheduler": scheduler} | ({} if scheduler == "none" else {"metric": "test_loss"})


def test_the_sense_of_a_metric_is_in_its_name():
    assert [sense(name) for name in ("test_loss", "clean_accuracy", "weight_norm", "memorized_fraction")] == [
        "min", "max", None, None,
    ]  # fmt: skip
