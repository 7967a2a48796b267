import shutil

import pytest

from tests.refusals import refused, unnamed
from vidjax.data.sources import SOURCES, kinetics
from vidjax.errors import ConfigError, DataError, DuplicateError, EmptyPartError, MissingFileError

HEADER = "label,youtube_id,time_start,time_end,split,is_cc"
LABELS = ("air drumming", "petting animal (not cat)")


def rows(part, label, videos):
    return [f'"{label}",{video},{10 * n},{10 * n + 10},{part},0' for n, video in enumerate(videos)]


def names(part, label):
    return [f"{part}-{LABELS.index(label)}_{n:07d}" for n in range(20 if part == "train" else 3)]


@pytest.fixture
def lists(tmp_path):
    """train.csv with 20 and val.csv with 3 clips of each of two classes."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    for part in ("train", "val"):
        lines = [line for label in LABELS for line in rows(part, label, names(part, label))]
        (folder / f"{part}.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    (folder / "test.csv").write_text("youtube_id,time_start,time_end,split\nabc,0,10,test\n")
    return folder


def fill(root, place):
    """Makes the clips in `place`, a pattern with {part}, {label} and {underscored}."""
    for part in ("train", "val"):
        for label in LABELS:
            folder = root / place.format(part=part, label=label, underscored=label.replace(" ", "_"))
            folder.mkdir(parents=True, exist_ok=True)
            for n, video in enumerate(names(part, label)):
                (folder / f"{video}_{10 * n:06d}_{10 * n + 10:06d}.mp4").write_bytes(b"x")
    return root


def load(root, lists, **options):
    return kinetics.load(root=str(root), annotations=str(lists), **options)


@pytest.mark.parametrize("place", ["{part}/{label}", "{part}/{underscored}", "{part}", "{label}", "{underscored}", "."])
def test_the_layouts_of_the_clips(tmp_path, lists, place):
    root = fill(tmp_path / "clips", place)
    source = load(root, lists)
    assert SOURCES["kinetics"] is kinetics.load
    assert (source.name, source.split, source.mirror) == ("kinetics", "official validation list", "invariant")
    assert source.classes == LABELS and source.num_missing_clips == 0 and source.notes == ()
    assert (len(source.train), len(source.validation), len(source.test)) == (36, 4, 6)
    video = source.test[1]
    assert (video.id, video.group) == ("air drumming/val-0_0000001_000010_000020", "val-0_0000001")
    folder = root / place.format(part="val", label=LABELS[0], underscored="air_drumming")
    assert video.path == str(folder / "val-0_0000001_000010_000020.mp4")
    assert load(root, lists).fingerprint() == source.fingerprint()


def test_one_file_and_other_names_of_the_validation_list(tmp_path, lists):
    root = fill(tmp_path / "clips", "{part}/{label}")
    source = load(root, lists)
    text = (lists / "val.csv").read_text()
    (lists / "val.csv").rename(lists / "validate.csv")
    (lists / "validate.csv").write_text(text.replace(",val,", ",validate,"))
    shutil.move(root / "val", root / "validate")
    assert load(root, lists).fingerprint() == source.fingerprint()
    one = tmp_path / "all.csv"
    body = text.removeprefix(HEADER) + f"{LABELS[0]},none,0,10,test,0\n"
    one.write_text((lists / "train.csv").read_text() + body.strip() + "\n")
    assert load(root, one).fingerprint() == source.fingerprint()


def test_another_video_suffix_and_other_files(tmp_path, lists):
    root = fill(tmp_path / "clips", ".")
    clip = root / "train-0_0000000_000000_000010.mp4"
    clip.rename(clip.with_suffix(".webm"))
    (root / "train-0_0000001_000010_000020.txt").write_text("no video")
    assert len(load(root, lists).train) == 36
    clip.with_suffix(".webm").rename(clip.with_suffix(".part"))
    with refused(DataError, "train-0_0000000_000000_000010.mp4", "1", "46", "allow_missing"):
        load(root, lists)


def test_missing_clips_are_always_counted(tmp_path, lists):
    root = fill(tmp_path / "clips", "{label}")
    for n in (3, 4):
        (root / LABELS[0] / f"train-0_{n:07d}_{10 * n:06d}_{10 * n + 10:06d}.mp4").unlink()

    with refused(DataError, "air drumming/train-0_0000003_000030_000040.mp4", "2", "46", "allow_missing"):
        load(root, lists)
    source = load(root, lists, allow_missing=True)
    assert source.num_missing_clips == 2 and len(source.train) + len(source.validation) == 38
    (note,) = source.notes
    assert not unnamed(note, 2, 46, root)
    shutil.rmtree(root / LABELS[1])
    source = load(root, lists, allow_missing=True)
    assert source.num_missing_clips == 25 and source.classes == LABELS[:1] and "1 of 2 classes" in source.notes[1]


def test_a_clip_of_another_part_is_not_taken(tmp_path, lists):
    root = fill(tmp_path / "clips", "{part}")
    shutil.move(root / "val" / "val-0_0000000_000000_000010.mp4", root / "train")
    with refused(DataError, "val-0_0000000_000000_000010.mp4", "1", "46", "allow_missing"):
        load(root, lists)


def test_clips_of_one_video_never_straddle_parts(tmp_path, lists):
    root = fill(tmp_path / "clips", ".")
    tested = names("val", LABELS[0])[0]
    extra = [(LABELS[1], tested, 500), *((LABELS[0], name, 500) for name in names("train", LABELS[0]))]
    with (lists / "train.csv").open("a") as stream:
        for label, video, start in extra:
            stream.write(f"{label},{video},{start}.0,{start + 10},train,0\n")
            (root / f"{video}_{start:06d}_{start + 10:06d}.mp4").write_bytes(b"x")
    source = load(root, lists, validation=0.2)
    assert [sum(v.label == label for v in source.validation) for label in (0, 1)] == [8, 4]
    assert len(source.train) + len(source.validation) == 60 and len(source.test) == 6
    assert not {v.group for v in source.train} & {v.group for v in source.validation}
    note = "1 of 61 training clips are left out: the test list has clips of the same videos"
    assert source.notes == (note,)


@pytest.mark.parametrize(
    ("file", "row", "error", "tokens"),
    [
        ("train.csv", "air drumming,a b,0,10,train,0", DataError, ("train.csv:42", "youtube_id", "'a b'")),
        ("train.csv", "air drumming,../x,0,10,train,0", DataError, ("train.csv:42", "youtube_id", "'../x'")),
        ("train.csv", "../x,abc,0,10,train,0", DataError, ("train.csv:42", "label", "'../x'")),
        ("train.csv", ",abc,0,10,train,0", DataError, ("train.csv:42", "label", "''")),
        ("train.csv", "air drumming,abc,x,10,train,0", DataError, ("train.csv:42", "time_start", "'x'")),
        ("train.csv", "air drumming,abc,0,-1,train,0", DataError, ("train.csv:42", "time_end", "'-1'")),
        ("val.csv", "air drumming,abc,0,10,train,0", DataError, ("val.csv:8", "split", "'train'", "val.csv")),
        ("val.csv", "air drumming,abc,0,10,dev,0", DataError, ("val.csv:8", "split", "'dev'", "validate")),
        ("train.csv", "air drumming,train-0_0000000,0,10,train,0", DuplicateError, ("train.csv:42", "train.csv:2")),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, lists, file, row, error, tokens):
    root = fill(tmp_path / "clips", ".")
    with (lists / file).open("a") as stream:
        stream.write(row + "\n")
    with refused(error, *tokens):
        load(root, lists)


def test_missing_lists_and_folders(tmp_path, lists):
    root = fill(tmp_path / "clips", ".")
    with refused(DataError, f"root={tmp_path / 'nowhere'}"):
        load(tmp_path / "nowhere", lists)
    with refused(MissingFileError, "nowhere.csv"):
        load(root, tmp_path / "nowhere.csv")
    with refused(ConfigError, "validation", "1"):
        load(root, lists, validation=1)
    with refused(EmptyPartError, "train.csv", "validation"):
        load(root, lists / "train.csv")
    shutil.copy(lists / "val.csv", lists / "validate.csv")
    with refused(DataError, "val.csv", "validate.csv"):
        load(root, lists)
    (lists / "val.csv").unlink()
    (lists / "validate.csv").unlink()
    with refused(MissingFileError, "val.csv", "validate.csv"):
        load(root, lists)


def test_the_order_of_the_official_classes_is_alphabetical(test_data, tmp_path):
    labels = (test_data / "kinetics400" / "labels.txt").read_text().splitlines()
    assert len(labels) == 400
    lines = []
    for number, label in enumerate(reversed(labels)):
        for part, clips in (("train", 2), ("val", 1)):
            for clip in range(clips):
                lines.append(f'"{label}",{part}{clip}{number:07d},0,10,{part}')
                (tmp_path / f"{part}{clip}{number:07d}_000000_000010.mp4").write_bytes(b"x")
    (tmp_path / "all.csv").write_text("\n".join(["label,youtube_id,time_start,time_end,split", *lines]))
    source = load(tmp_path, tmp_path / "all.csv")
    assert source.name == "kinetics400" and source.classes == tuple(labels)
    assert len(source.test) == len(source.train) == len(source.validation) == 400
