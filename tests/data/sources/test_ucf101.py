from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vidjax.data.sources import SOURCES, ucf101
from vidjax.errors import ConfigError, DataError, DuplicateError, EmptyPartError, LeakError, MissingFileError

CLASSES = ["Archery", "Lunges", "HandstandPushups"]


@pytest.fixture
def ucf(tmp_path):
    """A small UCF101: three classes, groups 1-5 with two clips each; group 1 is the test list."""
    root, splits = tmp_path / "UCF-101", tmp_path / "lists"
    splits.mkdir()
    lists = {"train": [], "test": []}
    for number, name in enumerate(CLASSES, start=1):
        (root / name).mkdir(parents=True)
        spelled = name.replace("Handstand", "HandStand")  # as in the real data set
        for group in range(1, 6):
            for clip in (1, 2):
                line = f"{name}/v_{spelled}_g{group:02d}_c{clip:02d}.avi"
                (root / line).write_bytes(b"x")
                lists["test" if group == 1 else "train"].append(line if group == 1 else f"{line} {number}")
    (splits / "classInd.txt").write_text("".join(f"{n} {name}\r\n" for n, name in enumerate(CLASSES, start=1)))
    for part, lines in lists.items():
        (splits / f"{part}list01.txt").write_text("\r\n".join(lines) + "\r\n")
    return root, splits


def load(ucf, **options):
    return ucf101.load(root=str(ucf[0]), splits=str(ucf[1]), **options)


def append(path, line):
    path.write_text(path.read_text() + line + "\n")


def test_parts_and_labels(ucf):
    source = load(ucf)
    assert SOURCES["ucf101"] is ucf101.load
    assert (source.name, source.split, source.mirror, source.num_missing_clips) == ("ucf101", "1", "invariant", 0)
    assert source.classes == tuple(CLASSES)
    assert (len(source.train), len(source.validation), len(source.test)) == (18, 6, 6)
    first = source.test[0]
    assert (first.id, first.label, first.group) == ("Archery/v_Archery_g01_c01", 0, "Archery_g01")
    assert first.path == str(ucf[0] / "Archery" / "v_Archery_g01_c01.avi") and not first.streams["rgb"].exact_seek
    assert {video.label for video in source.test if "HandStand" in video.id} == {2}


def test_validation_takes_whole_groups_of_every_class_and_always_the_same(ucf):
    source = load(ucf, validation=0.5)
    groups = defaultdict(set)
    for video in source.validation:
        groups[video.label].add(video.group)
    assert {label: len(names) for label, names in groups.items()} == {0: 2, 1: 2, 2: 2}
    assert not {v.group for v in source.train} & {v.group for v in source.validation}
    assert load(ucf, validation=0.5) == source


def test_a_missing_clip_is_named_or_allowed(ucf):
    gone = ucf[0] / "Lunges" / "v_Lunges_g03_c02.avi"
    gone.unlink()
    (ucf[0] / "Lunges" / "v_Lunges_g01_c01.avi").unlink()
    with refused(DataError, "v_Lunges_g03_c02.avi", "2", "30", "allow_missing"):
        load(ucf)
    source = load(ucf, allow_missing=True)
    assert source.num_missing_clips == 2 and "2 of 30 listed clips" in source.notes[0]
    assert len(source.train) + len(source.validation) + len(source.test) == 28


def test_classes_without_clips_are_dropped_and_labels_renumbered(ucf):
    for path in (ucf[0] / "Archery").iterdir():
        path.unlink()
    source = load(ucf, allow_missing=True)
    assert source.classes == ("Lunges", "HandstandPushups") and source.num_missing_clips == 10
    assert {v.label for v in source.test} == {0, 1} and "1 of 3 classes" in source.notes[1]


def test_an_empty_part_says_so(ucf):
    for path in ucf[0].glob("*/*_g01_*"):
        path.unlink()
    with refused(EmptyPartError, "ucf101", "test", "6"):
        load(ucf, allow_missing=True)


def test_a_class_with_nothing_to_train_on_is_refused(ucf):
    for path in (ucf[0] / "Lunges").glob("*_g0[2-5]_*"):
        path.unlink()
    with refused(DataError, "Lunges", "train"):
        load(ucf, allow_missing=True)


def test_a_group_in_two_parts_is_refused(ucf):
    (ucf[0] / "Lunges" / "v_Lunges_g02_c09.avi").write_bytes(b"x")
    append(ucf[1] / "testlist01.txt", "Lunges/v_Lunges_g02_c09.avi")
    with refused(LeakError, "Lunges_g02", "train", "test"):
        load(ucf)


@pytest.mark.parametrize(
    ("line", "error", "tokens"),
    [
        ("Lunges/v_Lunges_g02_c01.avi 1", DataError, ("'1'", "classInd.txt", "2")),
        ("Fencing/v_Fencing_g02_c01.avi 4", DataError, ("'Fencing'", "classInd.txt")),
        ("Lunges/v_Lunges_g02_c01.avi 2", DuplicateError, ("Lunges/v_Lunges_g02_c01.avi", "9")),
        ("../../etc/v_x_g01_c01.avi 1", DataError, ("'../../etc/v_x_g01_c01.avi 1'",)),
        ("Lunges/../../v_x_g01_c01.avi 1", DataError, ("'Lunges/../../v_x_g01_c01.avi 1'",)),
        ("nonsense", DataError, ("'nonsense'",)),
    ],
)
def test_lines_that_do_not_fit_name_file_and_line(ucf, line, error, tokens):
    append(ucf[1] / "trainlist01.txt", line)
    with refused(error, "trainlist01.txt:25", *tokens):
        load(ucf)


def test_a_clip_in_both_lists_is_refused(ucf):
    append(ucf[1] / "testlist01.txt", "Lunges/v_Lunges_g02_c01.avi")
    with refused(DuplicateError, "Lunges/v_Lunges_g02_c01"):
        load(ucf)


@pytest.mark.parametrize("text", ["1 Archery\n3 Lunges\n", "1 Archery\n2 Archery\n", "Archery\n", "1 ../x\n", ""])
def test_a_bad_class_list_is_refused(ucf, text):
    (ucf[1] / "classInd.txt").write_text(text)
    with refused(DataError, "classInd.txt"):
        load(ucf)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_as_a_list_give_a_source_or_a_data_error(ucf, data):
    (ucf[1] / "trainlist01.txt").write_bytes(data)
    with pytest.raises(DataError):
        load(ucf)


def test_missing_folders_and_options_out_of_range(ucf, tmp_path):
    with refused(DataError, f"root={tmp_path / 'nowhere'}"):
        load((tmp_path / "nowhere", ucf[1]))
    with refused(MissingFileError, "trainlist02.txt"):
        load(ucf, split=2)
    with refused(ConfigError, "split", "4"):
        load(ucf, split=4)
    with refused(ConfigError, "validation", "0"):
        load(ucf, validation=0)


@pytest.mark.parametrize(("split", "test_groups"), [(2, range(8, 15)), (3, range(15, 22))])
def test_the_real_clips(test_data, split, test_groups):
    source = load((test_data / "UCF-101", test_data / "ucfTrainTestlist"), split=split, allow_missing=True)
    assert len(source.classes) == 8 and len(source.test) == 56
    assert {int(video.group[-2:]) for video in source.test} == set(test_groups)
    assert len(source.train) + len(source.validation) == 120
    assert source.num_missing_clips == 13320 - 176
    assert {video.label for video in source.validation} == set(range(8))


def test_split_1_of_the_real_clips_has_no_test_part(test_data):
    with refused(EmptyPartError, "test"):
        load((test_data / "UCF-101", test_data / "ucfTrainTestlist"), split=1, allow_missing=True)
    with refused(DataError, "v_ApplyEyeMakeup_g01_c01.avi", "allow_missing"):
        load((test_data / "UCF-101", test_data / "ucfTrainTestlist"), split=2)
