"""Which frames of a video a network is shown, and how its scores are averaged."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data.records import Video
from vidjax.data.video.info import VideoInfo
from vidjax.errors import VideoError
from vidjax.models import Output
from vidjax.pretrained import CATALOG, Pretrained, video_classifier
from vidjax.pretrained.video_classifier import VideoClassifier, frame_size, inspected, split_into_segments

I3D = CATALOG["i3d-kinetics400"].preprocessing


def info(frames, fps=25.0):
    return VideoInfo(frames, fps, 240, 320)


class Brightness(nn.Module):
    """Logits at one place per frame: 0, and the mean of its pixels."""

    @nn.compact
    def __call__(self, rgb, **others):
        bright = rgb.mean(axis=(2, 3, 4))
        return Output(jnp.stack([jnp.zeros_like(bright), bright], axis=-1))


@pytest.fixture
def brightness():
    preprocessing = dataclasses.replace(I3D, frames=8, short_side=24, crop=20)
    information = dataclasses.replace(CATALOG["i3d-kinetics400"], preprocessing=preprocessing)
    return Pretrained(Brightness(), {}, information)


def test_frames_at_the_rate_of_the_network():
    assert [len(piece) for piece in split_into_segments(info(79), I3D)] == [79]
    (piece,) = split_into_segments(info(300, 50.0), I3D)
    assert piece.tolist() == list(range(0, 300, 2))
    (piece,) = split_into_segments(info(100, 12.5), I3D)
    assert piece.tolist() == [i // 2 if i % 2 == 0 else i // 2 + 1 for i in range(199)]
    for fps in (None, 0.1):  # of no known rate, and a series of pictures
        (piece,) = split_into_segments(info(70, fps), I3D)
        assert piece.tolist() == list(range(70))


def test_short_videos_are_looped_and_long_ones_cut():
    (piece,) = split_into_segments(info(30), I3D)
    assert piece.tolist() == [i % 30 for i in range(64)]
    assert [len(piece) for piece in split_into_segments(info(250), I3D)] == [250]
    pieces = split_into_segments(info(501), I3D)
    assert [len(piece) for piece in pieces] == [167] * 3
    assert np.concatenate(pieces).tolist() == list(range(501))


def test_frames_from_the_middle():
    (piece,) = split_into_segments(info(164), I3D, frames=64)
    assert piece.tolist() == list(range(50, 114))
    (piece,) = split_into_segments(info(29), I3D, frames=64)
    assert piece.tolist() == [i % 29 for i in range(64)]


def test_frames_that_are_cut_already_are_not_resized():
    assert frame_size(224, 224, I3D) == (224, 224)
    assert frame_size(240, 320, I3D) == (256, 341)
    assert frame_size(320, 224, I3D) == (366, 256)


def test_values_and_averages(brightness, monkeypatch):
    """Gray frames of rising brightness, in one piece and in three: the logits are averaged, not the probabilities."""
    frames = np.repeat(np.arange(0, 240, 16, dtype=np.uint8), 24 * 30 * 3).reshape(15, 24, 30, 3)
    video = Video.of("gray", "gray", 0, "gray", frames=frames)
    logit = (np.arange(0, 240, 16) - 127.5).mean() / 127.5
    scores = VideoClassifier(brightness)(video)
    assert (scores.frames, scores.pieces) == (15, 1)
    np.testing.assert_allclose(scores.probabilities, np.array([1, np.exp(logit)]) / (1 + np.exp(logit)), rtol=1e-5)
    monkeypatch.setattr(video_classifier, "MAX_FRAMES", 5)
    again = VideoClassifier(brightness)(video)
    assert again.pieces == 3 and again.top(9) == scores.top(2)
    np.testing.assert_allclose(again.probabilities, scores.probabilities, rtol=1e-5)


def test_the_center_is_cut(brightness):
    frames = np.zeros((8, 24, 40, 3), np.uint8)
    frames[:, 2:22, 10:30] = 255
    scores = VideoClassifier(brightness)(Video.of("square", "square", 0, "square", frames=frames))
    np.testing.assert_allclose(scores.probabilities[1], np.e / (1 + np.e), rtol=1e-5)


def test_what_cannot_be_read_says_why(brightness, toy_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    good, missing = str(toy_folder / "dark" / "dark0.avi"), str(tmp_path / "missing.avi")
    videos = inspected([good, missing])
    classify = VideoClassifier(brightness)
    assert classify(videos[good]).frames == 14
    with refused(VideoError, "missing.avi"):
        classify(videos[missing])
