import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data import RGB, Input, Stream, Video, arrays
from vidjax.data.streams import probe, read_frames
from vidjax.data.video import conversion, decoding
from vidjax.data.video.file import as_file
from vidjax.errors import VideoError

FRAMES = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)


def test_frames_in_memory():
    video = Video.of("a", "nowhere#1", 0, "a", frames=FRAMES)
    assert probe(video.streams["rgb"], RGB) == decoding.VideoInfo(2, None, 4, 6)
    np.testing.assert_array_equal(read_frames(video.streams["rgb"], RGB, [1, 0, 1]), FRAMES[[1, 0, 1]])
    resized = read_frames(video.streams["rgb"], RGB, [1], (8, 12))
    np.testing.assert_array_equal(resized, conversion.resize_frames(FRAMES[1:], (8, 12)))
    with refused(VideoError, "nowhere#1", "0", "2"):
        read_frames(video.streams["rgb"], RGB, [0, 2])


def test_gray_frames_become_three_equal_channels():
    video = Video.of("a", "nowhere#1", 0, "a", frames=FRAMES[..., :1])
    frames = read_frames(video.streams["rgb"], RGB, [0])
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
    assert probe(video.streams["rgb"], RGB) == decoding.VideoInfo(14, 25.0, 40, 48)
    expected = decoding.read_frames(as_file(path, exact_seek=exact_seek), [3, 1], (20, 24))
    np.testing.assert_array_equal(read_frames(video.streams["rgb"], RGB, [3, 1], (20, 24)), expected)


FLOW = Input("flow", (2,), "uint8")
VALUES = np.arange(5 * 4 * 6 * 2, dtype=np.uint8).reshape(5, 4, 6, 2)


@pytest.fixture
def flow_file(tmp_path):
    np.save(tmp_path / "flow.npy", VALUES)
    return tmp_path / "flow.npy"


def test_arrays_are_read_from_files(flow_file):
    stream = Stream(str(flow_file))
    info = probe(stream, FLOW)
    assert info == decoding.VideoInfo(5, None, 4, 6) and info.signature == as_file(flow_file).load().signature()
    frames = read_frames(stream, FLOW, [4, 0, 0])
    np.testing.assert_array_equal(frames, VALUES[[4, 0, 0]])
    assert frames.flags.writeable, "a copy: the file may change or go"
    resized = read_frames(stream, FLOW, [1, 2], (8, 12))
    assert resized.shape == (2, 8, 12, 2) and resized.dtype == np.uint8
    with refused(VideoError, "flow.npy", "2", "5"):
        read_frames(stream, FLOW, [2, 5])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_layout_of_a_file_is_read(tmp_path, version, order):
    values = np.random.default_rng(0).random((7, 5, 3), np.float32)
    path, input = tmp_path / "pose.npy", Input("pose", (5, 3), "float32", space="points")
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, np.asarray(values, order=order), version)
    np.testing.assert_array_equal(np.load(path), values)
    frames = read_frames(Stream(str(path)), input, [6, 6, 0, 1, 2])
    np.testing.assert_array_equal(frames, values[[6, 6, 0, 1, 2]])


def test_a_file_that_is_cut_while_it_is_read_is_a_bad_one(flow_file, monkeypatch):
    header = arrays._header
    monkeypatch.setattr(arrays, "_header", lambda *about: (header(*about), os.truncate(flow_file, 200))[0])
    with refused(VideoError, "flow.npy"):
        read_frames(Stream(str(flow_file)), FLOW, [4])


def test_threads_read_headers_at_the_same_time(tmp_path):
    """Evaluating them by `ast`, as NumPy does, fails at times on CPython 3.11."""
    input = Input("pose", (3, 3), "float32", space="points")
    for number in range(8):
        np.save(tmp_path / f"{number}.npy", np.full((4, 3, 3), number, np.float32))
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(
            lambda n: read_frames(Stream(str(tmp_path / f"{n % 8}.npy")), input, [3])[0, 0, 0], range(4000)
        )
        assert [int(value) for value in found] == [n % 8 for n in range(4000)]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_each_channel_is_resized_on_its_own(dtype, channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (2, 12, 16, channels)).astype(dtype)
    images[1] = 7  # what is of one value stays so
    input = Input("images", (channels,), dtype)
    for size in ((6, 8), (24, 32)):
        found = read_frames(Stream("memory", frames=images), input, [0, 1], size)
        assert found.shape == (2, *size, channels) and found.dtype == dtype and (found[1] == 7).all()
        for channel in range(channels):
            alone = read_frames(
                Stream("memory", frames=images[..., channel : channel + 1]), Input("one", (1,), dtype), [0, 1], size
            )
            np.testing.assert_array_equal(found[..., channel], alone[..., 0])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_ramp_stays_one(dtype):
    """Rows and columns are not exchanged, and nothing is shifted."""
    rows, columns = np.mgrid[:20, :30]
    images = np.stack([4 * rows, 4 * columns], axis=-1)[None].astype(dtype)
    half = read_frames(Stream("memory", frames=images), Input("flow", (2,), dtype), [0], (10, 15))[0]
    rows, columns = np.mgrid[:10, :15]
    wanted = 4 * (2 * np.stack([rows, columns], axis=-1) + 0.5)
    np.testing.assert_allclose(half[2:-2, 2:-2], wanted[2:-2, 2:-2], atol=0.5)


def test_numbers_that_are_no_image_keep_their_shape(tmp_path):
    pose = np.random.default_rng(0).random((6, 17, 3), np.float32)
    np.save(tmp_path / "pose.npy", pose)
    input, stream = Input("pose", (17, 3), "float32", space="points"), Stream(str(tmp_path / "pose.npy"))
    assert probe(stream, input) == decoding.VideoInfo(6, None, 0, 0)
    np.testing.assert_array_equal(read_frames(stream, input, [5, 1], (8, 8)), pose[[5, 1]])


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (VALUES.astype(np.float32), "float32 [5, 4, 6, 2]"),
        (VALUES[..., :1], "uint8 [5, 4, 6, 1]"),
        (VALUES[0], "uint8 [4, 6, 2]"),
        (VALUES.transpose(0, 3, 1, 2), "uint8 [5, 2, 4, 6]"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, array, found):
    path = tmp_path / "flow.npy"
    np.save(path, array)
    for stream in (Stream(str(path)), Stream(str(path), frames=array)):
        tokens = ("flow.npy", found, "'flow'", "uint8 [N, H, W, 2]")
        with refused(VideoError, *tokens):
            probe(stream, FLOW)
        with refused(VideoError, *tokens):
            read_frames(stream, FLOW, [0])


def test_arrays_without_a_frame_are_refused():
    with refused(VideoError, "memory", "[0, 4, 6, 2]"):
        probe(Stream("memory", frames=VALUES[:0]), FLOW)


def test_what_is_no_array_is_refused(tmp_path, flow_file):
    (tmp_path / "text.npy").write_text("frame,x,y\n")
    np.savez(tmp_path / "many.npy", VALUES)
    (tmp_path / "many.npy.npz").rename(tmp_path / "many.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "fields.npy", np.zeros(3, [("x", np.float32), ("y", np.float32)]))
    (tmp_path / "cut.npy").write_bytes(flow_file.read_bytes()[:-1])
    (tmp_path / "head.npy").write_bytes(flow_file.read_bytes()[:20])
    os.mkfifo(tmp_path / "pipe.npy")
    damaged = {
        "text": (".npy", "numpy.save"),
        "many": (".npy", "numpy.save"),
        "objects": ("Python",),
        "fields": (),
        "cut": ("uint8 [5, 4, 6, 2]", "367"),
        "head": (),
        "pipe": (),
        "gone": (),
    }
    reasons = {}
    for name, tokens in damaged.items():
        with refused(VideoError, f"{name}.npy", *tokens) as caught:
            probe(Stream(str(tmp_path / f"{name}.npy")), FLOW)
        reasons[name] = caught.value.reason
    assert reasons["text"] == reasons["many"] and reasons["fields"] == reasons["head"]
    assert len(set(reasons.values())) == len(damaged) - 2


def test_a_refused_stream_is_not_opened():
    for call in (probe, lambda *about: read_frames(*about, [0])):
        with refused(VideoError, "a.npy"):
            call(Stream("a.npy", refused="too dark"), FLOW)


def test_a_video_says_which_of_its_streams_fails():
    streams = {"rgb": Stream("a.avi"), "flow": Stream("a.npy", refused="too dark")}
    video = Video("a", 0, "a", streams)
    assert (video.path, video.refused) == ("a.avi", "flow a.npy: too dark")
    assert video.reason(VideoError("a.npy", "gone")) == "flow a.npy: gone"
    assert Video("a", 0, "a", {"flow": streams["flow"]}).refused == "too dark"
    assert hash(video) == hash(Video("a", 0, "a", {})) and video != Video("a", 0, "a", {"rgb": streams["rgb"]})
