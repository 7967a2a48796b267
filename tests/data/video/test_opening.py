"""What files claim, hide and leave out: found by walking through them in order."""

import itertools
import struct
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from tests.refusals import refused, unnamed
from vidjax.data.video import opening, sequential
from vidjax.data.video.discovery import is_image_sequence
from vidjax.data.video.inspection import inspect
from vidjax.data.video.reading import read_frames
from vidjax.errors import VideoError


def record_of(path):
    *_, record = inspect(str(path))
    return record


def with_sound(path, seconds=8, video_late=0, sound_late=0):
    """A video at 25 frames per second, with sound beside it; either may begin later."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuvj420p"
        sound = container.add_stream("pcm_s16le", rate=8000)
        for number in range(25 * seconds):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + 25 * video_late, Fraction(1, 25)
            container.mux(video.encode(frame))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, 320 * number + 8000 * sound_late
            container.mux(sound.encode(samples))
        container.mux(video.encode())
        container.mux(sound.encode())
    return path


def test_a_cut_file_with_sound_is_told_of(tmp_path):
    path = with_sound(tmp_path / "whole.mkv")
    whole = record_of(path)
    assert (whole.verdict, whole.frames, whole.warning) == ("ok", 200, "")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    cut = record_of(path)
    assert 80 < cut.frames < 120 and cut.ends_early and "of the 8.00 s" in cut.warning


@pytest.mark.parametrize("late", [{}, {"video_late": 3}, {"sound_late": 3}])
@pytest.mark.parametrize("suffix", ["mkv", "mov", "avi"])
def test_streams_that_begin_late_are_no_loss(tmp_path, suffix, late):
    record = record_of(with_sound(tmp_path / f"late.{suffix}", **late))
    assert (record.frames, record.warning) == (200, "")


def test_a_second_is_missed_of_a_long_video(write, tmp_path):
    path = write(tmp_path / "long.mkv", frames=3000, size=(16, 16))
    assert record_of(path).warning == ""
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux() if packet.size]
    with path.open("r+b") as file:
        file.truncate(positions[2950])
    cut = record_of(path)
    assert 2940 < cut.frames <= 2950 and cut.ends_early


@pytest.mark.parametrize("scale", [0, 1, 2**32 - 1])
def test_a_clock_that_hides_most_frames_is_told_of(write, tmp_path, scale):
    path = write(tmp_path / "clock.mp4", frames=30)
    data = bytearray(path.read_bytes())
    place = data.index(b"mdhd") + 16  # behind version, flags and two dates: ISO 14496-12, 8.4.2
    data[place : place + 4] = scale.to_bytes(4, "big")
    path.write_bytes(data)
    record = record_of(path)
    assert record.frames < 30 and record.ends_early and not unnamed(record.warning, "clock")


ORIENTATIONS = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, -1, 1, 0): lambda p: np.rot90(p),
    (0, 1, -1, 0): lambda p: np.rot90(p, 3),
    (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
    (0, -1, -1, 0): lambda p: np.rot90(p, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_the_display_matrix_turns_and_mirrors(write, tmp_path, matrix):
    path = write(tmp_path / "plain.mp4", frames=3)
    plain = read_frames(path, [2])[0]
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version 0: ISO 14496-12, 8.3.2
    across_x, down_x, across_y, down_y = (65536 * number for number in matrix)
    data[place : place + 36] = struct.pack(">9i", across_x, down_x, 0, across_y, down_y, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    wanted = ORIENTATIONS[matrix](plain)
    np.testing.assert_array_equal(read_frames(path, [2])[0], wanted)
    record = record_of(path)
    assert (record.height, record.width) == wanted.shape[:2]
    assert read_frames(path, [2], table=record.table).shape[1:] == wanted.shape
    quarters = [k for k in range(4) if np.array_equal(wanted, np.rot90(plain, k))]
    assert record.rotation == 90 * sum(quarters)


def test_colors_by_number_are_read(tmp_path):
    picture = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(2, 0).repeat(2, 1)).convert("P")
    picture.save(tmp_path / "palette.png")
    with av.open(str(tmp_path / "palette.mov"), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "pal8"
        for number in range(4):
            packet = av.Packet((tmp_path / "palette.png").read_bytes())
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, number, number, True
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    record = record_of(tmp_path / "palette.mov")
    assert record.verdict != "refused" and record.frames == 4
    wanted = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(read_frames(tmp_path / "palette.mov", [3])[0], wanted)


@pytest.mark.parametrize("kind, top", [(np.uint8, 255), (np.uint16, 65535)])
def test_images_of_more_bits_are_read_by_their_upper_ones(tmp_path, kind, top):
    ramp = np.linspace(0, top, 32 * 16).reshape(16, 32).astype(kind)
    Image.fromarray(ramp).save(tmp_path / "0.png")
    frame = read_frames(tmp_path, [0])[0]
    assert abs(frame[..., 1] - 255.0 * ramp / top).max() < 1.01


def test_images_without_a_range_are_refused(tmp_path):
    Image.fromarray(np.zeros((16, 16), np.float32)).save(tmp_path / "0.tiff")
    with refused(VideoError, "0.tiff", "32"):
        read_frames(tmp_path, [0])


def test_a_song_with_a_cover_is_no_video(tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "cover.jpg")
    with av.open(str(tmp_path / "song.mkv"), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000)
        container.add_attachment("cover.jpg", "image/jpeg", (tmp_path / "cover.jpg").read_bytes())
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.int16), format="s16", layout="mono")
        samples.sample_rate, samples.pts = 8000, 0
        container.mux(sound.encode(samples))
        container.mux(sound.encode())
    assert not unnamed(record_of(tmp_path / "song.mkv").reason, "picture")


def test_an_empty_packet_in_the_middle_does_not_end_the_video():
    stream = SimpleNamespace(index=0)

    def packet(size, pointer, frames):
        return SimpleNamespace(stream=stream, size=size, buffer_ptr=pointer, decode=lambda: frames)

    packets = [packet(9, 1, ["a"]), packet(0, 1, ["never"]), packet(9, 1, ["b"]), packet(0, 0, ["flushed"])]
    container = SimpleNamespace(demux=lambda *streams: iter(packets))
    assert list(sequential.decode_frames(container, stream)) == ["a", "b", "flushed"]


@pytest.mark.parametrize("frames", [0, 2])
def test_what_the_system_refuses_is_asked_for_again(write, tmp_path, monkeypatch, frames):
    path = write(tmp_path / "v.mp4", frames=5)
    real = opening.decode_frames

    def failing(*args):
        yield from itertools.islice(real(*args), frames)
        raise av.error.PermissionError(13, "Permission denied")

    monkeypatch.setattr(opening, "decode_frames", failing)
    record = record_of(path)
    assert record.frames == frames and not record.lasting
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:100])
    assert record_of(path).verdict == "refused" and record_of(path).lasting


def test_a_reason_is_one_line():
    error = VideoError("a\nb.avi", "x\ny\x1b[31m.jpg is no image")
    assert len(str(error).splitlines()) == 1 and "\x1b" not in str(error)


def test_hidden_files_are_no_images(tmp_path):
    for number in range(3):
        Image.new("RGB", (32, 24), (number, 0, 0)).save(tmp_path / f"{number}.jpg")
    (tmp_path / "._0.jpg").write_bytes(b"\0\5\x16\7" + bytes(80))
    (tmp_path / "._v.mp4").write_bytes(b"\0\5\x16\7" + bytes(80))
    (tmp_path / ".thumbnails").mkdir()
    assert record_of(tmp_path).frames == 3 and is_image_sequence(tmp_path)


def test_the_reason_of_a_broken_image_does_not_repeat_the_path(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no picture")
    assert not unnamed(record_of(tmp_path).reason, "1.png")
