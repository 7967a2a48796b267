import pytest

from tests.refusals import refused, unnamed
from vidjax.data import indexing
from vidjax.data.records import Source, Video
from vidjax.data.video.inspection import FileRecord
from vidjax.errors import DataError


@pytest.fixture
def source(monkeypatch):
    """Three videos: one is sound, one is refused for good, one for which the machine may be the cause."""
    verdicts = {"a": ("ok", "", True), "b": ("refused", "no video", True), "c": ("refused", "takes too long", False)}

    def known(paths, **options):
        return {p: FileRecord(p, 1, 1, verdicts[p][0], verdicts[p][1], lasting=verdicts[p][2], frames=9) for p in paths}

    monkeypatch.setattr(indexing, "inspect_files", known)
    videos = tuple(Video.of(name, name, 0, name) for name in "abc")
    return Source("toy", "given", ("x", "y"), videos, (), (), None, ())


def test_what_cannot_be_inspected_counts_as_unreadable_in_this_run(source):
    found = indexing.with_file_info(source)
    assert [video.refused for video in found.train] == [None, "no video", "takes too long"]
    assert found.train[0].streams["rgb"].info.frames == 9
    (note,) = found.notes
    assert not unnamed(note, 1, "c")


def test_a_packed_set_is_not_made_without_it(source):
    with refused(DataError, "c"):
        indexing.with_file_info(source, certain=True)
