import json

import pytest

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
    for path in (tmp_path / "folder", tmp_path / "file" / "a.json"):
        with pytest.raises(OSError) as caught:
            files.write_text(path, "")
        assert caught.value.filename == str(path) and caught.value.filename2 is None
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_check_leaves_nothing(tmp_path):
    files.check_file(tmp_path / "new" / "deep" / "a", "--out=a")
    files.check_folder(tmp_path, "--out=a")
    assert list(tmp_path.iterdir()) == []
