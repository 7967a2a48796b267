import av
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data import Input, Source, Video
from vidjax.errors import DataError
from vidjax.evaluation.baselines import baseline_rows, describe, majority_class, nearest_neighbor


def write(path, value, frames, fps=25):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj444p"
        for _ in range(frames):
            picture = np.full((32, 32, 3), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


@pytest.fixture
def source(tmp_path):
    """Class 0 is dark; class 1 is bright; class 2 is long. Class 0 has most videos in the train part."""
    plan = {
        "train": [(0, 20, 5), (0, 30, 5), (0, 25, 6), (1, 220, 6), (1, 230, 5), (2, 120, 25), (2, 130, 26)],
        "test": [(0, 22, 6), (1, 225, 6), (1, 228, 5), (2, 125, 25)],
    }
    parts = {
        part: tuple(
            Video.of(f"{part}{n}", write(tmp_path / f"{part}{n}.avi", value, frames), label, f"{part}{n}")
            for n, (label, value, frames) in enumerate(entries)
        )
        for part, entries in plan.items()
    }
    return Source("tones", "1", ("dark", "bright", "long", "never"), parts["train"], (), parts["test"])


def test_nearest_neighbor_standardizes_and_ignores_constants():
    train = np.array([[0.0, 1000.0, 5.0], [1.0, 1000.0, 5.0], [0.0, 3000.0, 5.0]])
    labels = np.array([0, 1, 2])
    # Unscaled, the second feature alone would decide: 1,600 is nearer to 1,000 than to 3,000.
    assert nearest_neighbor(train, labels, np.array([[0.9, 1600.0, 9.0], [0.1, 2900.0, 0.0]])).tolist() == [1, 2]


def test_majority_class():
    assert majority_class(np.array([2, 0, 2, 1, 1]), 3).tolist() == [1, 1, 1]


def test_description(source):
    description = describe(source.test[3])
    assert description.label == 2 and description.length_and_fps.tolist() == [25, 25]
    assert description.mean_frame.shape == (768,) and np.abs(description.mean_frame - 125).max() < 4


def test_rows_count_what_was_predicted(source):
    steps = []
    rows = {row.baseline: row for row in baseline_rows(source, lambda done, total: steps.append((done, total)))}
    assert steps == [(n, 11) for n in range(1, 12)]
    majority, length, color = rows.values()
    assert (majority.baseline, majority.correct, majority.video_top1) == ("majority class", 1, 0.25)
    assert majority.mean_class_accuracy == pytest.approx(1 / 3)  # over the classes that are tested
    assert majority.per_class_correct == [1, 0, 0, 0] and majority.per_class_videos == [1, 2, 1, 0]
    assert majority.classes == ["dark", "bright", "long", "never"]
    groups = majority.groups
    assert (groups.label, groups.videos, groups.correct) == ([0, 1, 1, 2], [1, 1, 1, 1], [1, 0, 0, 0])
    assert color.correct == 4 and color.video_top1 == 1
    assert length.per_class_correct[2] == 1 and length.correct < 4
    assert all((row.dataset, row.split, row.videos, row.failed_videos) == ("tones", "1", 4, 0) for row in rows.values())


def test_videos_that_cannot_be_decoded_are_left_out_and_counted(source, tmp_path):
    bad = tmp_path / "bad.avi"
    bad.write_bytes(b"noise" * 100)
    broken = Video.of("bad", str(bad), 0, "bad")
    rows = baseline_rows(Source("tones", "1", source.classes, source.train, (), (*source.test, broken)))
    assert {(row.videos, row.failed_videos) for row in rows} == {(4, 1)}
    with refused(DataError, "tones", "test"):
        baseline_rows(Source("tones", "1", source.classes, source.train, (), (broken,)))


def test_a_source_without_images_has_baselines_too():
    """The mean of what there is tells these classes apart; a gap counts as 0."""
    pose = Input("pose", (2, 2), "float32", space="points")

    def video(name, label, value, frames):
        array = np.full((frames, 2, 2), value, np.float32)
        array[0, 0] = np.nan
        return Video.of(name, name, label, name, stream="pose", frames=array)

    train = tuple(video(f"train{n}", n % 2, n % 2, 50) for n in range(4))
    test = tuple(video(f"test{n}", n % 2, 0.8 * (n % 2), 50) for n in range(4))
    rows = baseline_rows(Source("poses", "1", ("still", "raised"), train, (), test, inputs=(pose,)))
    assert {row.baseline: row.correct for row in rows} == {
        "majority class": 2,
        "length and fps, 1-NN": 2,
        "mean of pose, 1-NN": 4,
    }
    assert describe(test[1], pose).mean_frame.tolist() == pytest.approx([0.8 * 0.98] * 2 + [0.8] * 2, rel=1e-6)
