"""Folders of images as videos."""

import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np

from vidjax.data.video.file import EncodedVideo, VideoFile, check_pixels, image_files, one_line
from vidjax.errors import VideoError


def decode_images(folder: VideoFile) -> Iterator[av.VideoFrame]:
    from PIL import Image, ImageOps, UnidentifiedImageError  # takes a while to import, and only this needs it

    files: Sequence[tuple[str, Any]]
    if isinstance(folder, EncodedVideo):
        files = [(name, io.BytesIO(content)) for name, content in folder.files]
    else:
        files = [(file.name, file) for file in image_files(folder)]
    if not files:
        raise VideoError(folder, "is a folder without images; of a folder of videos, give the files")
    for name, file in files:
        try:
            with Image.open(file) as image:
                check_pixels(os.path.join(str(folder), name), image.height, image.width)
                pixels = _rgb(ImageOps.exif_transpose(image))
        except UnidentifiedImageError as error:  # whose message is the path
            raise VideoError(folder, f"{name} is no image that can be read: of no known format") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise VideoError(folder, f"{name} is no image that can be read: {one_line(error)}") from error
        yield av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def _rgb(image: Any) -> np.ndarray:
    """The pixels of a Pillow image, uint8 [H, W, 3]; those of more than 8 bits by their upper ones.

    Raises:
      ValueError: for numbers of which nobody knows the range.
    """
    if image.mode.startswith("I;16"):  # which Pillow itself cuts off at 255
        upper = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(upper[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits: save it with 8 or 16")
    return np.asarray(image.convert("RGB"))
