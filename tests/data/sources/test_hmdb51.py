import pytest

from tests.refusals import refused, unnamed
from vidjax.data.sources import SOURCES, hmdb51
from vidjax.errors import ConfigError, DataError, DuplicateError, MissingFileError

CLASSES = ("climb", "climb_stairs", "hit")


@pytest.fixture
def hmdb(tmp_path):
    """Three classes of 12 videos with two clips each: 8 train, 3 test, one in neither part."""
    root, splits = tmp_path / "hmdb51_org", tmp_path / "splits"
    splits.mkdir()
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        lines = []
        for video in range(12):
            part = 1 if video < 8 else 2 if video < 11 else 0
            for clip in range(2):
                # As in the data set: the video's own name may hold the class, brackets and spaces' stand-ins.
                clip_name = f"(HQ)_{name}_{video}_{name}_f_cm_np1_ba_med_{clip}.avi"
                lines.append(f"{clip_name} {part} ")
                if part:
                    (root / name / clip_name).write_bytes(b"x")
        (splits / f"{name}_test_split1.txt").write_text("\n".join(lines) + "\n")
    return root, splits


def load(hmdb, **options):
    return hmdb51.load(root=str(hmdb[0]), splits=str(hmdb[1]), **options)


def append(path, line):
    path.write_text(path.read_text() + line + "\n")


def test_parts_labels_and_groups(hmdb):
    source = load(hmdb, validation=0.25)
    assert SOURCES["hmdb51"] is hmdb51.load
    assert (source.name, source.split, source.mirror, source.num_missing_clips) == ("hmdb51", "1", "invariant", 0)
    assert source.classes == CLASSES
    assert (len(source.train), len(source.validation), len(source.test)) == (36, 12, 18)
    first = source.test[0]
    assert first.id == "climb/(HQ)_climb_8_climb_f_cm_np1_ba_med_0"
    assert (first.label, first.group) == (0, "climb/(HQ)_climb_8")
    assert first.path == str(hmdb[0] / "climb" / "(HQ)_climb_8_climb_f_cm_np1_ba_med_0.avi")
    assert not any("_11_" in video.id for video in source.train + source.validation + source.test)
    assert not unnamed(source.notes[0], 1, 3, "HMDB51", 51)
    assert not unnamed(source.notes[1], 3, 70, 30)


def test_validation_takes_whole_videos_of_every_class_and_always_the_same(hmdb):
    source = load(hmdb, validation=0.25)
    groups = {video.group for video in source.validation}
    assert [sum(group.startswith(f"{name}/") for group in groups) for name in CLASSES] == [2, 2, 2]
    assert not groups & {video.group for video in source.train}
    assert load(hmdb, validation=0.25) == source


def test_lists_of_official_size_are_not_remarked_on(hmdb):
    for name in CLASSES:
        lines = []
        for number in range(110):
            part = 1 if number < 70 else 2 if number < 100 else 0
            (hmdb[0] / name / f"v{number}_{name}_x_0.avi").write_bytes(b"x")
            lines.append(f"v{number}_{name}_x_0.avi {part}")
        (hmdb[1] / f"{name}_test_split1.txt").write_text("\n".join(lines))
    source = load(hmdb)
    assert len(source.train) + len(source.validation) == 210 and len(source.test) == 90
    assert len(source.notes) == 1


def test_training_clips_of_a_tested_video_are_left_out(hmdb):
    name = "(HQ)_hit_9_hit_u_nm_np2_fr_goo_7.avi"  # video 9 is tested
    (hmdb[0] / "hit" / name).write_bytes(b"x")
    append(hmdb[1] / "hit_test_split1.txt", f"{name} 1")
    source = load(hmdb)
    assert len(source.train) + len(source.validation) == 48
    assert not unnamed(source.notes[-1], 1, 49)


def test_missing_clips_are_named_or_counted(hmdb):
    for path in (hmdb[0] / "hit").iterdir():
        path.unlink()
    (hmdb[0] / "climb" / "(HQ)_climb_0_climb_f_cm_np1_ba_med_0.avi").unlink()
    with refused(DataError, "climb/(HQ)_climb_0_climb_f_cm_np1_ba_med_0.avi", "23", "66", "allow_missing"):
        load(hmdb)
    source = load(hmdb, allow_missing=True)
    assert source.num_missing_clips == 23 and source.classes == ("climb", "climb_stairs")
    assert any(not unnamed(note, 23, 66) for note in source.notes)
    assert any(not unnamed(note, 1, 3) for note in source.notes)


@pytest.mark.parametrize(
    ("line", "error", "tokens"),
    [
        ("a_hit_0.avi 3", DataError, ("'a_hit_0.avi 3'",)),
        ("a_hit_0.avi", DataError, ("'a_hit_0.avi'",)),
        ("a_hit_0.mp4 1", DataError, ("'a_hit_0.mp4 1'",)),
        ("../a_hit_0.avi 1", DataError, ("'../a_hit_0.avi 1'",)),
        ("(HQ)_hit_0_hit_f_cm_np1_ba_med_0.avi 2", DuplicateError, ("(HQ)_hit_0_hit_f_cm_np1_ba_med_0.avi", "1")),
    ],
)
def test_lines_that_do_not_fit_are_refused(hmdb, line, error, tokens):
    append(hmdb[1] / "hit_test_split1.txt", line)
    with refused(error, "hit_test_split1.txt:25", *tokens):
        load(hmdb)


def test_missing_folders_lists_and_options_out_of_range(hmdb, tmp_path):
    with refused(DataError, f"splits={tmp_path / 'nowhere'}"):
        load((hmdb[0], tmp_path / "nowhere"))
    with refused(MissingFileError, "CLASS_test_split2.txt"):
        load(hmdb, split=2)
    with refused(ConfigError, "split", "0"):
        load(hmdb, split=0)
    with refused(ConfigError, "validation", "0"):
        load(hmdb, validation=0)
    (hmdb[1] / "hit_test_split1.txt").write_text("\n")
    with refused(DataError, "hit_test_split1.txt"):
        load(hmdb)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(hmdb):
    expected = load(hmdb)
    for path in hmdb[1].iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", "\r\n").encode())
    assert load(hmdb) == expected
