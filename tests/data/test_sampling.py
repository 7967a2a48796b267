import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vidjax.data import sampling
from vidjax.errors import ConfigError

COUNTS = st.integers(1, 400)
FRAMES = st.integers(1, 64)
STRIDES = st.one_of(st.integers(1, 8), st.floats(0.2, 8))


def test_a_clip_at_whole_and_fractional_strides():
    assert sampling.clip_indices(3, 4, 2).tolist() == [3, 5, 7, 9]
    assert sampling.clip_indices(0, 6, 1.25).tolist() == [0, 1, 3, 4, 5, 6]
    assert sampling.clip_indices(0, 5, 0.5).tolist() == [0, 1, 1, 2, 2]


def test_resampling_30_to_25_fps_drops_every_sixth_frame():
    stride = sampling.stride_for_fps(30, 25)
    assert sampling.clip_indices(0, 11, stride).tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12]


def test_uniform_clips_reach_from_the_first_to_the_last_start():
    assert sampling.uniform_clips(20, 4, 2, 1).tolist() == [[6, 8, 10, 12]]  # 14 starts: 0 .. 13
    assert sampling.uniform_clips(20, 4, 2, 3)[:, 0].tolist() == [0, 7, 13]


def test_positions():
    starts = {name: int(sampling.clip_at(name, 20, 5, 1)[0]) for name in ("first", "middle", "last")}
    assert starts == {"first": 0, "middle": 7, "last": 15}
    with refused(ConfigError, "'centre'", "random, first, middle, last"):
        sampling.clip_at("centre", 20, 5, 1)


def test_a_short_video_is_looped():
    assert sampling.clip_at("last", 3, 7, 1).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert sampling.uniform_clips(3, 4, 2, 2).tolist() == [[0, 2, 1, 0], [0, 2, 1, 0]]


def test_random_starts_are_uniform_over_all_valid_ones():
    rng = np.random.default_rng(0)
    starts = [int(sampling.random_clip(12, 3, 2, rng)[0]) for _ in range(4000)]
    counts = np.bincount(starts, minlength=8)
    assert len(counts) == 8  # 0 .. 7: the clip spans 5 frames
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500)


@given(COUNTS, FRAMES, STRIDES, st.integers(0, 2**32 - 1))
def test_any_random_clip_stays_inside_and_runs_forwards_where_it_fits(count, frames, stride, seed):
    clip = sampling.random_clip(count, frames, stride, np.random.default_rng(seed))
    assert clip.shape == (frames,) and clip.min() >= 0 and clip.max() < count
    if sampling.clip_indices(0, frames, stride)[-1] < count:
        assert (np.diff(clip) >= 0).all()
        assert (clip - clip[0]).tolist() == sampling.clip_indices(0, frames, stride).tolist()


@given(COUNTS, FRAMES, STRIDES, st.integers(1, 20))
def test_uniform_clips_are_evenly_spaced(count, frames, stride, clips):
    starts = sampling.uniform_clips(count, frames, stride, clips)[:, 0]
    last = sampling.last_start(count, frames, stride)
    if clips > 1:
        assert starts[0] == 0 and starts[-1] == last
        assert np.abs(starts - np.arange(clips) * last / (clips - 1)).max() <= 0.5
    else:
        assert starts.tolist() == [last // 2]


@pytest.mark.parametrize("call", [lambda: sampling.clip_indices(0, 0), lambda: sampling.last_start(0, 4)])
def test_empty_clips_and_videos_are_refused(call):
    with refused(ValueError, "0"):
        call()


@pytest.mark.parametrize(("native", "target"), [(30, 25), (25, 12.5), (29.97, 15), (24, 30), (50, 6)])
def test_resampled_frames_are_the_nearest_in_time(native, target):
    indices = sampling.clip_indices(0, 40, sampling.stride_for_fps(native, target))
    wanted, shown = np.arange(40) / target, indices / native
    assert np.abs(shown - wanted).max() <= 0.5 / native + 1e-12


@pytest.mark.parametrize("count", [16, 17, 200])
def test_two_frames_15_apart(count):
    rng = np.random.default_rng(count)
    pairs = [sampling.random_clip(count, 2, 15, rng) for _ in range(20)] + list(sampling.uniform_clips(count, 2, 15, 5))
    assert all(second - first == 15 for first, second in pairs)


def test_two_frames_15_apart_in_a_video_that_is_too_short_are_looped():
    assert sampling.random_clip(15, 2, 15, np.random.default_rng(0)).tolist() == [0, 0]
    assert sampling.random_clip(10, 2, 15, np.random.default_rng(0)).tolist() == [0, 5]


def test_enough_clips_at_stride_1_show_every_frame():
    for count in (10, 99, 100, 101):
        assert set(sampling.uniform_clips(count, 10, 1, -(-count // 10)).ravel()) == set(range(count))


def test_a_clip_from_a_frame_starts_there_or_as_late_as_it_fits():
    assert sampling.clip_from(6, 20, 3, 2).tolist() == [6, 8, 10]
    assert sampling.clip_from(18, 20, 3, 2).tolist() == [15, 17, 19]
    assert sampling.clip_from(6, 4, 1, 1).tolist() == [3]
    assert sampling.clip_from(6, 4, 6, 1).tolist() == [0, 1, 2, 3, 0, 1]


def test_random_segments_draw_one_frame_of_each_part_uniformly():
    rng = np.random.default_rng(1)
    drawn = np.stack([sampling.random_segments(10, 4, rng) for _ in range(3000)])
    for place, part in enumerate([(0, 1), (2, 3, 4), (5, 6), (7, 8, 9)]):  # cut at 0, 2.5, 5 and 7.5
        frames, counts = np.unique(drawn[:, place], return_counts=True)
        assert tuple(frames) == part
        assert np.abs(counts - 3000 / len(part)).max() < 5 * np.sqrt(3000 / len(part))


def test_segments_of_a_short_video_repeat_its_frames_in_place():
    for seed in range(5):
        drawn = sampling.random_segments(3, 7, np.random.default_rng(seed)).tolist()
        assert drawn == [0, 0, 0, 1, 1, 2, 2]
    assert sampling.uniform_segments(1, 4, 2).tolist() == [[0, 0, 0, 0]] * 2


@given(COUNTS, FRAMES, st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_segments_lie_in_their_parts_in_order(count, frames, clips, seed):
    parts = np.arange(frames + 1) * count / frames
    random = sampling.random_segments(count, frames, np.random.default_rng(seed))
    uniform = sampling.uniform_segments(count, frames, clips)
    assert random.shape == (frames,) and uniform.shape == (clips, frames)
    for clip in (random, *uniform):
        assert (clip >= np.floor(parts[:-1])).all() and (clip < np.maximum(parts[1:], np.floor(parts[:-1]) + 1)).all()
    # read part by part, the places are the centers of clips * frames equal parts
    centers = (np.arange(clips * frames) * 2 + 1) * count // (2 * clips * frames)
    assert uniform.T.ravel().tolist() == centers.tolist()


def test_one_test_clip_of_segments_is_that_of_tsn():
    """mmaction2's SampleFrames in test mode: int(i * average + average / 2)."""
    for count, frames in ((100, 8), (37, 3), (250, 25)):
        average = count / frames
        assert sampling.uniform_segments(count, frames, 1)[0].tolist() == [
            int(i * average + average / 2) for i in range(frames)
        ]


@pytest.mark.parametrize(
    "call",
    [
        lambda: sampling.uniform_segments(0, 4, 1),
        lambda: sampling.uniform_segments(9, 4, 0),
        lambda: sampling.random_segments(9, 0, np.random.default_rng(0)),
    ],
)
def test_empty_segments_are_refused(call):
    with refused(ValueError, "0"):
        call()


def test_consecutive_frames_around_each():
    assert sampling.frame_windows(np.array([0, 5, 9]), 10, 1).tolist() == [0, 5, 9]
    assert sampling.frame_windows(np.array([5]), 10, 3).tolist() == [4, 5, 6]
    assert sampling.frame_windows(np.array([0, 1, 5, 9]), 10, 4).reshape(4, 4)[:, 0].tolist() == [0, 0, 3, 6]
    assert sampling.frame_windows(np.array([1, 0]), 2, 3).tolist() == [0, 1, 1] * 2
