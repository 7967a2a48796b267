"""Optical flow: known motion, what is stored of it, and the streams that a source gets."""

import dataclasses
import shutil
import threading
import types

import av
import numpy as np
import pytest

from tests.refusals import refused, unnamed
from vidjax import cli
from vidjax.config import data, loading
from vidjax.data import computed as computing
from vidjax.data import streams
from vidjax.data.computed import compute, with_streams
from vidjax.data.flow import fields, methods
from vidjax.data.flow.fields import FlowSettings
from vidjax.data.inputs import RGB
from vidjax.data.records import Source, Stream, Video
from vidjax.errors import ConfigError, DataError, OptionError, VideoError

cv2 = pytest.importorskip("cv2", reason="needs requirements-flow.txt")

MOTION = (3, -2)  # pixels a frame, to the right and downwards
HEIGHT, WIDTH, FRAMES = 72, 96, 6
SETTINGS = FlowSettings("dis_fast", HEIGHT)


def texture(height, width, seed=0):
    """Blurred noise, in three channels."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    for axis in (0, 1):
        for _ in range(3):
            noise = (np.roll(noise, 1, axis) + noise + np.roll(noise, -1, axis)) / 3
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def write(path, frames):
    """A lossless file."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("ffv1", rate=25)
        track.height, track.width, track.pix_fmt = *frames[0].shape[:2], "bgr0"
        for frame in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(track.encode())
    return Stream(str(path))


def moving(path, motion=MOTION, count=FRAMES):
    """A window that moves over a texture, so that its content moves by `motion`."""
    dx, dy = motion
    picture = texture(HEIGHT + 40, WIDTH + 40)
    places = [(20 - dy * t, 20 - dx * t) for t in range(count)]
    return write(path, [picture[top : top + HEIGHT, left : left + WIDTH] for top, left in places])


def inner(computed, settings=SETTINGS):
    """In pixels, without a margin that moves out of the picture."""
    return fields.pixels_of(computed, settings.bound)[:, 12:-12, 12:-12]


@pytest.mark.parametrize("method", methods.METHODS)
def test_known_motion(method, tmp_path):
    if method in ("tvl1", "deepflow") and not hasattr(cv2, "optflow"):
        pytest.skip("needs requirements-flow.txt")
    settings = dataclasses.replace(SETTINGS, method=method)
    computed = fields.compute(moving(tmp_path / "a.mkv"), settings)
    assert computed.shape == (FRAMES - 1, HEIGHT, WIDTH, 2) and computed.dtype == np.uint8
    errors = np.linalg.norm(inner(computed) - MOTION, axis=-1)
    assert errors.mean() < 0.25, errors.mean()  # a step of the 8 bits is 0.16 pixels


def test_vectors_shrink_with_the_frame(tmp_path):
    computed = fields.compute(
        moving(tmp_path / "a.mkv", (4, -4)), dataclasses.replace(SETTINGS, short_side=HEIGHT // 2)
    )
    assert computed.shape == (FRAMES - 1, HEIGHT // 2, WIDTH // 2, 2)
    np.testing.assert_allclose(np.median(inner(computed), axis=(0, 1, 2)), (2, -2), atol=0.2)


def test_the_motion_of_the_camera_is_taken_out(tmp_path):
    """Of a square that moves to the right before a background that moves to the left."""
    picture, square = texture(HEIGHT, WIDTH + 40), texture(40, 40, 1)
    frames = []
    for t in range(FRAMES):
        frame = picture[:, 2 * t : 2 * t + WIDTH].copy()
        frame[16:56, 20 + 3 * t : 60 + 3 * t] = square
        frames.append(frame)
    settings = dataclasses.replace(SETTINGS, method="dis_medium", camera=True)
    first = fields.pixels_of(fields.compute(write(tmp_path / "a.mkv", frames), settings), settings.bound)[0]
    np.testing.assert_allclose(np.median(first[2:10, 8:-8], axis=(0, 1)), (0, 0), atol=0.2)
    np.testing.assert_allclose(np.median(first[28:44, 32:48], axis=(0, 1)), (5, 0), atol=0.5)


def test_a_still_picture_has_no_motion(tmp_path):
    for camera in (False, True):
        settings = dataclasses.replace(SETTINGS, camera=camera)
        np.testing.assert_array_equal(fields.compute(moving(tmp_path / "a.mkv", (0, 0)), settings), 128)


def test_stored_values():
    given = np.array([[0.0, -20.0], [20.0, 35.0], [10.0, -1e9]], np.float32)
    stored = fields.quantized(given, 20.0)
    np.testing.assert_array_equal(stored, [[128, 1], [255, 255], [192, 1]])
    np.testing.assert_allclose(fields.pixels_of(stored, 20.0), np.clip(given, -20, 20), atol=20 / 127)


def test_chunks_are_seamless(tmp_path, monkeypatch):
    stream = moving(tmp_path / "a.mkv")
    whole = fields.compute(stream, SETTINGS)
    monkeypatch.setattr(fields, "_CHUNK", 2)
    np.testing.assert_array_equal(fields.compute(stream, SETTINGS), whole)


def test_what_has_no_flow_is_refused(tmp_path):
    for name, frames in {"one": [texture(32, 32)], "small": [texture(8, 40)] * 3}.items():
        with refused(VideoError, f"{name}.mkv"):
            fields.compute(write(tmp_path / f"{name}.mkv", frames), SETTINGS)


def source_of(folder):
    """Two videos, and one that has a single frame."""
    of = [
        Video(name, 0, name, {"rgb": moving(folder / f"{name}.mkv", count=count)})
        for name, count in {"a": FRAMES, "b": 4, "c": 1}.items()
    ]
    return Source("made", "all", ("x", "y"), tuple(of[:1]), tuple(of[1:2]), tuple(of[2:]), mirror="invariant")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))


def missing(source, *parts, settings=SETTINGS):
    return computing.missing(source, settings, *parts)


def with_flow(source, settings=SETTINGS, **options):
    named = with_streams(source, settings)
    return compute(named, settings, missing(named), **options)


def test_a_source_gets_streams(tmp_path, cache):
    source = source_of(tmp_path)
    got = with_flow(source, threads=2)
    assert [spec.name for spec in got.inputs] == ["rgb", "flow"]
    (first,), (second,), (third,) = got.train, got.validation, got.test
    assert first.refused is second.refused is third.streams["rgb"].refused is None
    assert third.streams["flow"].refused is not None and "flow" in third.refused
    for video, count in ((first, FRAMES), (second, 4)):
        stream = video.streams["flow"]
        assert streams.probe(stream, fields.INPUT).frames == count - 1
        stored = streams.read_frames(stream, fields.INPUT, range(count - 1))
        np.testing.assert_array_equal(stored, fields.compute(video.streams["rgb"], SETTINGS))
    assert not list(SETTINGS.folder.glob("*.partial"))


def test_only_what_is_missing_is_computed(tmp_path, cache):
    files = source_of(tmp_path)
    source = with_streams(files, SETTINGS)
    assert [video.id for video in missing(source)] == ["a", "b", "c"]
    compute(source, SETTINGS, missing(source)[1:2])
    assert [video.id for video in missing(source)] == ["a", "c"]
    assert [video.id for video in missing(source, ["train"])] == ["a"]
    compute(source, SETTINGS, missing(source))
    assert [video.id for video in missing(source)] == ["c"]  # which cannot be computed
    moving(tmp_path / "a.mkv", (1, 1))  # another content under the same name
    assert [video.id for video in missing(with_streams(files, SETTINGS))] == ["a", "c"]
    other = dataclasses.replace(SETTINGS, bound=8.0)
    assert len(missing(with_streams(files, other), settings=other)) == 3


def test_an_interruption_leaves_no_half_file(tmp_path, cache):
    def interrupted(videos, total):
        yield next(iter(videos))
        raise KeyboardInterrupt

    source = with_streams(source_of(tmp_path), SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        compute(source, SETTINGS, missing(source), threads=1, progress=interrupted)
    for path in SETTINGS.folder.glob("*.npy*"):
        assert path.suffix == ".npy" and len(np.load(path))
    stopped = threading.Event()
    stopped.set()
    other = dataclasses.replace(SETTINGS, bound=3.0)
    other.compute_file(source.train[0].streams["rgb"], stopped)
    assert not list(other.folder.iterdir())


def test_too_little_room_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1000))
    with refused(DataError, "VIDJAX_CACHE", 3):
        with_flow(source_of(tmp_path))


def test_flow_of_memory_or_twice_is_refused(tmp_path, cache):
    source = source_of(tmp_path)
    in_memory = Video("m", 0, "m", {"rgb": Stream("m", frames=np.zeros((3, 32, 32, 3), np.uint8))})
    with refused(OptionError, "flow", "dis_fast", "made"):
        with_streams(dataclasses.replace(source, train=(in_memory,)), SETTINGS)
    with refused(OptionError, "flow", "made"):
        with_streams(with_streams(source, SETTINGS), SETTINGS)


def test_a_video_that_is_not_there_is_refused(tmp_path, cache):
    gone = Video("gone", 0, "gone", {"rgb": Stream(str(tmp_path / "gone.avi"))})
    source = with_streams(dataclasses.replace(source_of(tmp_path), train=(gone,)), SETTINGS)
    assert source.train[0].streams["flow"].refused is not None
    assert [video.id for video in missing(source)] == ["b", "c"]


def config(**more):
    return loading.load("configs/two_stream.py:folder", {"data.root": "nowhere", **more})


def test_settings_of_a_config():
    assert data.flow_settings(config()) == FlowSettings("dis_fast", 64)
    more = {"data.flow": "farneback", "data.flow_short_side": 100, "data.flow_bound": 8.0, "data.flow_camera": True}
    assert data.flow_settings(config(**more)) == FlowSettings("farneback", 100, 8.0, True)
    assert data.flow_settings(config(**{"data.flow": None})) is None
    with refused(ConfigError, "data.flow_bound=8.0", "data.flow"):
        data.flow_settings(config(**{"data.flow": None, "data.flow_bound": 8.0}))
    with refused(ConfigError, "data.flow='dis'", "dis_fast"):
        data.flow_settings(config(**{"data.flow": "dis"}))
    with refused(ConfigError, "data.flow_short_side=8"):
        data.flow_settings(config(**{"data.flow_short_side": 8}))


def test_frames_and_fields_of_a_clip_are_those_of_the_same_time(tmp_path, cache):
    """Field i is the motion from frame i to frame i + 1, of a video that is faster and faster."""
    picture, lefts = texture(HEIGHT, WIDTH + 60), np.cumsum([0, 1, 2, 3, 4, 5, 6])
    stream = write(tmp_path / "a.mkv", [picture[:, left : left + WIDTH] for left in lefts])
    computed = fields.compute(stream, SETTINGS)
    medians = np.median(inner(computed)[..., 0], axis=(1, 2))
    np.testing.assert_allclose(medians, [-1, -2, -3, -4, -5, -6], atol=0.3)
    assert streams.probe(stream, RGB).frames == len(computed) + 1


def test_a_percentile_is_a_bound_of_each_video(tmp_path, cache):
    """Half of the picture moves: the median displacement is in between, and the largest one fills the range."""
    picture = texture(HEIGHT, WIDTH + 40)
    frames = [picture[:, 20 : 20 + WIDTH].copy() for _ in range(FRAMES)]
    for t, frame in enumerate(frames):
        frame[HEIGHT // 2 :] = picture[HEIGHT // 2 :, 20 - 4 * t : 20 - 4 * t + WIDTH]
    stream, settings = write(tmp_path / "a.mkv", frames), dataclasses.replace(SETTINGS, percentile=90.0)
    settings.compute_file(stream, threading.Event())
    stored, bound = np.load(settings.path(stream)), np.load(fields.bound_path(settings.path(stream)))
    np.testing.assert_array_equal(stored, fields.compute(stream, settings))
    absolute = np.abs(fields.pixels_of(fields.compute(stream, SETTINGS), SETTINGS.bound))
    assert abs(bound - np.percentile(absolute, 90)) < 0.2 and 2 < bound < 6
    inside = absolute < bound - 0.2
    np.testing.assert_allclose(np.abs(fields.pixels_of(stored, float(bound)))[inside], absolute[inside], atol=0.15)
    sizes, clipped = fields.largest(settings.path(stream), settings)
    assert sizes.shape == (FRAMES - 1,) and clipped.all() and abs(sizes.max() - bound) < 0.5
    assert settings.folder != SETTINGS.folder


def test_a_percentile_of_no_motion(tmp_path, cache):
    stream = moving(tmp_path / "a.mkv", (0, 0))
    np.testing.assert_array_equal(fields.compute(stream, dataclasses.replace(SETTINGS, percentile=99.0)), 128)


def test_the_verb_draws_how_large_displacements_are(tmp_path, cache, capsys):
    for name in ("x", "y"):
        for number in range(4):
            (tmp_path / "videos" / name).mkdir(parents=True, exist_ok=True)
            moving(tmp_path / "videos" / name / f"{number}.mkv", (number, 0))
    words = ["flow", "--config=configs/two_stream.py:folder", f"--config.data.root={tmp_path / 'videos'}"]
    assert cli.main([*words, f"--histogram={tmp_path / 'flow.png'}"]) == 0
    assert unnamed(capsys.readouterr().out, "flow.png") == []
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
