import json
import os

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused, unnamed
from vidjax.data.resizing import Resize
from vidjax.data.video.conversion import short_side_size
from vidjax.data.video.decoding import read_video
from vidjax.data.video.file import as_file
from vidjax.data.video.reading import probe, read_frames
from vidjax.errors import VideoError

# Among these, decord's random access is wrong on xvid_bf, h264_bf, h264_opengop, h264.ts and vfr_bf.
BARCODED = ["xvid_bf.avi", "h264_bf.avi", "h264_opengop.mp4", "h264.ts", "vfr_bf.mp4", "vp9.mp4", "anim.gif", "one.mp4"]


def barcode(frames: np.ndarray) -> np.ndarray:
    """The numbers that frames show: eight bars at the top, most significant first, with their complement below."""
    _, height, width, _ = frames.shape
    eighth, columns = height // 8, ((np.arange(8) + 0.5) * width / 8).astype(int)
    gray = frames.astype(int).sum(axis=-1)
    bits = gray[:, eighth // 2, columns] > gray[:, eighth + eighth // 2, columns]
    return bits @ (1 << np.arange(7, -1, -1))


@pytest.mark.parametrize("name", BARCODED)
def test_frames_are_those_asked_for(test_data, name):
    path = str(test_data / "videos" / name)
    count = probe(path).frames
    wanted = sorted({0, count // 3, count // 2, count - 1}, reverse=True) * 2
    assert barcode(read_frames(path, wanted)).tolist() == wanted


@pytest.mark.parametrize("exact_seek", [False, True])
@pytest.mark.parametrize("width", [40, 48, 72, 80])
def test_resizing_keeps_frames_and_gives_the_size(test_data, exact_seek, width):
    path = str(test_data / "videos" / "vp9.mp4")
    frames = read_frames(path, [7, 41], (64, width), exact_seek=exact_seek)
    assert frames.shape == (2, 64, width, 3) and frames.dtype == np.uint8
    assert barcode(frames).tolist() == [7, 41]


def test_both_decoders_agree(test_data):
    path = str(test_data / "UCF-101" / "Lunges" / "v_Lunges_g08_c01.avi")
    for size in (None, (64, 85)):
        assert np.array_equal(read_frames(path, [0, 9], size), read_frames(path, [0, 9], size, exact_seek=True))
    assert probe(path).frames == probe(path, exact_seek=True).frames


def test_colors_are_rgb(tmp_path):

    with av.open(str(tmp_path / "red.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj444p"
        red = np.zeros((32, 32, 3), np.uint8)
        red[..., 0] = 250
        container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        container.mux(stream.encode())
    pixel = read_frames(str(tmp_path / "red.avi"), [0])[0, 16, 16]
    assert pixel[0] > 240 and pixel[1:].max() < 10


@pytest.mark.parametrize(("name", "size"), [("rot90.mp4", (160, 120)), ("rot180.mp4", (120, 160))])
def test_rotation_is_honoured_as_decord_does(test_data, name, size):
    path = str(test_data / "videos" / name)
    frames = read_frames(path, [3])
    assert frames.shape[1:3] == size == (probe(path).height, probe(path).width)
    assert np.array_equal(frames, read_frames(path, [3], exact_seek=True))
    assert read_frames(path, [3], (80, 60)).shape == (1, 80, 60, 3)


def test_whole_video_equals_its_frames_and_stops_at_the_bound(write, tmp_path):
    path = str(write(tmp_path / "v.avi", frames=9))
    for exact_seek in (False, True):
        video = read_video(as_file(path, exact_seek=exact_seek), Resize(20))
        assert video.fps == 25 and video.frames.shape == (9, 20, 30, 3)
        assert np.array_equal(video.frames, read_frames(path, range(9), (20, 30), exact_seek=exact_seek))
        assert read_video(as_file(path, exact_seek=exact_seek), Resize(20), max_bytes=video.frames.nbytes) is not None
        assert read_video(as_file(path, exact_seek=exact_seek), Resize(20), max_bytes=video.frames.nbytes - 1) is None


def test_probe_counts_again_when_the_file_changes(write, tmp_path):
    path = write(tmp_path / "v.avi", frames=9)
    assert (probe(str(path)).frames, probe(str(path)).fps) == (9, 25.0)
    write(path, frames=11, size=(48, 32))
    info = probe(str(path))
    assert (info.frames, info.height, info.width) == (11, 48, 32)


@pytest.mark.parametrize("exact_seek", [False, True])
@pytest.mark.parametrize("index", [-1, 9, 10**9])
def test_a_frame_that_is_not_there_is_refused(write, tmp_path, index, exact_seek):
    path = str(write(tmp_path / "v.avi", frames=9))
    with refused(VideoError, "v.avi", index):
        read_frames(path, [0, index], exact_seek=exact_seek)


BAD = ["random.avi", "text.mp4", "audio_only.mp4", "trunc_nomoov.mp4", "html.mp4", "hls_local.mp4", "jpeg_renamed.mp4"]


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(test_data, name):
    path = str(test_data / "videos" / name)
    with pytest.raises(VideoError) as error:
        read_frames(path, [0])
    assert str(error.value).startswith(path + ": ") and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "empty", "dangling", "loop"])
@pytest.mark.parametrize("exact_seek", [False, True])
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, kind, exact_seek):
    path = tmp_path / "x.avi"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "empty":
        path.touch()
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere.avi")
    elif kind == "loop":
        path.symlink_to(path)
    with refused(VideoError, path):
        read_frames(str(path), [0], exact_seek=exact_seek)
    with pytest.raises(VideoError):
        probe(str(path))


@pytest.mark.parametrize("name", ["with space.avi", "a:b.avi", "50%d.avi", "çé'\".avi", "concat:x|y.avi"])
def test_odd_names_are_read(write, tmp_path, monkeypatch, numbers, name):
    write(tmp_path / "plain.avi", frames=3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert numbers(read_frames(name, [2]))[0].tolist() == [2]


def test_names_that_are_not_utf8_are_read(write, tmp_path):
    name = os.fsdecode(b"\xff\xfe.avi")
    write(tmp_path / "plain.avi", frames=2).rename(tmp_path / name)
    assert read_frames(str(tmp_path / name), [1]).shape == (1, 32, 48, 3)


def test_formats_listed_as_good_all_open(test_data):
    manifest = json.loads((test_data / "videos" / "manifest.json").read_text())
    small = [name for name, entry in manifest.items() if entry["kind"] == "good" and entry["n"] <= 60]
    for name in small:
        assert read_frames(str(test_data / "videos" / name), [0]).shape[0] == 1


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 500))
def test_short_side_size_keeps_the_aspect_ratio(height, width, short_side):
    h, w = short_side_size(height, width, short_side)
    assert min(h, w) == short_side
    assert abs(h * width / height - w) <= max(width / height, height / width)


def test_short_side_size_known_answers():
    assert short_side_size(240, 320, 112) == (112, 149)
    assert short_side_size(320, 240, 112) == (149, 112)
    assert short_side_size(240, 320, None) == (240, 320)


def test_a_tag_that_is_not_utf8_is_of_no_interest(tmp_path):
    path = tmp_path / "tagged.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "M?ller"
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuvj420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert b"M?ller" in content
    path.write_bytes(content.replace(b"M?ller", b"M\xfcller"))
    assert read_frames(str(path), [0, 2]).shape == (2, 24, 32, 3)


def test_arguments_that_make_no_sense_are_named(toy_folder):
    path = toy_folder / "dark" / "dark0.avi"
    with refused(ValueError, "size", "(0, 0)"):
        read_frames(path, [0], (0, 0))
    with pytest.raises(TypeError, match="float"):
        read_frames(path, [0.5])
    assert probe(path) == probe(str(path))


def test_a_loss_is_told_once(write, tmp_path, caplog):
    path = write(tmp_path / "cut.avi", frames=30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for _ in range(2):
        count = probe(path).frames
        assert len(read_video(as_file(path))) == count
        read_video(as_file(path), Resize(20))
    assert len(caplog.records) == 1 and not unnamed(caplog.text, count)
