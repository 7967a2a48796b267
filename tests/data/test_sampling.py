import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    with pytest.raises(ConfigError, match="'centre'"):
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
    with pytest.raises(ValueError, match=r"at least one|>= 1"):
        call()
