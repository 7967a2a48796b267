import numpy as np
import pytest

from benchmarks.input_readers import ReaderProcess
from vidjax.data.records import Video
from vidjax.data.video.reading import read_frames


@pytest.fixture
def video(test_data):
    path = str(test_data / "videos" / "vp9.mp4")
    return Video.of("a", path, 0, "a")


@pytest.mark.parametrize("name", ["vidjax", "PyAV, in order", "decord"])
def test_a_process_reads_frames_and_times_them(video, name):
    reader = ReaderProcess(name)
    assert reader.missing == ""
    for indices in ([3, 8], [8, 3]):
        answer = reader.read(video, indices, (60, 80))
        assert answer.cpu_ms > 0 and answer.error == ""
        wanted = read_frames(video.path, indices, (60, 80)).astype(int)
        assert np.abs(answer.frames - wanted).mean() < 8
    missing = reader.read(Video.of("b", "missing.mp4", 0, "b"), [0], (60, 80))
    assert missing.frames is None and missing.cpu_ms != missing.cpu_ms and "missing.mp4" in missing.error
    assert reader.read(video, [0], (60, 80)).error == "", "an error does not end it"
    reader.close()


def test_a_library_that_cannot_be_imported(tmp_path):
    (tmp_path / "decord.py").write_text("raise OSError('no such library\\nand more')")
    reader = ReaderProcess("decord", tmp_path)
    assert reader.missing == "decord: no such library"
    reader.close()


def test_a_crash_is_an_answer_and_the_next_clip_is_read(video, tmp_path):
    """As of a library whose code ends the process."""
    (tmp_path / "decord.py").write_text("import os\ndef VideoReader(*args, **kwargs):\n    os._exit(3)\n")
    reader = ReaderProcess("decord", tmp_path)
    for _ in range(2):
        answer = reader.read(video, [0], (60, 80))
        assert answer.frames is None and "3" in answer.error
    reader.close()
