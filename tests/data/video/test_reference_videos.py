"""Every frame that is read of the reference videos is the one that was asked for, every bad file is refused or says
what is lost of it. Each picture shows its own number as a barcode (README.md of the folder)."""

import itertools
import json
import os
import shutil
import warnings

import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data.video import index
from vidjax.data.video.inspection import FileRecord
from vidjax.data.video.reading import probe, read_frames
from vidjax.errors import VideoError

# What players show of these is not what the list counts: edit lists hide frames, and xvid_bf holds two empty packets.
# In xvid_bf.avi 73 pictures are stored, and the one in place 23 is so coarse that its last bar is lost.
_SHOWN = {"neg_pts.mp4": list(range(25, 60)), "xvid_bf.avi": [*range(23), 22, *range(24, 73)]}
# No barcode can be read from frames of 16 pixels.
_UNREADABLE = {"tiny_16x16.mp4"}
# The turn that undoes what the display matrix asks for.
_TURNED = {"rot90.mp4": 3, "rot180.mp4": 2, "rot270.mp4": 1}


@pytest.fixture(scope="module")
def folder(test_data):
    found = test_data / "videos"
    if not found.is_dir():
        pytest.skip(f"no reference videos in {found}")
    return found


@pytest.fixture(scope="module")
def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.fixture(scope="module")
def records(folder, manifest, tmp_path_factory):
    """Name -> what an inspection in guarded processes finds."""
    patch = pytest.MonkeyPatch()
    patch.setenv("VIDJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
    found = index.inspect_files([str(folder / name) for name in manifest])
    patch.undo()
    return {name: found[str(folder / name)] for name in manifest}


def numbers(frames, turns=0):
    """The number that each frame shows: int [T], modulo 256. A bit is 1 where its upper bar is the brighter one."""
    if turns:
        frames = np.rot90(frames, turns, axes=(1, 2))
    _, h, w, _ = frames.shape
    gray = frames.astype(int).sum(axis=-1)
    columns = ((np.arange(8) + 0.5) * w / 8).astype(int)
    bits = gray[:, h // 16][:, columns] > gray[:, 3 * h // 16][:, columns]
    return bits @ (1 << np.arange(7, -1, -1))


def shown(name, entry):
    return np.array(_SHOWN.get(name) or entry.get("frame_ids") or range(entry["n"])) % 256


def index_sets(count, seed, rounds):
    """Sets as they are asked for: in each round 8 at stride 2, 8 segments and a single frame; then the last frame."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        yield (int(rng.integers(count)) + 2 * np.arange(8)) % count
        edges = np.arange(9) * count // 8
        yield np.array([rng.integers(a, max(b, a + 1)) for a, b in itertools.pairwise(edges)])
        yield np.array([rng.integers(count)])
    yield np.array([count - 1])


def good(manifest):
    return {name: entry for name, entry in manifest.items() if entry["kind"] == "good"}


@pytest.mark.parametrize("size, rounds", [(None, 13), ((96, 128), 3)])
def test_no_wrong_frame_in_any_good_file(folder, manifest, records, size, rounds):
    wrong, checked = [], 0
    for number, (name, entry) in enumerate(good(manifest).items()):
        truth, record, path = shown(name, entry), records[name], str(folder / name)
        assert record.frames == len(truth), name
        turns = _TURNED.get(name, 0)
        own_size = size[::-1] if size and turns % 2 else size
        in_order = read_frames(path, range(len(truth)), own_size)
        if name not in _UNREADABLE and not np.array_equal(numbers(in_order, turns), truth):
            wrong.append((name, "in order"))
        for wanted in index_sets(len(truth), number, rounds) if record.table else ():
            frames = read_frames(path, wanted, own_size, table=record.table)
            if not np.array_equal(frames, in_order[wanted]):
                wrong.append((name, wanted.tolist()))
            checked += 1
    assert not wrong, wrong[:5]
    assert checked > 3 * rounds * 20, "the fast path was hardly tried"


def test_seeking_is_trusted_where_it_is_known_to_be_right_and_nowhere_else(records):
    exact = {name for name, record in records.items() if record.verdict == "ok"}
    assert {"ucf_xvid.avi", "h264.mp4", "h264_bf3.mp4", "h264.mkv", "vp9.mp4", "mjpeg.avi", "prores4444.mov"} <= exact
    assert not exact & {"vfr_bf.mp4", "reschange.ts", "anim.gif", "h264_raw.h264"}


def test_what_ends_before_its_header_says_is_marked(records):
    early = {name for name, record in records.items() if record.ends_early}
    assert {"trunc_90_faststart.mp4", "trunc_half_h264.mkv", "trunc_half_vp9.webm", "lie_frames_1e8.avi"} <= early
    assert not early & {"h264.mp4", "vfr.mkv", "audio_longer.mp4", "two.mp4", "editlist.mp4", "ucf_xvid.avi"}


def test_every_bad_file_is_refused_or_says_what_is_lost(folder, manifest, records):
    for name, entry in manifest.items():
        if entry["kind"] == "good":
            continue
        record, path, expect = records[name], str(folder / name), entry["expect"]
        if record.verdict == "refused":
            assert record.reason and "\n" not in record.reason
            with pytest.raises(VideoError) as error:
                read_frames(path, [0])
            assert error.value.reason == record.reason
            continue
        assert expect != "refuse", name
        frames = read_frames(path, range(record.frames), table=record.table)
        assert probe(path).frames == record.frames == len(frames)
        if expect == "shorter":
            assert record.warning, name
        # A file whose damage no decoder reports ("any") may show what it likes; it says that something is wrong.
        if expect == "any":
            assert record.warning, name
        else:
            assert np.array_equal(numbers(frames), np.arange(record.frames) % 256), name
        with refused(VideoError, name, record.frames):
            read_frames(path, [record.frames], table=record.table)


def test_what_no_decoder_should_be_asked_about(folder, tmp_path):
    """Made here: README.md of the folder lists them."""
    sound = ["with space.mp4", "new\nline.mp4", "quo\"te'.mp4", "per%cent %d.mp4", "umläut ☃.mp4", "co:lon.mp4"]
    for name in sound:
        shutil.copy(folder / "h264.mp4", tmp_path / name)
    invalid = bytes(tmp_path) + b"/inv\xff\xfealid.mp4"
    shutil.copy(folder / "h264.mp4", invalid)
    (tmp_path / "empty.avi").touch()
    (tmp_path / "folder.avi").mkdir()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "dangling.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "playlist.avi").write_text(f"ffconcat version 1.0\nfile '{folder / 'h264.mp4'}'\n")
    bad = {
        "empty.avi": ("0",),
        "folder.avi": (),
        "loop.mp4": (),
        "dangling.mp4": (),
        "pipe.mp4": (),
        "missing.mp4": (),
        "playlist.avi": ("ffconcat",),
    }
    paths = [*(str(tmp_path / name) for name in (*sound, *bad)), os.fsdecode(invalid)]
    found = index.inspect_files(paths)
    assert len(found) == len(paths)
    reasons = {}
    for name, tokens in bad.items():
        path = str(tmp_path / name)
        assert found[path].verdict == "refused"
        with refused(VideoError, name, *tokens) as caught:
            read_frames(path, [0])
        assert caught.value.reason == found[path].reason
        reasons[name] = caught.value.reason
    assert reasons["missing.mp4"] == reasons["dangling.mp4"] and len(set(reasons.values())) == len(bad) - 1
    for path in (*(str(tmp_path / name) for name in sound), os.fsdecode(invalid)):
        assert found[path].verdict in ("ok", "slow"), found[path]
        frames = read_frames(path, [7, 3], table=found[path].table)
        assert numbers(frames).tolist() == [7, 3]


def test_frames_that_would_fill_the_memory_are_refused(tmp_path):
    import av

    path = str(tmp_path / "bomb.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 8192, 8192, "yuv420p"
        frame = av.VideoFrame(8192, 8192, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(2):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (record,) = index.inspect_files([path]).values()
    assert record.verdict == "refused" and "8192 x 8192 pixels" in record.reason
    with refused(VideoError, "8192 x 8192"):
        read_frames(path, [0], (64, 64))


def test_folders_of_images_are_videos(folder, tmp_path):
    from PIL import Image

    frames = read_frames(str(folder / "h264.mp4"), range(12))
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"img_{number + 1}.png")  # 1, 10, 11, 12, 2, ... in plain order
    (tmp_path / "notes.txt").write_text("no image")
    assert numbers(read_frames(str(tmp_path), [11, 0, 9])).tolist() == [11, 0, 9]
    assert read_frames(str(tmp_path), [0], (30, 40)).shape == (1, 30, 40, 3)
    info = probe(str(tmp_path))
    assert (info.frames, info.fps, info.height, info.width) == (12, None, 120, 160)
    (record,) = index.inspect_files([str(tmp_path)]).values()
    assert (record.verdict, record.frames, record.codec) == ("slow", 12, "images")
    (tmp_path / "img_5.png").write_bytes(b"no picture")
    with refused(VideoError, "img_5.png"):
        read_frames(str(tmp_path), [7])


def mutations(folder, manifest, count):
    """Files with bytes changed, cut out, doubled or cut off: name -> content."""
    rng = np.random.default_rng(0)
    names = sorted(name for name in manifest if (folder / name).stat().st_size < 200_000)
    for number in range(count):
        name = names[int(rng.integers(len(names)))]
        content = bytearray((folder / name).read_bytes())
        for _ in range(int(rng.integers(1, 12))):
            if not content:
                break
            at, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
            change = rng.integers(5)
            if change == 0:
                content[at : at + length] = rng.bytes(length)
            elif change == 1:
                content[at] ^= 1 << int(rng.integers(8))
            elif change == 2:
                del content[at : at + length]
            elif change == 3:
                content[at:at] = content[at : at + length]
            elif number % 8 == 0:
                del content[at:]
        yield f"{number}_{name}", bytes(content)


@pytest.mark.slow
def test_mutated_files_neither_crash_nor_hang(folder, manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    paths = []
    for name, content in mutations(folder, manifest, 400):
        (tmp_path / name).write_bytes(content)
        paths.append(str(tmp_path / name))
    found = index.inspect_files(paths)
    lost = [record for record in found.values() if "crashed" in record.reason]
    late = [record for record in found.values() if "takes too long" in record.reason]
    if lost or late:
        warnings.warn(f"the guard was needed: {[*lost, *late][:5]}", stacklevel=1)
    for path, record in found.items():
        if record.verdict == "refused":
            continue
        wanted = sorted({0, record.frames // 2, record.frames - 1})
        try:
            got = read_frames(path, wanted, table=record.table)
        except VideoError as error:
            pytest.fail(f"{record}: {error}")
        np.testing.assert_array_equal(got, read_frames(path, range(record.frames))[wanted])


@pytest.mark.slow
def test_every_frame_of_the_ucf101_clips_is_the_one_in_order(test_data, tmp_path, monkeypatch):
    paths = sorted(map(str, (test_data / "UCF-101").glob("*/*.avi")))
    if not paths:
        pytest.skip(f"no UCF101 clips in {test_data}")
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    found = index.inspect_files(paths)
    assert {record.verdict for record in found.values()} <= {"ok", "slow"}
    for number, (path, record) in enumerate(found.items()):
        frames = read_frames(path, range(record.frames))
        for wanted in index_sets(record.frames, number, 2):  # more of them in files of every kind, above
            got = read_frames(path, wanted, table=record.table)
            assert np.array_equal(got, frames[wanted]), (path, wanted)


def test_records_are_kept_until_a_file_changes(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / 'in\xadvisible,"quoted\n.mp4'
    shutil.copy(folder / "h264.mp4", path)

    def inspected():
        seen = []
        found = index.inspect_files([str(path)], progress=lambda records, total: (seen.append(total), records)[1])
        return found[str(path)], bool(seen)

    first, fresh = inspected()
    assert fresh and first.frames == 60
    assert inspected() == (first, False)
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path, target_is_directory=True)
    assert index.inspect_files([str(linked / path.name)], progress=None)[str(linked / path.name)].frames == 60
    shutil.copy(folder / "one.mp4", path)
    second, fresh = inspected()
    assert fresh and second.frames == 1
    (table,) = (tmp_path / "cache" / "index").glob("*.csv")
    for damage in (b"", b"\xff\xfe", table.read_bytes()[:200], b"path,size\na,b\n"):
        table.write_bytes(damage)
        assert inspected() == (second, True)
        assert inspected() == (second, False)


def test_records_survive_as_a_table(tmp_path):
    long = "x" * 200_000  # the times of an hour of frames
    records = [
        FileRecord("long.mp4", 1, 2, "ok", seek=long),
        FileRecord("a.mp4", 1, 2, "ok", "", "", True, 3, 4, 25.0, 6, 7, 90, "h264", "mov,mp4", "a b", False, "1"),
        FileRecord('b\udcff\n",.mp4', 1, 2, "refused", 'why, and "how"'),
    ]
    index.write_csv(tmp_path / "t.csv", records)
    assert list(index.read_csv(tmp_path / "t.csv")) == records
