"""A few sentences as users see them; all other tests look at what errors name, so that sentences can be rewritten."""

import pytest

from vidjax import cli
from vidjax.data.sources import csv_list
from vidjax.errors import (
    ConfigError,
    DataError,
    DifferentRunError,
    DivergedError,
    DuplicateError,
    EmptyPartError,
    InUseError,
    LeakError,
    MissingFileError,
    OptionDataError,
    OptionError,
    UnknownKeyError,
    VideoError,
    VidjaxError,
    printable,
)

ERRORS = {
    "data.crop=3 is above data.size=2": ConfigError("data.crop=3 is above data.size=2", ["data.crop", "data.size"]),
    "crop=3 is above size=2": OptionError("{crop}=3 is above {size}=2", ["crop", "size"]),
    "unknown key 'data.crp'": UnknownKeyError("unknown key 'data.crp'", ["data.crp"], "data.crop"),
    "runs/a holds another run (seed: 0 -> 1)": DifferentRunError("runs/a holds another run (seed: 0 -> 1)", ["seed"]),
    "runs/a is in use": InUseError("runs/a is in use"),
    "the loss is nan at step 3": DivergedError("the loss is nan at step 3"),
    "list.csv:3: has no label": DataError("list.csv:3: has no label"),
    "root=clips is not a folder": OptionDataError("{root}=clips is not a folder", ["root"]),
    "list.csv is missing": MissingFileError("list.csv is missing"),
    "the test part is empty": EmptyPartError("the test part is empty"),
    "a.mp4 is listed twice": DuplicateError("a.mp4 is listed twice"),
    "a.mp4 is in train and in test": LeakError("a.mp4 is in train and in test"),
    "a.mp4: is damaged": VideoError("a.mp4", "is damaged"),
    r"'a\nb.mp4': 'is\tdamaged'": VideoError("a\nb.mp4", "is\tdamaged"),
}


@pytest.mark.parametrize("line, error", ERRORS.items())
def test_each_error_is_shown_in_one_line_without_a_traceback(monkeypatch, capsys, line, error):
    def fail(*args):
        raise error

    monkeypatch.setattr("vidjax.cli.readme.run", fail)
    assert cli.main(["readme"]) == 1
    assert capsys.readouterr().err == f"error: {line}\n"
    assert isinstance(error, VidjaxError)


def test_unprintable_names_are_shown_escaped(tmp_path):
    assert [printable(name) for name in ("a b.mp4", "a\nb.mp4", "a\x1b[1m.mp4", "\udcff.mp4")] == [
        "a b.mp4",
        r"'a\nb.mp4'",
        r"'a\x1b[1m.mp4'",
        r"'\udcff.mp4'",
    ]
    (tmp_path / "list.csv").write_text('path,label,split\n"a\nb.mp4",walk,train\n')
    with pytest.raises(DataError) as caught:
        csv_list.load(annotations=str(tmp_path / "list.csv"))
    assert str(caught.value) == rf"{tmp_path}/list.csv:3: path 'a\nb.mp4' holds a line break"
