import av
import numpy as np
import pytest

from vidjax.data.video import conversion
from vidjax.data.video.conversion import Converter

FORMATS = ["yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"]


@pytest.mark.parametrize("colorspace", ["ITU601", "ITU709"])
@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize(("height", "width"), [(240, 320), (97, 33), (36, 64)])
def test_the_faster_way_to_odd_widths_gives_the_same_pixels(pixel_format, colorspace, height, width, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixel_format, dst_colorspace=colorspace)
    sizes = [(112, 149), (height * 3 // 4, width // 2 | 1), (height // 2, width + 1 | 1), (15, 17)]
    sizes += [(height * 3 // 4 + 1, width // 2 | 1), (height * 2, width // 2 | 1)]  # for which it is not taken
    taken, interleaved = [], conversion._interleaved
    monkeypatch.setattr(conversion, "_interleaved", lambda planes: taken.append(1) or interleaved(planes))
    found = [Converter(lambda *_, size=size: size)(frame) for size in sizes]
    assert len(taken) == sum(4 * size[0] <= 3 * height for size in sizes) >= 3
    monkeypatch.setattr(conversion, "_FASTER_BY_PLANES", frozenset())
    for size, pixels in zip(sizes, found, strict=True):
        np.testing.assert_array_equal(pixels, Converter(lambda *_, size=size: size)(frame))
