import av
import numpy as np
import pytest

from vidjax.data.video import index
from vidjax.data.video.reading import read_frames
from vidjax.data.video.seek_table import FrameIndex, SeekTable, pack


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """60 frames of noise in groups of 12 with B-frames."""
    path = str(tmp_path_factory.mktemp("seek") / "noise.mp4")
    rng = np.random.default_rng(0)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "12", "bf": "2", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(60):
            pixels = np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def record(video, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("VIDJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
    (found,) = index.inspect_files([video]).values()
    patch.undo()
    assert found.verdict == "ok"
    return found


@pytest.mark.parametrize("pts, keys", [((0,), (0,)), ((-512, 0, 512), (0, 2)), (tuple(range(5, 999, 7)), (0, 50, 100))])
def test_places_survive_packing(pts, keys):
    assert SeekTable(pack(FrameIndex(pts, keys)), (1, 2)).frame_index() == FrameIndex(pts, keys)


def test_the_last_key_that_is_not_behind():
    places = FrameIndex(tuple(range(30)), (0, 12, 24))
    assert [places.keyframe_before(number) for number in (0, 11, 12, 13, 23, 24, 29)] == [0, 0, 12, 12, 12, 24, 24]


@pytest.mark.parametrize("size", [None, (24, 30)])
@pytest.mark.parametrize(
    "wanted", [[0], [59], [13, 12, 11], [5, 40, 5, 58], [36, 0, 24], list(range(0, 60, 2)), [59, 0, 30, 1]]
)
def test_seeking_shows_what_decoding_in_order_shows(video, record, wanted, size):
    np.testing.assert_array_equal(
        read_frames(video, wanted, size, table=record.table), read_frames(video, wanted, size)
    )


@pytest.mark.parametrize("wrong", ["time", "key", "signature", "count"])
def test_a_table_that_does_not_fit_changes_nothing(video, record, wrong):
    places, signature = record.table.frame_index(), record.table.signature
    pts, keys = list(places.pts), list(places.keys)
    if wrong == "time":
        pts[30] += 1
    if wrong == "key":
        keys[1] += 1
    if wrong == "count":
        del pts[40:]
    table = SeekTable(pack(FrameIndex(tuple(pts), tuple(keys))), (1, 1) if wrong == "signature" else signature)
    for wanted in ([30, 33], [keys[1]], [50], [14]):
        np.testing.assert_array_equal(read_frames(video, wanted, table=table), read_frames(video, wanted))


def test_less_is_decoded(video, record, monkeypatch):
    """Else the table would be of no use, and nothing above would say so."""
    from vidjax.data.video import decoding

    seen = []
    add = decoding._FrameCollector.add
    monkeypatch.setattr(
        decoding._FrameCollector, "add", lambda self, n, frame: (seen.append(n), add(self, n, frame))[1]
    )
    read_frames(video, [50, 26], (24, 30), table=record.table)
    assert seen == [24, 25, 26, 48, 49, 50]
    seen.clear()
    read_frames(video, [50], (24, 30))
    assert seen == list(range(51))
