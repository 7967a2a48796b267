import numpy as np
import pytest

from vidjax.data.resizing import Resize, letterboxed


@pytest.mark.parametrize(
    ("resize", "landscape", "portrait"),
    [
        (Resize(), (240, 320), (320, 240)),
        (Resize(112), (112, 149), (149, 112)),
        (Resize(112, "squash"), (112, 112), (112, 112)),
        (Resize(112, "letterbox"), (84, 112), (112, 84)),
    ],
)
def test_sizes(resize, landscape, portrait):
    assert resize(240, 320) == landscape
    assert resize(320, 240) == portrait


def test_letterbox_rounds_to_the_nearest_and_keeps_a_pixel():
    assert Resize(100, "letterbox")(3, 7) == (43, 100)
    assert Resize(10, "letterbox")(1, 100) == (1, 10)


def test_the_frame_stands_in_the_middle_of_its_letterbox():
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 8, 3), dtype=np.uint8)
    square = letterboxed(frames, 8, 117)
    assert square.shape == (2, 8, 8, 3) and square.dtype == np.uint8
    np.testing.assert_array_equal(square[:, 1:6], frames)
    assert (square[:, [0, 6, 7]] == 117).all()
    np.testing.assert_array_equal(letterboxed(frames.swapaxes(1, 2), 8, 0), letterboxed(frames, 8, 0).swapaxes(1, 2))
