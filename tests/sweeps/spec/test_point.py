"""Tests that ids match golden values, and of which fields affect an id."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lightning_modules.settings import DEFAULTS, FIELDS, INERT
from sweeps.spec.point import (
    Point,
    canonical_form,
    training_form,
    valid_values,
    validate_value,
)

NUMBERS: dict[str, tuple[Any, Any]] = {
    # field: (an invalid value just below the valid ones, one just above them)
    "dataset_size": (0, 10**9 + 1),
    "validation_fraction": (-1e-9, 1.0),
    "subset_fraction": (0.0, 1.0000001),
    "data_seed": (-1, 2**63),
    "complexity": (0, 10**6 + 1),
    "label_noise": (-1e-9, 1.0000001),
    "input_noise": (-1e-9, 1.0000001),
    "rotation": (-1e-9, 180.1),
    "augment_noise": (-1e-9, 1000000.1),
    "color_jitter": (-1e-9, 1.0000001),
    "crop_flip": (-1, 10**4 + 1),
    "shift": (-1, 10**6 + 1),
    "scale": (-1e-9, 1.0),
    "parameter_count": (0, 10**12 + 1),
    "width": (0, 10**6 + 1),
    "depth": (0, 1001),
    "dropout": (-1e-9, 1.0),
    "learning_rate": (0.0, 1000000.1),
    "momentum": (-1e-9, 1.0),
    "weight_decay": (-1e-9, 1000000.1),
    "lr_decay_epochs": (0, 10**9 + 1),
    "lr_decay_factor": (0.0, 1.0000001),
    "lr_decay_updates": (0, 10**9 + 1),
    "batch_size": (0, 10**9 + 1),
    "epochs": (-1, 2**31),
    "seed": (-1, 2**63),
}
WHOLE = [name for name in NUMBERS if "a whole number" in valid_values(name)]

fractions = st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.9])
values: dict[str, st.SearchStrategy[Any]] = {
    "data": st.sampled_from(["mnist1d", "digits", "clusters"]),
    "label_noise": fractions,
    "label_noise_kind": st.sampled_from(["uniform", "symmetric", "pair"]),
    "input_noise": fractions,
    "dropout": fractions,
    "complexity": st.integers(1, 3),
    "width": st.none() | st.integers(1, 3),
    "optimizer": st.sampled_from(["sgd", "adamw"]),
    "momentum": fractions,
    "lr_schedule": st.sampled_from(["constant", "step", "inverse_sqrt", "cosine"]),
    "lr_decay_epochs": st.integers(14, 16),
    "learning_rate": st.floats(1e-6, 1e3),
    "epochs": st.integers(1, 4),
    "seed": st.integers(0, 3),
    "data_seed": st.none() | st.integers(0, 3),
}
changes = st.fixed_dictionaries({}, optional=values)


class TestIds:
    @pytest.mark.parametrize(
        ("expected", "fields", "canonical"),
        [
            ("4ae4acf2f802f6f5210f", {}, "{}"),
            ("be0359ebe1692eddf0e3", {"seed": 3}, '{"seed":3}'),
            (
                "5d7485b78856e0512702",
                {"width": 47, "label_noise": 0.15, "epochs": 500, "batch_size": 100},
                '{"batch_size":100,"epochs":500,"label_noise":0.15,"width":47}',
            ),
            (
                "188ceef525031bdf4e6f",
                {"model": "resnet", "data": "digits", "optimizer": "adamw", "learning_rate": 1e-3, "crop_flip": 1},
                '{"crop_flip":1,"data":"digits","learning_rate":0.001,"model":"resnet","optimizer":"adamw"}',
            ),
            (
                "9965b79b6c7dafb21bcb",
                {"data": "parquet:here", "data_digest": "abc", "lr_schedule": "cosine", "precision": "float64"},
                '{"data_digest":"abc","lr_schedule":"cosine","precision":"float64"}',
            ),
        ],
    )
    def test_golden(self, expected, fields, canonical):
        point = Point(**fields)
        assert point.canonical() == canonical
        assert point.id == expected
        assert hashlib.blake2b(canonical.encode(), digest_size=10).hexdigest() == expected

    @pytest.mark.parametrize("name", FIELDS)
    def test_a_field_at_its_default_is_not_in_the_id(self, name):
        assert Point(**{name: DEFAULTS[name]}).id == Point().id

    @pytest.mark.parametrize("name", [name for name in NUMBERS if DEFAULTS[name] == 0 or name == "weight_decay"])
    @pytest.mark.parametrize("zero", [0, 0.0, -0.0])
    def test_every_zero_is_one_point(self, name, zero):
        point = Point(**{name: zero})
        assert point.id == Point().id
        assert math.copysign(1, getattr(point, name)) == 1

    def test_whole_and_real_spellings_of_a_number_are_one_point(self):
        assert Point(label_noise=1).id == Point(label_noise=1.0).id != Point().id
        assert Point(epochs=30.0).id == Point(epochs=30).id != Point().id
        assert type(Point(epochs=30.0).epochs) is int
        assert type(Point(label_noise=1).label_noise) is float

    def test_a_whole_field_and_a_real_field_with_equal_values_keep_their_spellings(self):
        assert Point(crop_flip=1, rotation=1).canonical() == '{"crop_flip":1,"rotation":1.0}'
        assert Point(rotation=1, crop_flip=1).canonical() == '{"crop_flip":1,"rotation":1.0}'

    @given(changes, changes)
    def test_points_are_equal_if_and_only_if_their_ids_are(self, one, other):
        assert (Point(**one) == Point(**other)) == (Point(**one).id == Point(**other).id)

    @given(changes, st.randoms())
    def test_the_order_of_construction_is_irrelevant(self, fields, random):
        names = list(fields)
        random.shuffle(names)
        point = Point(**{name: fields[name] for name in names})
        assert point.canonical() == Point(**fields).canonical()
        assert point == Point().with_(**{name: getattr(point, name) for name in names})

    @given(changes)
    def test_the_canonical_form_is_sorted_json_of_what_is_off_its_default_and_makes_the_point_again(self, fields):
        point = Point(**fields)
        read = json.loads(point.canonical())
        assert list(read) == sorted(read)
        assert read == {name: value for name, value in vars(point).items() if value != DEFAULTS[name]}
        assert Point(**read) == point

    def test_data_from_outside_is_named_by_its_content_and_not_by_its_path(self):
        here = Point(data="parquet:here", data_digest="abc")
        assert here.id == Point(data="parquet:there", data_digest="abc").id
        assert here.id != Point(data="parquet:here", data_digest="def").id
        assert here.id != Point(data="parquet:here").id != Point(data="parquet:there").id

    def test_a_point_cannot_be_changed(self):
        with pytest.raises(ValidationError):
            Point().seed = 1


class TestValidation:
    def test_every_numeric_field_is_tested_here(self):
        assert set(NUMBERS) == {name for name in FIELDS if "number" in valid_values(name)}
        assert len(WHOLE) == 13

    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize("value", ["1", "0.5", "", True, False, math.nan, math.inf, -math.inf, [1], {}])
    def test_no_number_is_made_of_something_else(self, name, value):
        with pytest.raises(ValidationError):
            validate_value(name, value)
        with pytest.raises(ValidationError):
            Point(**{name: value})

    @pytest.mark.parametrize("name", NUMBERS)
    def test_out_of_range(self, name):
        for bound in NUMBERS[name]:
            with pytest.raises(ValidationError):
                validate_value(name, bound)

    @pytest.mark.parametrize("name", NUMBERS)
    def test_the_ends_of_the_range_are_inside(self, name):
        low, high = NUMBERS[name]
        inside = [low + 1, high - 1] if name in WHOLE else [math.nextafter(0, 1), 0.999]
        for value in inside:
            assert validate_value(name, value) == value
        if low < 0:
            assert validate_value(name, 0) == 0
        if high == 1.0000001:
            assert validate_value(name, 1) == 1

    @pytest.mark.parametrize("name", WHOLE)
    def test_half_a_unit_is_none(self, name):
        with pytest.raises(ValidationError):
            validate_value(name, 1.5)

    @pytest.mark.parametrize("name", [name for name in FIELDS if name not in NUMBERS])
    @pytest.mark.parametrize("value", [1, None, True, ["a"]])
    def test_text_and_choices_take_nothing_else(self, name, value):
        with pytest.raises(ValidationError):
            validate_value(name, value)

    @pytest.mark.parametrize("name", ["label_noise_kind", "input_noise_kind", "optimizer", "lr_schedule", "precision"])
    def test_choices_are_closed(self, name):
        with pytest.raises(ValidationError):
            validate_value(name, "Uniform")
        for choice in valid_values(name).split(", "):
            assert validate_value(name, choice) == choice

    @pytest.mark.parametrize("name", ["dataset_size", "parameter_count", "width", "depth"])
    def test_what_may_be_unset(self, name):
        assert validate_value(name, None) is None
        assert valid_values(name).startswith("a whole number of at least 1 and at most 1,000")
        assert valid_values(name).endswith(" or null")

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("label_noise", "a number of at least 0 and at most 1"),
            ("dropout", "a number of at least 0 and below 1"),
            ("learning_rate", "a number above 0 and at most 1,000,000"),
            ("epochs", "a whole number of at least 0 and below 2,147,483,648"),
            ("seed", "a whole number of at least 0 and below 2^63"),
            ("optimizer", "sgd, adamw"),
            ("data", "text"),
        ],
    )
    def test_the_range_in_words(self, name, words):
        assert valid_values(name) == words

    def test_an_unknown_field(self):
        with pytest.raises(ValidationError, match="widht"):
            Point(widht=3)

    def test_fields_that_contradict_each_other(self):
        with pytest.raises(ValidationError, match="parameter_count: given 900 together with width 8"):
            Point(width=8, parameter_count=900)
        with pytest.raises(ValidationError, match="epochs: given 0 with lr_schedule cosine"):
            Point(lr_schedule="cosine", epochs=0)
        assert Point(epochs=0).epochs == 0


class TestTrainingForm:
    @pytest.mark.parametrize(
        ("name", "value", "inert", "active"),
        [
            ("label_noise_kind", "pair", {}, {"label_noise": 0.1}),
            ("input_noise_kind", "random_pixels", {"label_noise": 0.1}, {"input_noise": 0.1}),
            ("data_seed", 3, {"seed": 3}, {"seed": 0}),
            ("complexity", 4, {"data": "digits"}, {"data": "clusters"}),
            ("momentum", 0.5, {"optimizer": "adamw"}, {"optimizer": "sgd"}),
            ("lr_decay_epochs", 3, {"lr_schedule": "inverse_sqrt"}, {"lr_schedule": "step"}),
            ("lr_decay_factor", 0.1, {"lr_schedule": "cosine"}, {"lr_schedule": "step"}),
            ("dropout", 0.5, {"model": "linear"}, {"model": "mlp"}),
            ("lr_decay_updates", 3, {"lr_schedule": "step"}, {"lr_schedule": "inverse_sqrt"}),
        ],
    )
    def test_a_field_that_does_nothing_shares_a_training(self, name, value, inert, active):
        assert training_form(Point(**inert)) == training_form(Point(**inert, **{name: value}))
        assert training_form(Point(**active)) != training_form(Point(**active, **{name: value}))
        assert Point(**inert).id != Point(**inert, **{name: value}).id
        assert name in INERT

    def test_every_inert_field_has_a_case_above(self):
        cases = next(mark for mark in self.test_a_field_that_does_nothing_shares_a_training.pytestmark).args[1]
        assert {case[0] for case in cases} == set(INERT)

    @pytest.mark.parametrize("schedule", ["constant", "step", "inverse_sqrt"])
    def test_a_schedule_without_a_horizon_folds_epochs(self, schedule):
        forms = {training_form(Point(lr_schedule=schedule, epochs=epochs)) for epochs in (0, 1, 20, 500)}
        assert len(forms) == 1

    def test_a_schedule_with_a_horizon_does_not(self):
        forms = {training_form(Point(lr_schedule="cosine", epochs=epochs)) for epochs in (1, 20, 500)}
        assert len(forms) == 3

    @given(changes)
    def test_is_idempotent_and_leaves_active_fields_alone(self, fields):
        point = Point(**fields)
        trained = Point(**json.loads(training_form(point)))
        assert training_form(trained) == training_form(point) == canonical_form(vars(trained))
        for name in FIELDS:
            if name not in INERT and name != "epochs":
                assert getattr(trained, name) == getattr(point, name)
