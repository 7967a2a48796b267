import numpy as np
import pytest

from vidjax.data import RGB, decoding, reading
from vidjax.data.records import Video
from vidjax.errors import VideoError

FRAMES = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)


def test_frames_in_memory():
    video = Video.of("a", "nowhere#1", 0, "a", frames=FRAMES)
    assert reading.probe(video.streams["rgb"], RGB) == decoding.VideoInfo(2, None, 4, 6)
    np.testing.assert_array_equal(reading.read_frames(video.streams["rgb"], RGB, [1, 0, 1]), FRAMES[[1, 0, 1]])
    resized = reading.read_frames(video.streams["rgb"], RGB, [1], (8, 12))
    np.testing.assert_array_equal(resized, decoding.resize_frames(FRAMES[1:], (8, 12)))
    with pytest.raises(VideoError, match="nowhere#1: frames 0 to 2 were asked for; it has 2"):
        reading.read_frames(video.streams["rgb"], RGB, [0, 2])


def test_grey_frames_become_three_equal_channels():
    video = Video.of("a", "nowhere#1", 0, "a", frames=FRAMES[..., :1])
    frames = reading.read_frames(video.streams["rgb"], RGB, [0])
    assert frames.shape == (1, 4, 6, 3)
    for channel in range(3):
        np.testing.assert_array_equal(frames[..., channel], FRAMES[:1, ..., 0])


def test_videos_with_frames_compare_by_the_rest():
    video = Video.of("a", "b", 0, "a", frames=FRAMES)
    assert video == Video.of("a", "b", 0, "a", frames=FRAMES + 1) and hash(video) == hash(Video.of("a", "b", 0, "a"))


@pytest.mark.parametrize("exact_seek", [False, True])
def test_files_are_decoded(toy_folder, exact_seek):
    path = str(toy_folder / "dark" / "dark0.avi")
    video = Video.of("dark0", path, 0, "dark0", exact_seek)
    assert reading.probe(video.streams["rgb"], RGB) == decoding.VideoInfo(14, 25.0, 40, 48)
    expected = decoding.read_frames(path, [3, 1], (20, 24), exact_seek=exact_seek)
    np.testing.assert_array_equal(reading.read_frames(video.streams["rgb"], RGB, [3, 1], (20, 24)), expected)
