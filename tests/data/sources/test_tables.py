import pytest

from vidjax.data.sources.tables import CsvRow, read_table
from vidjax.errors import DataError


def read(tmp_path, content: bytes):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    return read_table(path, ("path", "label"))


def test_quotes_byte_order_mark_line_ends_and_blank_lines(tmp_path):
    content = '\ufeffLabel , path,more\r\n\r\nwalk,"a, ""b"".mp4", x \r\n,,\r\nrun,"ü.mp4",\r\n'.encode()
    assert read(tmp_path, content) == [
        CsvRow(3, {"label": "walk", "path": 'a, "b".mp4', "more": "x"}),
        CsvRow(5, {"label": "run", "path": "ü.mp4", "more": ""}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"list\.csv: is empty; its first line must be path,label"),
        (b"\n \n", "is empty"),
        (b"a.mp4,walk\n", r":1: the header must name path,label, separated by commas; path, label is not in 'a\.mp4,w"),
        (b"path;label\na.mp4;walk\n", "is not in 'path;label'"),
        (b"path,label,Path\na,b,c\n", ":1: the header names path twice"),
        (b"path,label\n", "names no clip"),
        (b"path,label\na.mp4,walk\nb.mp4\n", r":3: has 1 fields, but the header names 2"),
        (b"path,label\na.mp4,walk,x\n", r":2: has 3 fields, but the header names 2"),
        (b'path,label\n"a.mp4,walk\n', r":2: is no line of a CSV file"),
        (b'path,label\n"a"b.mp4,walk\n', r":2: is no line of a CSV file"),
        (b"path,label\n\xff.mp4,walk\n", "cannot be read as text"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv is missing"):
        read_table(tmp_path / "none.csv", ("path",))
    with pytest.raises(DataError, match="cannot be read as text"):
        read_table(tmp_path, ("path",))
