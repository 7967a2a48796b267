"""`python -m vidjax check-data`, on the toy videos and on broken ones."""

import csv
import os
import shutil

import pytest

from tests.refusals import unnamed
from vidjax.cli import main


@pytest.fixture
def mixed(toy_folder, tmp_path, monkeypatch):
    """Two sound videos, a folder of images, two broken files and one that is no video."""
    from PIL import Image

    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "videos"
    (root / "dark" / "frames").mkdir(parents=True)
    for number in range(2):
        shutil.copy(toy_folder / "dark" / f"dark{number}.avi", root / "dark")
    for number in range(3):
        Image.new("RGB", (32, 24), (number, 0, 0)).save(root / "dark" / "frames" / f"{number}.png")
    (root / "text.mp4").write_text("no video")
    os.mkfifo(root / "pipe.avi")
    (root / "README.md").write_text("about")
    return root


def test_a_folder_with_broken_files(mixed, tmp_path, capsys):
    table = tmp_path / "out" / "index.csv"
    assert main(["check-data", str(mixed), "--out", str(table), "--jobs", "2"]) == 1
    printed = capsys.readouterr().out
    assert f"refused: {mixed}/text.mp4: " in printed and f"refused: {mixed}/pipe.avi: " in printed
    lines = [line.split() for line in printed.splitlines()]
    assert ["ok", "2", "seeking", "is", "exact"] in lines
    assert ["slow", "path", "1", "no", "seeking", "in", "a", "folder"] in lines
    with table.open() as file:
        rows = {os.path.basename(row["path"]): row for row in csv.DictReader(file)}
    assert rows["dark0.avi"]["frames"] == "14" and rows["dark0.avi"]["verdict"] == "ok"
    assert {row["ends_early"] for row in rows.values()} == {"False"}
    assert rows["frames"]["frames"] == "3" and rows["text.mp4"]["verdict"] == "refused"


def test_a_sound_folder_and_a_file(mixed, capsys):
    assert main(["check-data", str(mixed / "dark")]) == 0
    assert main(["check-data", str(mixed / "text.mp4")]) == 1
    assert main(["check-data", str(mixed / "dark"), str(mixed / "dark" / "dark0.avi")]) == 0
    assert "dark0.avi" not in capsys.readouterr().out.split("checking")[-1]


def test_a_name_that_training_refuses_is_told_of(mixed, toy_folder, capsys):
    shutil.copy(os.fsencode(toy_folder / "dark" / "dark0.avi"), os.fsencode(mixed / "dark") + b"/x\xff.avi")
    main(["check-data", str(mixed / "dark")])
    assert not unnamed(capsys.readouterr().out, r"x\udcff.avi", "UTF-8")


def test_a_folder_that_cannot_be_listed_does_not_end_the_check(mixed, monkeypatch, capsys):
    locked = mixed / "dark" / "locked"
    locked.mkdir()
    iterdir = type(locked).iterdir

    def refusing(path):
        if path == locked:
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(type(locked), "iterdir", refusing)
    main(["check-data", str(mixed / "dark")])
    printed = capsys.readouterr().out
    assert f"refused: {locked}" in printed and "ok" in printed.split()


@pytest.mark.parametrize(
    "arguments, tokens",
    [
        (["missing"], ("missing",)),
        (["empty"], ("empty",)),
        (["videos", "--jobs", "0"], ("--jobs 0", "1")),
        (["videos", "--out", "videos/text.mp4/index.csv"], ("videos/text.mp4/index.csv",)),
        (["videos", "--out", "empty"], ("--out=empty", "folder")),
    ],
)
def test_errors(mixed, tmp_path, monkeypatch, capsys, arguments, tokens):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["check-data", *arguments]) == 1
    captured = capsys.readouterr()
    assert not unnamed(captured.err, *tokens)
    assert "folder" not in tokens or "checking" not in captured.out + captured.err
