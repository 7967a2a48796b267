import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data.clips import ClipSpec
from vidjax.data.resizing import Resize
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"sampling": "segment"}, ("sampling='segment'", "dense, segments")),
        ({"sampling": "segments", "stride": 2}, ("sampling=segments", "stride")),
        ({"sampling": "segments", "fps": 5.0}, ("sampling=segments", "fps")),
        ({"sampling": "segments", "position": "first"}, ("sampling=segments", "position")),
        ({"sampling": "segments", "frame_number": 0}, ("sampling=segments", "frame_number")),
        ({"frame_number": -1}, ("frame_number=-1", "0")),
        ({"frame_number": 6, "position": "first"}, ("frame_number=6", "position", "first")),
        ({"resize": "stretch"}, ("resize='stretch'", "short_side, squash, letterbox")),
        ({"resize": "squash"}, ("resize=squash", "size")),
        ({"resize": "letterbox", "size": 32, "short_side": 32}, ("resize=letterbox", "size", "short_side")),
        ({"resize": "letterbox", "size": 16}, ("crop=20", "size=16")),
        ({"size": 32}, ("size=32", "resize=squash", "letterbox")),
        ({"short_side_max": 32}, ("short_side_max=32", "short_side", "None")),
        ({"short_side_max": 20, "short_side": 24}, ("short_side_max=20", "short_side", "24")),
    ],
)
def test_contradictions_are_refused(options, tokens):
    with refused(ConfigError, *tokens):
        ClipSpec(**{"frames": 4, "crop": 20, **options})


@pytest.mark.parametrize("options", [{"stride": 2}, {"sampling": "segments"}, {"stride": 2, "training_views": 1}])
def test_training_takes_one_of_the_views_of_an_evaluation(options):
    clip = ClipSpec(**{"frames": 3, "training_views": 4, **options})
    rows = ViewSpec(clips=clip.training_views).frame_indices(clip, 40, clip.stride).tolist()
    seen = [rows.index(clip.training_indices(40, clip.stride, np.random.default_rng(n)).tolist()) for n in range(50)]
    assert set(seen) == set(range(clip.training_views))
    # As a stream of so many rows, of which one is drawn: what features that were computed once are.
    stored = ClipSpec(frames=1)
    assert seen == [int(stored.training_indices(len(rows), 1, np.random.default_rng(n))[0]) for n in range(50)]
    assert ViewSpec(clips=len(rows)).frame_indices(stored, len(rows), 1).tolist() == [[n] for n in range(len(rows))]


def test_a_fixed_clip_is_one_view():
    with refused(ConfigError, "training_views=2", "position"):
        ClipSpec(frames=3, position="middle", training_views=2)


def test_shuffled_views_show_the_same_frames_in_another_order():
    clip, views = ClipSpec(frames=10), ViewSpec(clips=2, shuffled=True)
    rows, plain = (each.frame_indices(clip, 50, 1) for each in (views, ViewSpec(clips=2)))
    np.testing.assert_array_equal(np.sort(rows, axis=1), plain)
    assert (rows != plain).any(axis=1).all() and (rows[0] - plain[0] != rows[1] - plain[1]).any()
    np.testing.assert_array_equal(rows, views.frame_indices(clip, 50, 1))


def test_indices_follow_the_sampling():
    rng = np.random.default_rng(0)
    dense, segments = ClipSpec(frames=3, stride=2), ClipSpec(frames=3, sampling="segments")
    assert np.diff(dense.training_indices(40, 2, rng)).tolist() == [2, 2]
    assert ViewSpec(clips=3).frame_indices(dense, 9, 2).tolist() == [[0, 2, 4], [2, 4, 6], [4, 6, 8]]
    assert (segments.training_indices(30, 1, rng) // 10).tolist() == [0, 1, 2]
    assert ViewSpec(clips=1).frame_indices(segments, 30, 1).tolist() == [[5, 15, 25]]
    seventh = ClipSpec(frames=1, frame_number=6)
    assert seventh.training_indices(30, 1, rng).tolist() == [6]
    assert ViewSpec(clips=1).frame_indices(seventh, 30, 1).tolist() == [[6]]


def test_a_jittered_short_side_is_read_at_its_largest_in_training_and_its_smallest_in_evaluation():
    clip = ClipSpec(frames=1, short_side=24, short_side_max=32, crop=20)
    assert (clip.resizing(training=True), clip.resizing(training=False)) == (Resize(32), Resize(24))
    squashed = ClipSpec(frames=1, resize="squash", size=40, crop=20)
    assert squashed.resizing(training=True) == squashed.resizing(training=False) == Resize(40, "squash")


@pytest.mark.parametrize(
    ("clip", "text"),
    [
        (ClipSpec(frames=2, stride=15), "stride 15"),
        (ClipSpec(frames=2, fps=12.5), "12.5 fps"),
        (ClipSpec(frames=2, position="last"), "stride 1, last"),
        (ClipSpec(frames=1, frame_number=6), "stride 1, from frame 6"),
        (ClipSpec(frames=3, sampling="segments"), "segments"),
    ],
)
def test_the_pace_of_a_result_row(clip, text):
    assert clip.describe_sampling() == text


def corners(views, height, width, clip):
    return [views.corner(place, height, width, clip) for place in range(views.crop_count // (1 + views.mirrored))]


def test_ten_crops_are_the_corners_and_center_of_what_training_cuts_from():
    ten = ViewSpec(crops="ten", side=170)
    middle = ClipSpec(frames=1, crop=200)
    assert corners(ten, 200, 267, middle) == [(0, 33), (0, 63), (30, 33), (30, 63), (15, 48)]
    anywhere = ClipSpec(frames=1, crop=200, crop_position="random")
    assert corners(ten, 200, 267, anywhere) == [(0, 0), (0, 97), (30, 0), (30, 97), (15, 48)]


def test_three_crops_reach_both_ends():
    three = ViewSpec(crops="three", side=170)
    clip = ClipSpec(frames=1, crop=200)
    assert [three.corner(place, 200, 267, clip) for place in range(3)] == [(15, 0), (15, 48), (15, 97)]
    assert [three.corner(place, 267, 200, clip) for place in range(3)] == [(0, 15), (48, 15), (97, 15)]


def test_views_of_ten_crops_come_in_mirrored_pairs():
    ten = ViewSpec(clips=2, crops="ten")
    assert ten.count == 20 and ten.describe() == "2 clips x 10 crops"
    assert [ten.is_flipped(view) for view in range(4)] == [False, True, False, True]
    assert [ten.clip_and_crop(view) for view in range(0, 20, 2)] == [(c, p) for c in range(2) for p in range(5)]
    assert [ten.clip_and_crop(view + 1) for view in range(0, 20, 2)] == [(c, p) for c in range(2) for p in range(5)]
    with refused(ConfigError, "crops=ten", "flip"):
        ViewSpec(crops="ten", flip=True)
