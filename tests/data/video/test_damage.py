"""What a file has lost, at its end or in its middle, is told of; what never was in it is not missed."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tests.refusals import unnamed
from vidjax.data.video.file import MemoryFile, as_file
from vidjax.data.video.inspection import inspect
from vidjax.data.video.opening import open_video
from vidjax.data.video.reading import probe, read_frames


def record_of(path):
    *_, record = inspect(str(path))
    return record


def write_noisy(path, codec, frames=60, *, times=None, options=None, pix_fmt="yuv420p"):
    """Frame n has four stripes on its left, black or white: n in binary; noise beside them makes it large."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (64, 48, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        stream.bit_rate = 2_000_000
        for number in range(frames):
            picture = np.zeros((64, 96, 3), np.uint8)
            picture[:, 48:] = np.roll(noise, number, axis=0)
            for bit in range(6):
                picture[bit * 10 : bit * 10 + 10, :48] = 255 * (number >> bit & 1)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = times[number] if times else number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(frames):
    bits = frames[:, 5:60:10, 8:40].mean(axis=(2, 3)) > 128
    return (bits @ (1 << np.arange(6))).tolist()


def zeroed(path, start, end):
    """Puts zeros there: shares of the file."""
    content = bytearray(path.read_bytes())
    first, last = int(len(content) * start), int(len(content) * end)
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("codec, options", [("mjpeg", {}), ("mpeg4", {"bf": "2"}), ("libx264", {"bf": "2"})])
def test_a_cut_avi_is_told_of(tmp_path, codec, options):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_noisy(tmp_path / "whole.avi", codec, options=options, pix_fmt=pix_fmt)
    whole = record_of(path)
    assert (whole.frames, whole.stated_frames, whole.warning) == (60, 60, "")
    content = path.read_bytes()
    for share in (0.3, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        cut = record_of(path)
        assert cut.ends_early and cut.warning and cut.stated_frames == 60
        assert numbers(read_frames(path, range(cut.frames))) == list(range(cut.frames))
        with open_video(MemoryFile("cut.avi", (("cut.avi", path.read_bytes()),), False, (0, 0))) as packed:
            assert len(list(packed)) == cut.frames and packed.stated_frames == 60
            assert (packed.damage or packed.truncation_warning()) == cut.warning


def test_a_picture_that_is_cut_is_not_shown(tmp_path):
    path = write_noisy(tmp_path / "cut.avi", "mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        (place, size) = [(packet.pos, packet.size) for packet in container.demux() if packet.size][40]
    with path.open("r+b") as file:
        file.truncate(place + size // 2)
    record = record_of(path)
    assert (record.frames, record.ends_early) == (40, True) and not unnamed(record.warning, 40)


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("v.mkv", "mjpeg", {}),
        ("v.mkv", "mpeg4", {"g": "6"}),
        ("v.webm", "libvpx", {"g": "6", "deadline": "realtime"}),
        ("v.flv", "flv", {"g": "6"}),
        ("v.ts", "mpeg2video", {"g": "6"}),
    ],
)
def test_frames_that_are_missing_in_the_middle_end_the_video(tmp_path, name, codec, options):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_noisy(tmp_path / name, codec, options=options, pix_fmt=pix_fmt)
    whole = record_of(path)
    assert (whole.frames, whole.warning) == (60, "")
    record = record_of(zeroed(path, 0.5, 0.6))
    assert 20 < record.frames < 36 and record.verdict == "slow" and record.ends_early
    assert any(map(str.isdigit, record.warning)), "a number of frames, or of the last"
    assert numbers(read_frames(path, range(record.frames))) == list(range(record.frames))
    assert probe(path).frames == record.frames


def test_the_number_of_missing_frames_is_said(tmp_path):
    path = write_noisy(tmp_path / "v.mkv", "mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux() if packet.size]
    content = bytearray(path.read_bytes())
    content[places[30] - 8 : places[31]] = bytes(places[31] - places[30] + 8)
    path.write_bytes(content)
    record = record_of(path)
    lost = 60 - len([frame for frame in av.open(str(path)).decode(video=0)])
    assert lost > 0 and not unnamed(record.warning, lost, 29)


STILL = [number + 40 * (number >= 20) + 3 * (number >= 40) for number in range(60)]


@pytest.mark.parametrize("suffix", ["mkv", "webm", "ts", "nut", "flv"])
def test_a_picture_that_stays_for_long_is_no_loss(tmp_path, suffix):
    codec = {"webm": "libvpx", "ts": "mpeg2video", "flv": "flv"}.get(suffix, "mpeg4")
    record = record_of(write_noisy(tmp_path / f"still.{suffix}", codec, times=STILL))
    assert (record.frames, record.warning) == (60, "")


def test_packets_that_hold_nothing_are_no_loss(tmp_path):
    """A transport stream of a constant rate is full of them where a picture stays for long."""
    path = write_noisy(tmp_path / "still.ts", "mpeg2video", times=STILL)
    content = path.read_bytes()
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux() if packet.size][20]
    empty = b"\x47\x1f\xff\x10" + b"\xff" * 184
    path.write_bytes(content[:place] + 500 * empty + content[place:])
    record = record_of(path)
    assert (record.frames, record.warning) == (60, "")


def test_headers_of_a_large_picture_are_no_loss(tmp_path):
    """A scene changes in a transport stream, and its first, large picture stays for a while."""
    path = tmp_path / "scene.ts"
    plain, rich = (
        np.full((240, 320, 3), 90, np.uint8),
        np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8),
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 4_000_000
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(plain if number < 30 else rich, format="rgb24")
            frame.pts, frame.time_base = number + (6 if number > 30 else 0), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    record = record_of(path)
    assert (record.frames, record.warning) == (60, "")


def test_files_that_were_joined_are_whole(tmp_path):
    for suffix, codec in (("mkv", "mpeg4"), ("ts", "mpeg2video")):
        first = write_noisy(tmp_path / f"first.{suffix}", codec, 20)
        later = write_noisy(tmp_path / f"later.{suffix}", codec, 20, times=range(500, 520))
        joined = tmp_path / f"joined.{suffix}"
        for parts in ((first, later), (later, first), (first, first)):
            joined.write_bytes(b"".join(part.read_bytes() for part in parts))
            record = record_of(joined)
            assert (record.frames, record.warning) == (40, ""), (suffix, record)


@pytest.mark.parametrize("suffix, gop", [("mkv", "open-gop=1"), ("ts", "open-gop=0"), ("flv", "open-gop=0")])
def test_the_sound_part_ends_before_times_are_in_disorder(tmp_path, suffix, gop):
    """Frames that are predicted from what was lost come too early, and too late."""
    options = {"preset": "veryfast", "x264-params": f"{gop}:keyint=12:bframes=3:crf=20"}
    path = write_noisy(tmp_path / f"v.{suffix}", "libx264", options=options)
    content = path.read_bytes()
    for start in np.arange(0.34, 0.6, 0.02):
        path.write_bytes(content)
        with open_video(as_file(zeroed(path, start, start + 0.1))) as video:
            times = [frame.pts for frame in video]
        assert times == sorted(times), start
