"""The files of the embedded data set: the same bytes every time, and nothing in one frame that tells the class."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import decord
import numpy as np
import pytest
from scipy import stats

from tests.refusals import refused, unnamed
from vidjax.data.motion import files
from vidjax.data.motion.files import Plan, encode, ensure, is_complete
from vidjax.data.motion.paths import EASY, HARD, PAIRS, SINGLE
from vidjax.data.motion.renderer import render
from vidjax.data.sources import motion
from vidjax.errors import ConfigError, DataError, options_of

SMALL = Plan(seed=0, clips=(16, 8, 8), recipe=dataclasses.replace(EASY, frames=6))
ROOT = Path(__file__).resolve().parents[3]


def decoded_in_order(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("motion")
    return motion.load(root=str(root), train_clips=16, validation_clips=8, test_clips=16)


def test_source_is_balanced_and_named(source):
    assert source.name == "motion" and source.split == "standard" and source.classes == SINGLE.names
    assert [len(source.train), len(source.validation), len(source.test)] == [16, 8, 16]
    for part in (source.train, source.validation, source.test):
        assert len(set(np.bincount([v.label for v in part], minlength=8))) == 1
        for video in part:
            assert video.id.split("/")[1] == source.classes[video.label]
            assert video.group == video.id and video.streams["rgb"].exact_seek and os.path.isfile(video.path)
    assert "test/left/0001" in [v.id for v in source.test]
    mirrored = [source.classes[k] for k in source.mirror]
    assert mirrored == ["right", "left", "up", "down", "counter-clockwise", "clockwise", "approach", "recede"]


def test_parts_share_no_seed_and_a_second_set_shares_none_with_the_first():
    seeds = [seed for plan in (Plan(0, (1600, 200, 304)), Plan(1, (80, 8, 8))) for _, _, seed in plan.entries()]
    states = {tuple(np.random.SeedSequence(seed).generate_state(4)) for seed in seeds}
    assert len(states) == len(seeds) == 2104 + 96


def test_files_are_the_same_bytes_with_one_process_and_with_two(tmp_path):
    one = ensure(tmp_path / "one", SMALL, processes=1, progress=False)
    two = ensure(tmp_path / "two", SMALL, processes=2, progress=False)
    assert one.name == two.name
    assert files_of(one) == files_of(two)
    assert len(files_of(one)) == 32 + 1


def test_another_seed_or_recipe_or_count_is_another_set():
    plans = [
        SMALL,
        dataclasses.replace(SMALL, seed=1),
        dataclasses.replace(SMALL, clips=(8, 8, 8)),
        dataclasses.replace(SMALL, recipe=EASY),
    ]
    assert len({plan.name for plan in plans}) == len(plans)


def test_easy_set_keeps_its_name_and_what_its_manifest_says(tmp_path):
    # Recorded when there was one level: sets that were made then are found again.
    assert Plan(0, (1600, 200, 304)).name == "v2-fafc370ac5b8"
    assert Plan(1, (80, 8, 8)).name == "v2-899ff3b19b5b"
    directory = ensure(tmp_path, SMALL, processes=1, progress=False)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert set(manifest) == {"version", "seed", "clips", "recipe", "files"}
    assert {"phase", "rest", "distraction"}.isdisjoint(manifest["recipe"]) and manifest["recipe"]["frames"] == 6


def test_hard_source_is_a_set_of_its_own(tmp_path, source):
    hard = motion.load(root=str(tmp_path), level="hard", train_clips=8, validation_clips=8, test_clips=16)
    assert hard.name == "motion_hard" and hard.classes == PAIRS.names and hard.mirror == PAIRS.mirrored
    assert "test/left-up/0001" in [v.id for v in hard.test]
    assert any(not unnamed(note, 10, 6) for note in hard.notes) and not source.notes
    assert hard.fingerprint() != source.fingerprint()
    for video in hard.test:
        rendered = render((0, 2, int(video.id[-4:]) * 8 + video.label), video.label, HARD)
        # The same bytes as without worker processes.
        encode(tmp_path / "alone.avi", rendered, HARD)
        assert Path(video.path).read_bytes() == (tmp_path / "alone.avi").read_bytes()
        clip = decoded_in_order(video.path)
        assert clip.shape == rendered.shape == (64, 56, 56, 3)
        assert abs(clip.astype(float) - rendered).mean() < 4


def test_unknown_level_is_named(tmp_path):
    with refused(ConfigError, "level='hrad'", "easy, hard"):
        motion.load(root=str(tmp_path), level="hrad")


def test_complete_set_is_kept_and_damaged_one_is_made_again(tmp_path):
    directory = ensure(tmp_path, SMALL, processes=1, progress=False)
    before = files_of(directory)
    clip = directory / "train/left/0000.avi"
    stamp = clip.stat().st_mtime_ns
    assert ensure(tmp_path, SMALL, progress=False) == directory
    assert clip.stat().st_mtime_ns == stamp
    clip.write_bytes(clip.read_bytes()[:100])
    assert not is_complete(directory)
    ensure(tmp_path, SMALL, processes=1, progress=False)
    assert files_of(directory) == before
    assert [p.name for p in tmp_path.iterdir()] == [directory.name]


def test_killed_generation_leaves_nothing_that_is_taken_for_a_set(tmp_path):
    program = (
        "import sys; from pathlib import Path; from vidjax.data.motion.files import *;"
        "ensure(Path(sys.argv[1]), Plan(0, (1600, 200, 304)), processes=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.rglob("*.avi"))) < 5:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    name = Plan(0, (1600, 200, 304)).name
    assert not (tmp_path / name).exists()
    leftovers = list(tmp_path.iterdir())
    assert leftovers and not any(is_complete(directory) for directory in leftovers)
    # The workers notice that nobody reads their progress and end.
    deadline, count = time.monotonic() + 30, -1
    while count != (count := len(list(tmp_path.rglob("*.avi")))):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert count < 2104


def test_abandoned_leftovers_are_removed_after_a_day(tmp_path):
    old, new = tmp_path / ".v1-0123456789ab-x", tmp_path / ".v1-0123456789ab-y"
    for directory in (old, new):
        directory.mkdir()
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    ensure(tmp_path, SMALL, processes=1, progress=False)
    assert not old.exists() and new.exists()


def test_two_generations_at_once_do_no_harm(tmp_path):
    program = (
        "import sys, dataclasses; from pathlib import Path; from vidjax.data.motion.files import *;"
        "ensure(Path(sys.argv[1]), Plan(0, (64, 8, 8)), processes=1)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    both = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert [p.name for p in tmp_path.iterdir()] == [Plan(0, (64, 8, 8)).name]
    assert is_complete(tmp_path / Plan(0, (64, 8, 8)).name)


def test_works_from_a_script_without_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from vidjax.data.sources.motion import load\n"
        f"print(len(load(root={str(tmp_path / 'sets')!r}, train_clips=16, validation_clips=8, test_clips=8).train))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "16\n", done.stderr
    assert not unnamed(done.stderr, "motion")


@pytest.mark.parametrize("option", [{"train_clips": 12}, {"test_clips": 0}, {"validation_clips": -8}, {"seed": -1}])
def test_wrong_option_is_named(option, tmp_path):
    ((name, value),) = option.items()
    with refused(ConfigError, f"data.{name}={value}"), options_of("data"):
        motion.load(root=str(tmp_path), **option)


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(DataError, tmp_path / "file", "root", "$VIDJAX_CACHE"):
        motion.load(root=str(tmp_path / "file"), train_clips=8, validation_clips=8, test_clips=8)


def test_failing_worker_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PARTS", ("train", "validation", "elsewhere"))  # only here, not in the workers
    with refused(DataError, tmp_path, "[Errno 2]"):
        ensure(tmp_path, SMALL, processes=2, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_random_access_is_exact(source):
    order = np.random.default_rng(0).permutation(EASY.frames)
    for video in source.test[:8]:
        truth = decoded_in_order(video.path)
        assert truth.shape == (EASY.frames, EASY.side, EASY.side, 3)
        reader = decord.VideoReader(video.path, num_threads=1)
        assert len(reader) == EASY.frames and reader.get_avg_fps() == EASY.fps
        np.testing.assert_array_equal(reader.get_batch(order).asnumpy(), truth[order])


def test_decoded_frames_are_the_rendered_ones_within_4_levels(source):
    for video in source.test:
        _, _, number = video.id.split("/")
        rendered = render((0, 2, int(number) * 8 + video.label), video.label).astype(float)
        difference = decoded_in_order(video.path) - rendered
        assert abs(difference).mean() < 4
        assert abs(difference.mean()) < 1.5


def test_residue_of_a_frame_depends_on_that_frame_alone(tmp_path):
    # Frames coded alone, backwards, or among frames of another class come out the same, so that what is lost
    # in coding tells nothing of the motion.
    clip, other = render((0, 0, 1), 4), render((0, 0, 2), 7)
    encode(tmp_path / "forward.avi", clip)
    encode(tmp_path / "backward.avi", clip[::-1])
    encode(tmp_path / "mixed.avi", np.concatenate([other[:5], clip[9:10], other[5:]]))
    forward = decoded_in_order(tmp_path / "forward.avi")
    np.testing.assert_array_equal(decoded_in_order(tmp_path / "backward.avi")[::-1], forward)
    np.testing.assert_array_equal(decoded_in_order(tmp_path / "mixed.avi")[5], forward[9])


# ---- no single frame tells, and no nearest neighbor of the mean frame ----


def inside_chance(correct: int, videos: int) -> bool:
    """Within the central 95% of the binomial distribution at 1/8."""
    low, high = stats.binom.interval(0.95, videos, 1 / 8)
    return low <= correct <= high


def nearest_neighbor(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    train, test = (x.reshape(len(x), -1).astype(np.float32) for x in (train, test))
    return train_labels[((train**2).sum(1) - 2 * test @ train.T).argmin(1)]


FIRST_MIDDLE_LAST = {"easy": (0, 15, 31), "hard": (0, 31, 63)}


@pytest.fixture(scope="module", params=list(FIRST_MIDDLE_LAST))
def standard(request):
    """Of the standard set, decoded: {part: (float32 {name: [N, H, W, 3]}, labels [N])}. Uses the user's cache."""
    loaded = motion.load(level=request.param)
    numbers = FIRST_MIDDLE_LAST[request.param]

    def decoded(videos):
        pictures = {name: [] for name in ("mean", "spread", "first", "middle", "last")}
        for video in videos:
            reader = decord.VideoReader(video.path, num_threads=1)
            clip = reader.get_batch(range(len(reader))).asnumpy()
            found = (clip.mean(0, dtype=np.float32), clip.std(0, dtype=np.float32), *clip[list(numbers)])
            for name, picture in zip(pictures, found, strict=True):
                pictures[name].append(picture.astype(np.float32))
        stacked = {name: np.stack(each) for name, each in pictures.items()}
        return stacked, np.array([v.label for v in videos])

    return {"level": request.param, "train": decoded(loaded.train), "test": decoded(loaded.test)}


def neighbors_correct(standard, name: str) -> tuple[int, int]:
    (train, train_labels), (test, labels) = standard["train"], standard["test"]
    return int((nearest_neighbor(train[name], train_labels, test[name]) == labels).sum()), len(labels)


@pytest.mark.slow
def test_nearest_neighbor_on_the_mean_frame_is_at_chance(standard):
    assert inside_chance(*neighbors_correct(standard, "mean"))
    # The same test sees a class where it is: variation over time tells the four axes of the easy classes.
    assert standard["level"] == "hard" or not inside_chance(*neighbors_correct(standard, "spread"))


@pytest.mark.slow
@pytest.mark.parametrize("frame", ["first", "middle", "last"])
def test_single_frames_are_at_chance(standard, frame):
    from sklearn.linear_model import RidgeClassifier

    assert inside_chance(*neighbors_correct(standard, frame))
    (train, train_labels), (test, labels) = standard["train"], standard["test"]
    flat = [part[frame][:, ::2, ::2].reshape(len(part[frame]), -1) / 255.0 for part in (train, test)]
    linear = RidgeClassifier(alpha=100.0).fit(flat[0], train_labels)
    assert inside_chance((linear.predict(flat[1]) == labels).sum(), len(labels))


def test_a_folder_of_other_videos_is_not_filled(tmp_path):
    (tmp_path / "archery").mkdir()
    with refused(ConfigError, f"root={tmp_path}", "--config=FILE:folder"):
        motion.load(root=str(tmp_path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["archery"]
