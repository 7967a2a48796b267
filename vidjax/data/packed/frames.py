"""Packed videos whose frames are resized and stored one by one: a clip costs only the frames that it shows.

Each frame is a record of its own, in the format of `vidjax.data.packed.records`: an image without loss, and so what
resizing on the fly gives, bit for bit. QOI was the fastest format to decode of those without loss that are much smaller
than raw pixels: at 171 x 128, 0.18 ms and 38 KB a frame, against 0.26 ms and 31 KB (HuffYUV), 0.35 ms and 25 KB
(MagicYUV), 0.46 ms and 25 KB (WebP), 0.66 ms and 34 KB (PNG), 1.3 ms and 22 KB (FFV1), and 66 KB of raw pixels.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

from vidjax.data.packed.records import DATASET, unpack
from vidjax.data.packed.shards import ShardFile, read_records
from vidjax.data.video.checks import one_line
from vidjax.data.video.conversion import Converter, short_side_size
from vidjax.data.video.file import MemoryFile, ReadableFile, SeparateFrames
from vidjax.data.video.info import VideoInfo
from vidjax.data.video.opening import open_video
from vidjax.errors import VideoError

CODEC = "qoi"


@dataclasses.dataclass(frozen=True)
class ShardFrames(ShardFile):
    """The place of a video's frames in a shard: `number` is the record of the first one, the others follow.

    Attributes:
      info: length, rate, and size after resizing.
      codec: FFmpeg's name of the format of the images.
    """

    info: VideoInfo
    codec: str
    short_side: int | None

    def load(self) -> MemoryFile:
        """All frames, as a folder of images; raises as `ShardFile.load`."""
        names = [f"{number:06d}.{self.codec}" for number in range(self.info.frames)]
        images = tuple(zip(names, self._images(range(self.info.frames)), strict=True))
        return MemoryFile(str(self), images, True, self.content_id)

    def cache_key(self) -> tuple[Any, ...]:
        """The content that was packed, and how."""
        return *self.content_id, self.short_side, self.codec

    def separate_frames(self) -> SeparateFrames:
        return SeparateFrames(self.info, self.codec, self._images)

    def _images(self, numbers: Sequence[int]) -> list[bytes]:
        images = []
        try:
            for number, record in zip(numbers, read_records(self.shard, [self.number + each for each in numbers])):
                header, ((_, image),) = unpack(record)
                if (header["size"], int(header["digest"], 16), header["frame"]) != (*self.content_id, number):
                    raise ValueError(f"the shard holds another video here: it does not match its {DATASET}")
                images.append(image)
        except (KeyError, TypeError, ValueError) as error:
            raise VideoError(self, f"frames cannot be read: {one_line(error)}") from error
        return images


def resized_frames(file: ReadableFile, short_side: int) -> Iterator[bytes]:
    """Yields the image of each frame of a video, in order.

    Args:
      file: to be decoded in order.
      short_side: in pixels.

    Raises:
      VideoError: if it cannot be read.
    """
    with open_video(file) as video:
        convert = Converter(lambda height, width: short_side_size(height, width, short_side))
        encoder: Any = av.CodecContext.create(CODEC, "w")
        for number, frame in enumerate(video):
            pixels = convert(frame)
            if not number:
                encoder.height, encoder.width, _ = pixels.shape
                encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            (packet,) = encoder.encode(picture)
            yield bytes(packet)
