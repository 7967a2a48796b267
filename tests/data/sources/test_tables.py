import pytest

from tests.refusals import refused
from vidjax.data.sources.tables import CsvRow, read_table
from vidjax.errors import DataError, DuplicateError, MissingFileError


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
    ("content", "error", "tokens"),
    [
        (b"", DataError, ("list.csv", "path,label")),
        (b"\n \n", DataError, ("list.csv", "path,label")),
        (b"a.mp4,walk\n", DataError, ("list.csv:1", "path,label", "'a.mp4,walk'")),
        (b"path;label\na.mp4;walk\n", DataError, ("list.csv:1", "path,label", "'path;label'")),
        (b"path,label,Path\na,b,c\n", DuplicateError, ("list.csv:1", "path")),
        (b"path,label\n", DataError, ("list.csv",)),
        (b"path,label\na.mp4,walk\nb.mp4\n", DataError, ("list.csv:3", "1", "2")),
        (b"path,label\na.mp4,walk,x\n", DataError, ("list.csv:2", "3", "2")),
        (b'path,label\n"a.mp4,walk\n', DataError, ("list.csv:2", "CSV")),
        (b'path,label\n"a"b.mp4,walk\n', DataError, ("list.csv:2", "CSV")),
        (b"path,label\n\xff.mp4,walk\n", DataError, ("list.csv", "'utf-8'", "0xff")),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, content, error, tokens):
    with refused(error, *tokens):
        read(tmp_path, content)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with refused(MissingFileError, "none.csv"):
        read_table(tmp_path / "none.csv", ("path",))
    with refused(DataError, tmp_path, "[Errno 21]"):
        read_table(tmp_path, ("path",))
