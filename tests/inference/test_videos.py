"""Lists of videos, as spreadsheets save them."""

import dataclasses
import logging

import pytest

from tests.refusals import refused
from vidjax.errors import DataError
from vidjax.inference.network import load_network
from vidjax.inference.videos import inspected, listed_videos


@pytest.fixture
def read(tmp_path):
    """Text -> the names in a list of it, beside which a.avi, b.avi and c;d.avi lie."""
    for name in ("a.avi", "b.avi", "c;d.avi"):
        (tmp_path / name).touch()

    def listed(text):
        (tmp_path / "list.csv").write_text(text)
        return [path.removeprefix(f"{tmp_path}/") for path in listed_videos([str(tmp_path / "list.csv")])]

    return listed


@pytest.mark.parametrize("text", ["file,label\na.avi,3\n", "id;file\n3;a.avi\n", "\nfile\n\na.avi\n"])
def test_a_list_without_a_column_of_paths_is_refused(text, read, tmp_path):
    with refused(DataError, tmp_path / "list.csv", "file", "path", "video"):
        read(text)


@pytest.mark.parametrize(
    "text, names",
    [
        ("label;path\n3;a.avi\n4;gone.avi\n", ["a.avi", "gone.avi"]),
        ("a.avi;3\nb.avi;4\n", ["a.avi", "b.avi"]),
        ("path;note\na.avi;dark, later bright\n", ["a.avi"]),
        ("c;d.avi\na.avi\n", ["c;d.avi", "a.avi"]),
        ('path,note\n"c;d.avi",dark; later bright\n', ["c;d.avi"]),
        ("gone.avi,3\na.avi,4\n", ["gone.avi", "a.avi"]),
    ],
)
def test_columns_are_separated_by_commas_or_semicolons(text, names, read):
    assert read(text) == names


def test_a_network_that_sees_little_of_a_frame_says_so_once(trained_run, toy_folder, caplog):
    network, paths = load_network(trained_run), listed_videos([str(toy_folder / "dark")])
    with caplog.at_level(logging.WARNING, logger="vidjax"):
        inspected(paths, network)
        assert not caplog.records
        kept = dataclasses.replace(network.clip, short_side=None, crop=8)
        inspected(paths, dataclasses.replace(network, clip=kept))
    (record,) = caplog.records
    assert paths[0] in record.getMessage() and "8x8" in record.getMessage()
    assert f"{len(paths) - 1} more" in record.getMessage()
