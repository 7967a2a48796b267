"""What is no video is said to be what it is."""

import gzip
import io
import struct

import av
import numpy as np
import pytest
from PIL import Image

from tests.refusals import unnamed
from vidjax.data.video.file import MemoryFile
from vidjax.data.video.file_types import gif_truncation, unsupported_reason
from vidjax.data.video.inspection import inspect
from vidjax.data.video.opening import open_video
from vidjax.data.video.reading import read_frames
from vidjax.errors import VideoError


def record_of(path):
    *_, record = inspect(str(path))
    return record


def box(kind, content=b""):
    return struct.pack(">I4s", 8 + len(content), kind) + content


OTHERS = {
    b"#EXTM3U\n#EXTINF:4,\nfirst.ts\n": "HLS",
    b"ffconcat version 1.0\nfile base.mp4\n": "ffconcat",
    b'<?xml version="1.0"?><MPD type="static"><Period/></MPD>': "DASH",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n": "(SDP)",
    b"<!DOCTYPE html><html><body>404</body></html>": "HTML",
    b"\xef\xbb\xbf\n <html>404</html>": "HTML",
    "1\n00:00 --> 00:01\nhällo\n".encode(): "text",
    gzip.compress(b"video" * 100): "gzip",
    b"PK\3\4" + bytes(100): "zip",
    b"\xff\xd8\xff\xe0" + bytes(100): "JPEG",
    b"ID3\3" + bytes(100): "MPEG",
    b"RIFF\x24\0\0\0WAVEfmt " + bytes(24): "WAVE",
    box(b"ftyp", b"isom\0\0\0\0isom") + box(b"mdat", bytes(500)): "moov",
    box(b"ftyp", b"isom\0\0\0\0isom") + box(b"mdat", bytes(500))[:300]: "moov",
    box(b"ftyp", b"isom\0\0\0\0isom") + box(b"moov", bytes(500))[:300]: "moov",
    bytes(range(256)) * 8: "container",
}


@pytest.mark.parametrize("content", OTHERS, ids=OTHERS.values())
def test_what_is_no_video_is_named(tmp_path, content):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    record = record_of(path)
    assert record.verdict == "refused" and not unnamed(record.reason, OTHERS[content]) and "\n" not in record.reason
    with (
        pytest.raises(VideoError) as packed,
        open_video(MemoryFile("x.mp4", (("x.mp4", content),), False, (0, 0))),
    ):
        pass
    assert packed.value.reason == record.reason


def test_containers_that_are_known_keep_the_decoder_s_reason():
    for start in (b"RIFF\0\0\0\0AVI LIST", b"\x1aE\xdf\xa3" + bytes(9), b"OggS\0", box(b"ftyp") + box(b"moov")):
        assert unsupported_reason(io.BytesIO(start)) is None


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 8000, 0
        container.mux(sound.encode(samples))
        container.mux(sound.encode())
    assert not unnamed(record_of(tmp_path / "song.mp4").reason, "sound")


def gif(count=8):
    """Its content, and where each picture ends."""
    rng = np.random.default_rng(0)
    first, *rest = [Image.fromarray(rng.integers(0, 255, (60, 80), dtype=np.uint8)) for _ in range(count)]
    file = io.BytesIO()
    first.save(file, "gif", save_all=True, append_images=rest, duration=40)
    return file.getvalue()


def test_a_gif_that_is_cut_shows_no_half_picture(tmp_path):
    content = gif()
    (tmp_path / "whole.gif").write_bytes(content)
    whole = record_of(tmp_path / "whole.gif")
    assert (whole.frames, whole.warning) == (8, "") and gif_truncation(content + b"more") is None
    frames = read_frames(tmp_path / "whole.gif", range(8))
    seen = set()
    for length in np.linspace(len(content) // 6, len(content) - 1, 23).astype(int):
        (tmp_path / "cut.gif").write_bytes(content[:length])
        cut = record_of(tmp_path / "cut.gif")
        seen.add(cut.frames)
        assert cut.warning and cut.verdict == "slow"
        np.testing.assert_array_equal(read_frames(tmp_path / "cut.gif", range(cut.frames)), frames[: cut.frames])
    assert len(seen) > 5
    assert cut.frames == 8 and not unnamed(cut.warning, "trailer")


def test_a_gif_with_zeros_in_it_ends_in_front_of_them(tmp_path):
    content = bytearray(gif())
    (tmp_path / "whole.gif").write_bytes(content)
    frames = read_frames(tmp_path / "whole.gif", range(8))
    content[len(content) // 2 : len(content) // 2 + 900] = bytes(900)
    (tmp_path / "zeros.gif").write_bytes(content)
    record = record_of(tmp_path / "zeros.gif")
    assert 2 < record.frames < 5 and record.warning == f"frame {record.frames} is damaged"
    np.testing.assert_array_equal(read_frames(tmp_path / "zeros.gif", range(record.frames)), frames[: record.frames])


@pytest.mark.parametrize("size", [6, 9, 10, 13])
def test_a_gif_that_ends_in_its_header_is_refused(tmp_path, size):
    path = tmp_path / "short.gif"
    path.write_bytes(b"GIF89a\x10\x00\x10\x00\x80\x00\x00"[:size])
    with pytest.raises(VideoError):
        read_frames(str(path), [0])
