from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError, unknown
from analysis.words import AXES, DERIVED, METRICS, setting, short, short_half, value_labels
from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES
from lightning_modules.settings import FIELDS


def test_the_axes_are_the_fields_in_their_order_and_then_the_others() -> None:
    assert [*AXES] == [*FIELDS, "parameters", "epoch", "randomization"]


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("parameter_count", 1234, "1.2k"),
        ("parameter_count", 15210.0, "15k"),
        ("parameter_count", 999_999, "1M"),
        ("parameter_count", 2_500_000, "2.5M"),
        ("parameter_count", 410, "410"),
        ("label_noise", 0.1 + 0.2, "0.3"),
        ("label_noise", 0.0, "0"),
        ("learning_rate", 1e-5, "1e-5"),
        ("dataset_size", None, "all"),
        ("depth", math.nan, "default"),
        ("model", "mlp", "mlp"),
        ("data", "parquet:/a/very/long/path/to/some/file.parquet", "…th/to/some/file.parquet"),
    ],
)
def test_values_are_written_as_people_write_them(field: str, value: object, text: str) -> None:
    assert value_labels(field, [value]) == [text]


@given(st.lists(st.integers(1, 10**10), unique=True, min_size=1, max_size=12))
def test_different_values_never_share_a_label(values: list[int]) -> None:
    assert len(set(value_labels("parameter_count", values))) == len(values)


def test_close_values_get_the_digits_that_part_them() -> None:
    assert value_labels("parameter_count", [1234, 1240]) == ["1.23k", "1.24k"]
    assert value_labels("learning_rate", [0.12341, 0.12342]) == ["0.12341", "0.12342"]


def test_everything_that_is_measured_has_words() -> None:
    assert {*MEASURES, *COLUMNS_ON_DEMAND, *DERIVED} <= set(METRICS)


def test_settings_read_as_words() -> None:
    assert setting("label_noise", 0.4) == "label noise 0.4"
    assert setting("parameter_count", 40_000) == "40k parameters"
    assert setting("dataset_size", None) == "all training examples"


def test_numbers_in_cells_are_short() -> None:
    loss, share = METRICS["train_loss"], METRICS["test_accuracy"]
    assert [short(v, loss) for v in (12345.0, 658.4, 2.26, 0.113, 0.0002, 0.0)] == [
        "12k", "658", "2.3", "0.11", "2e-4", "0",
    ]  # fmt: skip
    assert [short(v, share) for v in (99.6, 3.2)] == ["100", "3"]
    assert [short_half(v, share) for v in (127.0, 3.24)] == ["127", "3.2"]


def test_an_unknown_name_is_answered_with_the_choices_and_the_nearest() -> None:
    error = unknown("x", "label_nois", AXES)
    assert isinstance(error, AnalysisError)
    assert error.key == "x"
    assert "given 'label_nois'; did you mean label_noise? valid: data, " in str(error)


def test_the_error_survives_a_pickle() -> None:
    import pickle

    again = pickle.loads(pickle.dumps(AnalysisError("value", "value: no")))
    assert (again.key, str(again)) == ("value", "value: no")
