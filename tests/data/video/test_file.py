"""Every kind of video file is read in the same way, and nobody asks which kind it is."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest

import vidjax
from vidjax.data.packed.records import content_of
from vidjax.data.packed.shards import ShardFile
from vidjax.data.video.decoding import read_frames
from vidjax.data.video.file import DiskFile, MemoryFile, as_file
from vidjax.data.video.opening import open_video

_KINDS = {"DiskFile", "MemoryFile", "ShardFile", "ReadableFile", "VideoFile"}
_OWN = {"data/video/file.py", "data/packed/shards.py"}


def names_in(node):
    return {n.attr if isinstance(n, ast.Attribute) else getattr(n, "id", None) for n in ast.walk(node)}


def test_no_code_asks_for_the_kind_of_a_file():
    root = Path(vidjax.__file__).parent
    asked = []
    for path in root.rglob("*.py"):
        if path.relative_to(root).as_posix() in _OWN:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and names_in(node.func) & {"isinstance", "type"}:
                asked += [f"{path.name}:{node.lineno}" for arg in node.args if names_in(arg) & _KINDS]
    assert asked == []


@pytest.fixture
def in_memory(write, tmp_path):
    file = as_file(write(tmp_path / "v.avi", frames=9))
    return file, MemoryFile("packed v.avi", content_of(file), False, (1, 2))


def test_a_file_in_memory_shows_what_the_file_on_the_disk_shows(in_memory):
    on_disk, in_memory = in_memory
    np.testing.assert_array_equal(read_frames(in_memory, [7, 0]), read_frames(on_disk, [7, 0]))
    with open_video(in_memory, seekable=True) as video:
        assert video.container.seek(0) is None
    assert in_memory.content_size() == 1 and on_disk.content_size() == Path(str(on_disk)).stat().st_size


def test_files_pickle_and_are_equal_by_what_they_name(in_memory):
    for file in (*in_memory, ShardFile("/shard", 3, "v.avi", (1, 2))):
        copy = pickle.loads(pickle.dumps(file))
        assert copy == file and hash(copy) == hash(file) and str(copy) == str(file)
    assert DiskFile("a") != DiskFile("a", exact_seek=True)
    assert as_file(Path("a")) == as_file("a") == as_file(DiskFile("a"))
