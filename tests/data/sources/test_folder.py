import os
import shutil

import pytest

from tests.refusals import refused, unnamed
from vidjax.data.sources import folder
from vidjax.errors import ConfigError, DataError, DuplicateError, EmptyPartError


def fill(root, classes=("jump", "walk"), clips=40, suffix=".mp4", prefix="clip"):
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(clips):
            (root / name / f"{prefix}{number}{suffix}").write_bytes(b"x")
    return root


def load(root, **options):
    return folder.load(root=str(root), **options)


def parts(source):
    return {v.id: part for part in ("train", "validation", "test") for v in getattr(source, part)}


def test_class_folders_are_split_by_hash(tmp_path):
    source = load(fill(tmp_path / "mine", clips=300))
    assert (source.name, source.classes, source.mirror) == ("mine", ("jump", "walk"), None)
    assert source.split == "hash, seed 0" and not source.notes
    for part, count in (("train", 210), ("validation", 30), ("test", 60)):
        assert [sum(v.label == label for v in getattr(source, part)) for label in (0, 1)] == [count, count]
    video = source.train[0]
    assert video.id.startswith("jump/clip") and video.label == 0 and video.group == video.id
    assert os.path.isfile(video.path)


def test_adding_clips_moves_few_others_and_the_seed_does(tmp_path):
    before = parts(load(fill(tmp_path, clips=100)))
    assert parts(load(tmp_path, seed=1)) != before
    fill(tmp_path, clips=5, prefix="new", suffix=".AVI")
    after = parts(load(tmp_path))
    assert len(after) == 210 and sum(after[name] != before[name] for name in before) <= 10


def test_small_classes_are_tested_and_what_is_not_is_said(tmp_path):
    fill(tmp_path, clips=3)
    fill(tmp_path, classes=("run",), clips=1)
    source = load(tmp_path)
    assert {v.label for v in source.test} == {v.label for v in source.validation} == {0, 2}
    assert {v.label for v in source.train} == {0, 1, 2}
    (note,) = source.notes
    assert not unnamed(note, 1, 3, "run")


def test_given_parts(tmp_path):
    for part, clips in (("train", 9), ("val", 3), ("test", 4)):
        fill(tmp_path / part, clips=clips, prefix=part)
    source = load(tmp_path, mirror="invariant")
    assert (source.split, source.mirror) == ("given", "invariant")
    assert [len(videos) for videos in (source.train, source.validation, source.test)] == [18, 6, 8]


def test_validation_is_taken_from_training_where_it_is_not_given(tmp_path):
    for part, clips in (("train", 60), ("test", 4)):
        fill(tmp_path / part, clips=clips, prefix=part)
    source = load(tmp_path)
    assert len(source.train) + len(source.validation) == 120 and len(source.test) == 8
    assert 2 < len(source.validation) < 30


def test_a_class_named_like_a_part_is_still_a_class(tmp_path):
    assert load(fill(tmp_path, classes=("train", "tram"))).classes == ("train", "tram")


def test_other_files_are_ignored_and_counted(tmp_path):
    fill(tmp_path)
    (tmp_path / "jump" / "notes.txt").write_text("x")
    (tmp_path / "jump" / "._hidden.mp4").write_text("x")
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".git").mkdir()
    source = load(tmp_path)
    assert len(parts(source)) == 80
    assert source.notes[0].startswith("2 entries")
    (tmp_path / "README.md").unlink()
    assert load(tmp_path).notes[0].startswith("1 entry of")


def break_empty_class(root):
    (root / "run").mkdir()


def break_no_videos(root):
    (root / "run").mkdir()
    (root / "run" / "a.txt").write_text("x")


def break_duplicate(root):
    (root / "jump" / "clip0.avi").write_bytes(b"x")


def break_no_classes(root):
    shutil.rmtree(root)
    root.mkdir()


def break_name(root):
    (root / "jump" / os.fsdecode(b"\xff.mp4")).write_bytes(b"x")


@pytest.mark.parametrize(
    ("damage", "error", "tokens"),
    [
        (break_empty_class, DataError, ("mine/run", "0")),
        (break_no_videos, DataError, ("mine/run", "1")),
        (break_duplicate, DuplicateError, ("jump/clip0",)),
        (break_no_classes, DataError, ("mine",)),
        (break_name, DataError, (r"'\udcff.mp4'", "mine/jump", "UTF-8")),
    ],
)
def test_folders_that_do_not_fit_are_refused(tmp_path, damage, error, tokens):
    root = fill(tmp_path / "mine")
    damage(root)
    with refused(error, *tokens):
        load(root)


def test_given_parts_that_do_not_fit_are_refused(tmp_path):
    fill(tmp_path / "train", prefix="a")
    with refused(DataError, tmp_path, "train/", "test/"):
        load(tmp_path)
    fill(tmp_path / "test", classes=("jump",), prefix="b")
    with refused(DataError, "walk", "train", "test"):
        load(tmp_path)
    fill(tmp_path / "test", classes=("walk",), prefix="a")
    with refused(DuplicateError, "walk/a0"):
        load(tmp_path)
    fill(tmp_path / "val")
    fill(tmp_path / "validation")
    with refused(DataError, "val/", "validation/"):
        load(tmp_path)


def test_an_empty_part_and_wrong_options(tmp_path):
    with refused(EmptyPartError, "few", "test"):
        load(fill(tmp_path / "few", clips=1))
    with refused(DataError, f"root={tmp_path / 'nowhere'}"):
        load(tmp_path / "nowhere")
    with refused(ConfigError, "mirror", "'yes'"):
        load(tmp_path / "few", mirror="yes")
    with refused(ConfigError, "validation", "0.2", "test", "0.9"):
        load(tmp_path / "few", test=0.9, validation=0.2)
