"""Tests that augmentations which do not apply to the inputs are refused, naming the setting."""

from __future__ import annotations

import pytest

from lightning_modules.data.applicability import AUGMENTATIONS, check_applicable
from lightning_modules.data.augmentation import OPERATIONS
from lightning_modules.errors import DataError

SHAPES = {"vectors": (40,), "signals": (1, 40), "images": (3, 8, 6)}
ALLOWED = {
    "vectors": {"augment_noise"},
    "signals": {"augment_noise", "shift", "scale"},
    "images": {"augment_noise", "rotation", "color_jitter", "crop_flip"},
}


@pytest.mark.parametrize("field", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_each_augmentation_is_for_its_kind_of_inputs(field, kind):
    check_applicable({field: 0, "learning_rate": 5}, SHAPES[kind])
    if field in ALLOWED[kind]:
        check_applicable({field: 1}, SHAPES[kind])
        return
    with pytest.raises(DataError, match=f"given 1 .* which are {kind}") as caught:
        check_applicable({field: 1}, SHAPES[kind])
    assert caught.value.field == field


def test_the_message_says_what_it_is_for():
    with pytest.raises(DataError) as caught:
        check_applicable({"rotation": 15.0}, (1, 40))
    assert str(caught.value) == (
        "given 15.0 with inputs of shape (1, 40), which are signals (channels, length); it is for images (channels, "
        "height, width): use 0"
    )


def test_padding_stays_below_the_image():
    check_applicable({"crop_flip": 5}, (1, 8, 6))
    with pytest.raises(DataError, match=r"given 6 with images of 8 x 6 pixels; valid is 0\.\.5"):
        check_applicable({"crop_flip": 6}, (1, 8, 6))


def test_every_augmentation_has_its_operation():
    assert {operation.field for operation in OPERATIONS} == set(AUGMENTATIONS)
