"""What is read as a checkpoint is one, or it is refused in one sentence."""

from __future__ import annotations

import io
import zipfile

import pytest
import torch

from lightning_modules.errors import CheckpointError
from lightning_modules.training.checkpoint import decode, load
from tests.lightning_modules.training.wrong_checkpoints import (
    BESIDE_ITS_TRAINING,
    BY_ITSELF,
    good_checkpoint,
    odd_checkpoints,
    saved,
    wrong,
)


def test_a_good_one_is_read():
    state = load(good_checkpoint())
    assert (state.epoch, state.count, [epoch for epoch, _ in state.rows]) == (3, 9, [1, 3])


@pytest.mark.parametrize("kind", BY_ITSELF)
def test_wrong_content_is_refused_in_one_sentence(kind):
    content = wrong(good_checkpoint(), kind)
    said = r"^its content is not valid \(|^it is not a checkpoint of memsweep$"
    with pytest.raises(CheckpointError, match=said) as caught:
        load(content)
    assert len(str(caught.value)) < 300
    assert decode(content) is None


@pytest.mark.parametrize("kind", BESIDE_ITS_TRAINING)
def test_what_only_its_training_shows_is_read(kind):
    assert load(wrong(good_checkpoint(), kind)) is not None


def test_a_compressed_file_is_not_unpacked():
    """A few kilobytes may unpack to gigabytes."""
    bomb = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved({"version": torch.zeros(2**20)}))) as plain,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for file in plain.infolist():
            packed.writestr(file.filename, plain.read(file))
    assert len(bomb.getvalue()) < 2**20
    with pytest.raises(CheckpointError, match=r"^it cannot be read \(ValueError\)$"):
        load(bomb.getvalue())


@pytest.mark.parametrize("count", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_any_content_is_read_or_refused(count):
    said = [refusal(content) for content in odd_checkpoints(good_checkpoint(), count, seed=0)]
    refusals = [text for text in said if text]
    assert len(refusals) > count / 2
    assert max(map(len, refusals)) < 300
    assert "\n" not in "".join(refusals)


def refusal(content: bytes) -> str:
    """Return why a checkpoint is refused, or an empty text if it can be used or is of another version."""
    try:
        state = load(content)
    except CheckpointError as error:
        return str(error)
    if state is not None:
        state.serves(99, (), {})
    return ""
