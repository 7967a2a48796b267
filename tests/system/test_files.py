import json
import os
import threading
from unittest import mock

import pytest

from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.system import files


@pytest.mark.parametrize(
    "content",
    [
        {"a": [1, 2.5, None, True], "b": {"c": [[1, 2], [3]], "d": []}, "e": "x"},
        ["[\n1,\n 2]", "a  b", {"k": ["[1,  2]", 3]}],
        {"text": 'quote " and \\n [\n', "nan": [float("inf"), -1e-7]},
        [],
    ],
)
def test_json_is_the_same_content(content):
    assert json.loads(files.to_json(content)) == content


def test_numbers_of_a_list_stand_on_one_line():
    assert files.to_json({"b": [1, 2], "a": ["x"]}, sort_keys=True) == '{\n "a": [\n  "x"\n ],\n "b": [1, 2]\n}\n'


def test_a_written_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.write_json(path, {"a": [1]})
    assert files.read_json(path) == {"a": [1]}
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert files.read_json(path) == {"a": [1]}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError) as caught:
        files.write_text(tmp_path / "folder", "")
    assert caught.value.filename == str(tmp_path / "folder") and caught.value.filename2 is None
    with pytest.raises(FileExistsError) as caught:
        files.write_text(tmp_path / "file" / "a.json", "")
    assert caught.value.filename == str(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_pipe_is_written_to_and_stays(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    files.check_file(path, "--json=pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    files.write_text(path, "content")
    reader.join()
    assert read == ["content"] and path.is_fifo()


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with refused(ConfigError, "--out=a", tmp_path / "file"):
        files.check_file(tmp_path / "file" / "in" / "a", "--out=a")
    with refused(ConfigError, "--out=b"):
        files.check_file(tmp_path, "--out=b")
    with mock.patch("os.access", return_value=False), refused(ConfigError, "--out=c", tmp_path):
        files.check_folder(tmp_path / "new", "--out=c")


def test_a_check_leaves_nothing(tmp_path):
    files.check_file(tmp_path / "new" / "deep" / "a", "--out=a")
    files.check_folder(tmp_path, "--out=a")
    assert list(tmp_path.iterdir()) == []
