"""Folders of images as videos."""

import os
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from vidjax.data.video.checks import check_pixels, one_line
from vidjax.data.video.file import ReadableFile
from vidjax.errors import VideoError


def decode_images(folder: ReadableFile) -> Iterator[av.VideoFrame]:
    """Yields the images of a folder as frames, upright.

    Raises:
      VideoError: if there is none, or one cannot be read or is too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError  # takes a while to import, and only this needs it

    images = folder.images()
    if not images:
        raise VideoError(folder, "is a folder without images or videos")
    for name, open_image in images:
        try:
            with open_image() as stream, Image.open(stream) as image:
                check_pixels(os.path.join(str(folder), name), image.height, image.width)
                pixels = _rgb(ImageOps.exif_transpose(image))
        except UnidentifiedImageError as error:  # whose message is the path
            raise VideoError(folder, f"{name} cannot be read: it has no known image format") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise VideoError(folder, f"{name} cannot be read: {one_line(error)}") from error
        yield av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def _rgb(image: Any) -> np.ndarray:
    """The pixels of a Pillow image, uint8 [H, W, 3]; of more than 8 bits, the upper 8.

    Raises:
      ValueError: for numbers whose range is unknown.
    """
    if image.mode.startswith("I;16"):  # which Pillow itself clips at 255
        upper = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(upper[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits; save it with 8 or 16 bits")
    return np.asarray(image.convert("RGB"))
