"""Files of poses: what a detector finds in each frame, of which video, and what is refused."""

import threading

import av
import numpy as np
import pytest

from tests import pose_detectors
from tests.refusals import refused
from vidjax.config import data, loading
from vidjax.data import computed, streams
from vidjax.data.inputs import Permute
from vidjax.data.pose.poses import PoseSettings, mirror_order, people_path
from vidjax.data.records import Source, Stream, Video
from vidjax.errors import ConfigError

HEIGHT, WIDTH = 24, 32
SETTINGS = PoseSettings("tests.pose_detectors:Brightest", pose_detectors.Brightest)


def write(path, rows):
    """Frames with a bright bar in the given row; None: a dark frame."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("ffv1", rate=25)
        track.height, track.width, track.pix_fmt = HEIGHT, WIDTH, "bgr0"
        for row in rows:
            frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            if row is not None:
                frame[row, 8:16] = 255
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(track.encode())
    return Stream(str(path))


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    videos = [
        Video(n, 0, n, {"rgb": write(tmp_path / f"{n}.mkv", r)}) for n, r in {"a": [3, None, 20], "b": [7]}.items()
    ]
    return Source("made", "all", ("x", "y"), tuple(videos[:1]), (), tuple(videos[1:]), mirror="invariant")


def with_pose(source, settings=SETTINGS, **options):
    named = computed.with_streams(source, settings)
    return computed.compute(named, settings, computed.missing(named, settings), **options)


def test_every_frame_has_joints_or_nobody(source):
    got = with_pose(source)
    assert [spec.name for spec in got.inputs] == ["rgb", "pose"]
    spec = got.inputs[1]
    assert spec.shape == (2, 3) and spec.mirror == Permute((1, 0)) and spec.is_masked
    stream = got.train[0].streams["pose"]
    found = streams.read_frames(stream, spec, range(3))
    expected = [
        [[8.5 / WIDTH, (row + 0.5) / HEIGHT, 0.9], [15.5 / WIDTH, (row + 0.5) / HEIGHT, 0.9]] for row in (3, 20)
    ]
    np.testing.assert_allclose(found[[0, 2]], expected, rtol=1e-6)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(np.load(people_path(SETTINGS.path(source.train[0].streams["rgb"]))), [1, 0, 1])
    assert streams.probe(got.test[0].streams["pose"], spec).frames == 1
    assert computed.missing(got, SETTINGS) == ()


def test_each_video_has_a_detector_of_its_own(source, monkeypatch):
    made = []

    def factory():
        made.append(pose_detectors.Brightest())
        return made[-1]

    with_pose(source, PoseSettings("counting", factory), threads=2)
    assert sorted(each.frames for each in made if each.frames) == [1, 3]


def test_large_frames_are_made_smaller(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    monkeypatch.setattr("vidjax.data.pose.poses._SHORT_SIDE", 12)
    sizes = []

    class Recording(pose_detectors.Brightest):
        def __call__(self, frame):
            sizes.append(frame.shape)
            return super().__call__(frame)

    PoseSettings("recording", Recording).compute_file(write(tmp_path / "a.mkv", [3]), threading.Event())
    assert sizes == [(12, 16, 3)]


def test_what_a_detector_must_not_give(source, tmp_path):
    for name, words in {
        "InPixels": ("pixels",),
        "OneJoint": ("(1, 3)", "(2, 3)"),
        "without_bones": ("'joints'",),
    }.items():
        settings = PoseSettings(f"tests.pose_detectors:{name}", getattr(pose_detectors, name))
        with refused(ConfigError, f"tests.pose_detectors:{name}", *words):
            with_pose(source, settings)
    assert not list((tmp_path / "cache").rglob("*.npy*"))


def test_a_mirror_image_exchanges_sides_by_name():
    assert mirror_order(("nose", "left_eye", "right_eye", "left_only")) == (0, 2, 1, 3)


def test_settings_of_a_config():
    def settings(**more):
        return data.pose_settings(loading.load("configs/pose_lstm.py", {"data.root": "nowhere", **more}))

    assert settings().method == "blazepose" and len(settings().input.shape) == 2
    own = settings(**{"data.pose": None, "data.pose_factory": "tests.pose_detectors:Brightest"})
    assert own == SETTINGS and own.folder == SETTINGS.folder
    assert settings(**{"data.pose": None}) is None
    with refused(ConfigError, "data.pose=blazepose", "data.pose_factory=x:y"):
        settings(**{"data.pose_factory": "x:y"})
    with refused(ConfigError, "x:y"):
        settings(**{"data.pose": None, "data.pose_factory": "x:y"})
