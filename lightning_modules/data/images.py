"""Decode images (see FORMATS) to one array."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from lightning_modules.data.border import MOST_PIXELS, check_memory
from lightning_modules.data.dataset import Floats
from lightning_modules.errors import DataError, one_line

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "JPEG2000")
"""The formats that are read (MPO as JPEG). Pillow knows others; for EPS it runs a program."""

GREY = frozenset({"1", "L", "LA"})
COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Pillow's modes with at most 8 bits per channel. Transparency is dropped."""

BYTES = 1 + 4 + 4
"""Bytes per number: the level, and the numbers before and after they are scaled."""


def decode(encoded: Sequence[bytes], place: Callable[[int], str]) -> Floats:
    """Decode images to [n, 1, height, width] if every image is grey, else to [n, 3, height, width].

    Levels 0..255 are scaled to -1..1. Decoding takes about 50 µs per image of 32 x 32 pixels.

    Args:
        encoded: The bytes of each image.
        place: Returns a description of where an image comes from, for messages.

    Raises:
        DataError: "data", for bytes that are not an image, more than 8 bits per channel, or images of different sizes.
    """
    from PIL import Image, UnidentifiedImageError

    def opened(position: int) -> Image.Image:
        try:
            with warnings.catch_warnings(action="ignore"):  # of sizes, which are checked below
                return Image.open(io.BytesIO(encoded[position]), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise _too_large(position) from error
        except Exception as error:  # decoders raise more than they document
            raise _undecodable(position, error) from error

    def _undecodable(position: int, error: Exception) -> DataError:
        said = "" if isinstance(error, UnidentifiedImageError) else f": {one_line(error)}"
        problem = f"column `image` has {len(encoded[position])} bytes that are not an image{said}"
        return DataError("data", f"{place(position)}: {problem}; valid: {', '.join(FORMATS)}")

    def _too_large(position: int) -> DataError:
        problem = f"the image has more than {MOST_PIXELS:,} pixels; valid are smaller ones"
        return DataError("data", f"{place(position)}: {problem}")

    colour = False
    size = (0, 0)
    for position in range(len(encoded)):
        # Opening reads only the header, so sizes and modes are checked before anything is decoded.
        with opened(position) as image:
            if image.mode not in GREY | COLOUR:
                raise DataError(
                    "data",
                    f"{place(position)}: the image is of mode {image.mode}; valid are at most 8 bits per channel",
                )
            if image.size[0] * image.size[1] > MOST_PIXELS:
                raise _too_large(position)
            colour = colour or image.mode in COLOUR
            size = size if position else image.size
            if image.size != size:
                raise DataError(
                    "data",
                    f"{place(position)}: the image is {image.size[0]} x {image.size[1]} pixels, and the first is "
                    f"{size[0]} x {size[1]}; all must be of one size",
                )
    numbers = len(encoded) * size[0] * size[1] * (3 if colour else 1)
    check_memory(BYTES * numbers, place(0))
    levels = np.empty((len(encoded), size[1], size[0], 3 if colour else 1), dtype=np.uint8)
    for position in range(len(encoded)):
        with opened(position) as image:
            try:
                pixels = np.asarray(image.convert("RGB" if colour else "L"))
            except Exception as error:
                raise _undecodable(position, error) from error
        levels[position] = pixels.reshape(levels.shape[1:])
    return np.ascontiguousarray(levels.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(127.5) - np.float32(1)
