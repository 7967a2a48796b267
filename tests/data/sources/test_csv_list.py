import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.refusals import refused, unnamed
from vidjax.data import indexing
from vidjax.data.records import Video
from vidjax.data.sources import SOURCES, csv_list
from vidjax.data.sources.listed import validation_groups
from vidjax.errors import ConfigError, DataError, DuplicateError, EmptyPartError, LeakError


def write(folder, *rows, header="path,label,split"):
    """Writes list.csv, and the clips that its rows name."""
    for row in rows:
        path = folder / (row.split(",")[0] or "unnamed.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (folder / "list.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "list.csv"


ROWS = ("b/1.mp4,walk,train", "b/2.mp4,run,train", "a.mp4,walk,val", "c.mp4,run,test", "d.mp4,walk,test")


def load(path, **options):
    return csv_list.load(annotations=str(path), **options)


def ids(videos):
    return [video.id for video in videos]


def test_parts_labels_and_paths(tmp_path):
    source = load(write(tmp_path, *ROWS))
    assert SOURCES["csv"] is csv_list.load
    assert (source.name, source.split, source.classes, source.mirror) == ("list", "given", ("run", "walk"), None)
    assert (ids(source.train), ids(source.validation), ids(source.test)) == (
        ["b/1.mp4", "b/2.mp4"],
        ["a.mp4"],
        ["c.mp4", "d.mp4"],
    )
    assert [video.label for video in source.train + source.validation + source.test] == [1, 0, 1, 0, 1]
    first = source.train[0]
    assert (first.path, first.group, first.streams["rgb"].frames) == (str(tmp_path / "b" / "1.mp4"), "b/1.mp4", None)
    assert source.num_missing_clips == 0 and source.notes == ()
    assert load(tmp_path / "list.csv", mirror="forbidden").mirror == "forbidden"


def test_paths_start_from_root_or_are_absolute(tmp_path):
    clips = tmp_path / "clips"
    write(clips, *ROWS)
    other = tmp_path / "elsewhere.mp4"
    other.write_bytes(b"x")
    lists = tmp_path / "lists"
    lists.mkdir()
    rows = (*ROWS[1:], f"{clips}/b/../b/1.mp4,walk,train", f"{other},run,train")
    (lists / "mine.csv").write_text("\n".join(["path,label,split", *rows]))
    source = load(lists / "mine.csv", root=str(clips))
    assert ids(source.train) == ["b/2.mp4", "b/1.mp4", other.as_posix()]
    assert source.train[1].path == str(clips / "b" / "1.mp4")
    with refused(DataError, "b/2.mp4", "4", "6", "allow_missing"):
        load(lists / "mine.csv")


def test_whole_numbers_are_classes_in_their_order(tmp_path):
    rows = [f"{part}{label}.mp4,{label},{part}" for label in (10, 9, -1) for part in ("train", "val", "test")]
    source = load(write(tmp_path, *rows))
    assert source.classes == ("-1", "9", "10") and [video.label for video in source.train] == [2, 1, 0]
    with refused(DataError, "list.csv", "'09'", "'9'"):
        load(write(tmp_path, *rows, "x.mp4,09,train"))


def test_validation_is_cut_from_training_by_group(tmp_path):
    rows = [f"{label}{n}.mp4,{label},train,{label}{n // 2}" for label in ("run", "walk") for n in range(20)]
    rows += ["a.mp4,run,test,", "b.mp4,walk,test,"]
    path = write(tmp_path, *rows, header="path,label,split,group")
    source = load(path, validation=0.3)
    groups = {video.group for video in source.validation}
    assert len(source.validation) == 12 and len(groups) == 6
    assert [sum(v.label == label for v in source.validation) for label in (0, 1)] == [6, 6]
    assert not groups & {video.group for video in source.train}
    assert source.test[0].group == "a.mp4"
    assert load(path, validation=0.3) == source


def test_a_group_of_several_classes_leaves_each_a_clip_to_train_on(tmp_path):
    # "run" has two groups, but one is the only one that "walk" has, and the other the only one that "jump" has.
    rows = ["1.mp4,run,train,g", "2.mp4,walk,train,g", "3.mp4,run,train,h", "4.mp4,jump,train,h"]
    rows += [f"{label}.mp4,{label},test," for label in ("run", "walk", "jump")]
    path = write(tmp_path, *rows, header="path,label,split,group")
    with refused(EmptyPartError, "validation"):
        load(path)
    source = load(write(tmp_path, *rows, "5.mp4,run,train,i", header="path,label,split,group"), validation=0.7)
    assert {video.group for video in source.train} == {"g", "h"} and ids(source.validation) == ["5.mp4"]


def test_classes_that_share_all_their_groups_keep_one():
    # Their hashes are 0.79 (a), 0.24 (b) and 0.18 (c). Each class would give its lower one: b, c and c; "walk", which
    # then has none left, takes b back.
    shared = {"run": "ab", "walk": "bc", "jump": "ca"}
    train = [
        Video.of(f"{name}{group}", "", label, group)
        for label, (name, groups) in enumerate(shared.items())
        for group in groups
    ]
    assert validation_groups(train, 0.5) == {"c"}


def test_folders_of_images_are_clips(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path, *ROWS)
    for number in range(3):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.new("RGB", (32, 24), (number, 0, 0)).save(tmp_path / "frames" / f"{number}.png")
    os.mkfifo(tmp_path / "pipe.mp4")
    path.write_text(path.read_text() + "frames,walk,train\npipe.mp4,run,train\n")
    source = load(path)
    assert ids(source.train)[2:] == ["frames", "pipe.mp4"] and source.num_missing_clips == 0
    found = {video.id: video for video in indexing.with_file_info(source).train}
    assert found["frames"].streams["rgb"].info.frames == 3 and found["pipe.mp4"].refused
    (tmp_path / "frames").rename(tmp_path / "gone")
    (tmp_path / "frames").symlink_to(tmp_path / "nowhere")
    with refused(DataError, "frames", "1", "7", "allow_missing"):
        load(path)


def test_missing_clips_are_named_or_counted(tmp_path):
    path = write(tmp_path, *ROWS, "e.mp4,jump,train", "f.mp4,run,train")
    for name in ("e.mp4", "f.mp4"):
        (tmp_path / name).unlink()
    with refused(DataError, "e.mp4", "2", "7", "allow_missing"):
        load(path)
    source = load(path, allow_missing=True)
    assert source.num_missing_clips == 2 and source.classes == ("run", "walk")
    assert not unnamed(source.notes[0], 2, 7, tmp_path) and not unnamed(source.notes[1], 1, 3)
    (tmp_path / "a.mp4").unlink()
    with refused(EmptyPartError, "validation", "1"):
        load(path, allow_missing=True)


def test_classes_without_a_test_clip_are_said(tmp_path):
    (note,) = load(write(tmp_path, *ROWS, "e.mp4,jump,train")).notes
    assert not unnamed(note, 1, 3, "jump")


@pytest.mark.parametrize(
    ("row", "error", "tokens"),
    [
        ("e.mp4,run,training", DataError, ("list.csv:7", "split", "'training'", "train, val, validation, test")),
        ("e.mp4,,train", DataError, ("list.csv:7", "label")),
        (",run,train", DataError, ("list.csv:7", "path")),
        ("a.mp4,run,train", DuplicateError, ("list.csv:7", "a.mp4", "4")),
        ("b/../a.mp4,run,train", DuplicateError, ("list.csv:7", "a.mp4", "4")),
        ("e.mp4,jump,test", DataError, ("jump", "train")),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, row, error, tokens):
    with refused(error, *tokens):
        load(write(tmp_path, *ROWS, row))


def test_a_group_in_two_parts_and_an_empty_part_are_refused(tmp_path):
    with refused(LeakError, "g", "train", "test", "c.mp4"):
        load(
            write(
                tmp_path,
                *("1.mp4,run,train,g", "2.mp4,run,val,", "c.mp4,run,test,g"),
                header="path,label,split,group",
            )
        )
    with refused(EmptyPartError, "list.csv", "test"):
        load(write(tmp_path, *ROWS[:3]))


def test_options_out_of_range(tmp_path):
    path = write(tmp_path, *ROWS)
    with refused(ConfigError, "validation", "1"):
        load(path, validation=1)
    with refused(ConfigError, "mirror", "'yes'"):
        load(path, mirror="yes")
    with refused(DataError, f"root={tmp_path / 'nowhere'}"):
        load(path, root=str(tmp_path / "nowhere"))
    with refused(DataError, f"annotations={tmp_path}"):
        load(tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
def test_any_bytes_give_a_data_error(tmp_path, data):
    (tmp_path / "list.csv").write_bytes(b"path,label,split\n" + data)
    with pytest.raises(DataError):
        load(tmp_path / "list.csv")


def test_ids_and_parts_are_the_same_wherever_the_list_is_called_from(tmp_path, monkeypatch):
    clips = ("x", "y", "z")
    rows = [f"../clips/{label}{n}.mp4,{label},train" for label in clips for n in range(6)] + ["t.mp4,x,test"]
    sources = []
    for place in (tmp_path / "here", tmp_path / "elsewhere" / "deep"):
        folder = place / "lists"
        write(folder, *rows)
        monkeypatch.chdir(folder)
        sources += [load("list.csv"), load(folder / "list.csv"), load("../lists/list.csv")]
    assert len({source.fingerprint() for source in sources}) == 1
    assert sources[0].train[0].id.startswith("../clips/")


@pytest.mark.parametrize("spelling", ["{folder}/a.mp4", "../{name}/a.mp4", "./b/../a.mp4"])
def test_one_place_under_two_spellings_is_refused(tmp_path, monkeypatch, spelling):
    path = write(tmp_path, *ROWS)
    row = spelling.format(folder=tmp_path, name=tmp_path.name) + ",walk,train"
    path.write_text(path.read_text() + row + "\n")
    monkeypatch.chdir(tmp_path)
    for annotations in ("list.csv", path):
        with refused(DuplicateError, "list.csv:7", "a.mp4", "4"):
            load(annotations)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_link_does_not_carry_a_training_clip_into_the_test(tmp_path, link):
    path = write(tmp_path, *ROWS)
    (tmp_path / "linked.mp4").unlink(missing_ok=True)
    getattr(tmp_path / "linked.mp4", link)(tmp_path / "b" / "1.mp4")
    path.write_text(path.read_text() + "linked.mp4,walk,test\n")
    with refused(LeakError, "b/1.mp4", "train", "linked.mp4", "test"):
        load(path)


def test_names_that_no_system_takes_are_missing_clips(tmp_path):
    path = write(tmp_path, *ROWS)
    path.write_text(path.read_text() + "x" * 300 + ".mp4,walk,train\n")
    with refused(DataError, f"{'x' * 300}.mp4", "1", "6"):
        load(path)
    with refused(DataError, "y" * 300):
        load(tmp_path / ("y" * 300))
    with refused(DataError, "root=~nosuchuser/l"):
        load(path, root="~nosuchuser/l")
    path.write_text('path,label,split\n"a\nb.mp4",walk,train\n')
    with refused(DataError, "list.csv:3", "path", r"'a\nb.mp4'"):
        load(path)
