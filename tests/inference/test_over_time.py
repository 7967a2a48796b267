"""Predictions over the length of a video: which frames are seen, at which times, and that memory stays flat."""

import dataclasses
from fractions import Fraction

import av
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.refusals import refused
from vidjax.data.clips import ClipSpec
from vidjax.data.inputs import RGB
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, VideoError
from vidjax.inference.classifier import Classifier
from vidjax.inference.network import TrainedNetwork
from vidjax.inference.over_time import Interval, clips_over_time
from vidjax.models import Output
from vidjax.preprocessing.pipeline import Preprocessing


class Brightness(nn.Module):
    @nn.compact
    def __call__(self, rgb):
        bright = rgb.mean(axis=(1, 2, 3, 4))
        return Output(jnp.stack([-bright, bright], axis=-1)[:, None])


def network(clip, **more):
    preprocessing = Preprocessing(mean=127.5, std=10.0)
    return TrainedNetwork(
        "net", Brightness(), {}, ("dark", "bright"), (RGB,), clip, ViewSpec(), preprocessing, "logits", **more
    )


def frame_numbers(clips):
    """The number that each frame of `numbered` shows by its gray."""
    return [[int(frame.mean() / 4 + 0.5) for frame in clip["rgb"]] for _, clip in clips]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """50 frames of 40 x 56 at 10 frames per second; frame n is of gray 4 n."""
    path = tmp_path_factory.mktemp("numbered") / "numbered.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 56, 40, "bgr0"
        for number in range(50):
            gray = np.full((40, 56, 3), 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


def test_the_middle_of_each_interval(numbered):
    clips = list(clips_over_time(numbered, network(ClipSpec(frames=3, stride=2, crop=32)), Interval.read("1s")))
    assert [moment.time for moment, _ in clips] == [0, 1, 2, 3, 4]
    assert [moment.frame for moment, _ in clips] == [5, 15, 25, 35, 45]
    assert frame_numbers(clips) == [[3, 5, 7], [13, 15, 17], [23, 25, 27], [33, 35, 37], [43, 45, 47]]
    assert clips[0][1]["rgb"].shape == (3, 32, 32, 3) and clips[0][0].picture.shape == (32, 32, 3)
    often = clips_over_time(numbered, network(ClipSpec(frames=1, crop=32)), Interval.read("200ms"))
    assert [moment.time for moment, _ in often] == [number / 5 for number in range(25)]
    assert clips[-1][0].share == 0.96 and 0.1 < clips[0][0].share < 0.3


def test_clips_at_the_ends_fit_and_overlap(numbered):
    clip = ClipSpec(frames=15, fps=10.0, crop=32)
    clips = list(clips_over_time(numbered, network(clip), Interval.read("500 ms")))
    starts = [numbers[0] for numbers in frame_numbers(clips)]
    assert all(numbers == list(range(numbers[0], numbers[0] + 15)) for numbers in frame_numbers(clips))
    assert starts[:3] == [0, 0, 5] and starts[-2:] == [35, 35] and len(starts) == 10
    slow = ClipSpec(frames=3, fps=5.0, crop=32)
    assert frame_numbers(clips_over_time(numbered, network(slow), Interval.read("5s"))) == [[23, 25, 27]]


def test_in_frames_and_with_a_rest(numbered):
    clips = list(clips_over_time(numbered, network(ClipSpec(frames=1, crop=32)), Interval.read("20frames")))
    assert [(moment.time, moment.frame) for moment, _ in clips] == [(0, 10), (2, 30), (4, 49)]
    every_frame = clips_over_time(numbered, network(ClipSpec(frames=1, crop=32)), Interval.read("1ms"))
    assert [numbers[0] for numbers in frame_numbers(every_frame)] == list(range(50)), "one for each frame at most"


def test_a_picture_that_stands_still_for_long(tmp_path):
    """No interval comes twice, although no frame is new in the first ones."""
    path = tmp_path / "still.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 56, 40, "bgr0"
        stream.codec_context.time_base = Fraction(1, 10)
        for number, tenths in enumerate([0, 1, 2, *range(52, 61)]):
            gray = av.VideoFrame.from_ndarray(np.full((40, 56, 3), 4 * number, np.uint8), format="rgb24")
            gray.pts, gray.time_base = tenths, Fraction(1, 10)
            container.mux(stream.encode(gray))
        container.mux(stream.encode())
    clips = clips_over_time(str(path), network(ClipSpec(frames=1, crop=32)), Interval.read("1s"))
    assert [(moment.time, moment.frame) for moment, _ in clips] == [(4, 3), (5, 6), (6, 11)]


def test_a_short_video_is_looped_and_segments_are_those_of_an_interval(numbered, tmp_path):
    long = ClipSpec(frames=60, crop=32)
    (clip,) = frame_numbers(clips_over_time(numbered, network(long), Interval.read("1h")))
    assert clip == [*range(50), *range(10)]
    segments = ClipSpec(frames=4, sampling="segments", crop=32)
    clips = frame_numbers(clips_over_time(numbered, network(segments), Interval.read("2s")))
    assert clips == [[3, 8, 13, 18], [23, 28, 33, 38], [34, 39, 44, 49]]
    for number in range(3):
        Image.new("RGB", (40, 60), (8 * number,) * 3).save(tmp_path / f"{number}.png")
    images = network(ClipSpec(frames=1, crop=32))
    clips = list(clips_over_time(str(tmp_path), images, Interval.read("1frame")))
    assert [moment.time for moment, _ in clips] == [None] * 3 and frame_numbers(clips) == [[0], [2], [4]]
    with pytest.raises(VideoError):
        list(clips_over_time(str(tmp_path), images, Interval.read("1s")))


def test_probabilities_in_batches_and_one_by_one(numbered):
    small = Classifier(network(ClipSpec(frames=1, crop=32), batch_size=3))
    found = list(small.over_time(numbered, "1s"))
    logits = (4 * np.array([moment.frame for moment, _ in found]) - 127.5) / 10
    np.testing.assert_allclose([scores[1] for _, scores in found], 1 / (1 + np.exp(-2 * logits)), rtol=1e-4)
    alone = Classifier(dataclasses.replace(small.network, batch_size=1))
    np.testing.assert_allclose([s for _, s in alone.over_time(numbered, "1s")], [s for _, s in found], rtol=1e-5)


def test_nothing_of_the_past_is_kept(numbered, monkeypatch):
    """At most the frames of one clip are held, however long the video: counted by who is still alive."""
    import weakref

    from vidjax.inference import over_time

    alive, most = weakref.WeakSet(), [0]
    real = over_time._square

    class Counted(np.ndarray):
        def __hash__(self):
            return id(self)

    def counted(*arguments):
        picture = real(*arguments).view(Counted)
        alive.add(picture)
        most[0] = max(most[0], len(alive))
        return picture

    monkeypatch.setattr(over_time, "_square", counted)
    for _ in clips_over_time(numbered, network(ClipSpec(frames=4, crop=32)), Interval.read("300ms")):
        pass
    assert 4 <= most[0] <= 7


def test_clips_that_span_too_much_are_refused(numbered, monkeypatch):
    from vidjax.inference import over_time

    segments = network(ClipSpec(frames=4, sampling="segments", crop=32))
    monkeypatch.setattr(over_time, "_MAX_BYTES", 15 * 32 * 32 * 3)
    with refused(ConfigError, "16 frames", "numbered.avi"):
        list(clips_over_time(numbered, segments, Interval.read("2s")))
    assert list(clips_over_time(numbered, segments, Interval.read("1s")))


@pytest.mark.parametrize("text", ["", "1", "0s", "-1s", "1.5frames", "1 hour", "nans"])
def test_what_is_no_interval(text):
    with refused(ConfigError, "500ms"):
        Interval.read(text)


def test_intervals():
    texts = {"2min": (120, "s"), "0.5s": (0.5, "s"), "1h": (3600, "s"), "30 frames": (30, "frames")}
    assert {text: Interval.read(text) for text in texts} == texts


def test_a_video_that_is_too_small(numbered):
    with pytest.raises(VideoError) as error:
        list(clips_over_time(numbered, network(ClipSpec(frames=1, crop=48)), Interval.read("1s")))
    assert "48x48" in str(error.value)
