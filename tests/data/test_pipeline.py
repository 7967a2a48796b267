import dataclasses
import itertools
import logging
import multiprocessing
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data import (
    ClipSpec,
    MemoryCache,
    Video,
    ViewSpec,
    evaluation_batches,
    iteration,
    pipeline,
    read_frames,
    sampling,
    training_batches,
)
from vidjax.data.cache import disk, memory
from vidjax.data.cache.disk import DiskCache
from vidjax.data.video.conversion import resize_frames
from vidjax.errors import ConfigError, EmptyPartError, VideoError

CLIP = ClipSpec(frames=4, stride=2, short_side=24, crop=20, crop_position="random")
ALL_VIEWS = ViewSpec(clips=2, crops="three", flip=True)


def train(videos, steps, *, batch_size=4, seed=3, clip=CLIP, **options):
    with training_batches(videos, clip, batch_size=batch_size, seed=seed, **options) as batches:
        return list(itertools.islice(batches, steps))


def evaluate(videos, views=ALL_VIEWS, *, clip=CLIP, batch_size=8, **options):
    with evaluation_batches(videos, clip, views, batch_size=batch_size, **options) as batches:
        return list(batches), batches.failed


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one.inputs.keys() == other.inputs.keys()
        for name in one.inputs:
            np.testing.assert_array_equal(one.inputs[name], other.inputs[name], err_msg=name)
        for name in ("label", "index", "mask", "mirrored"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def examples(batches):
    """Global number -> (clip, label, mask), each number once."""
    found = {}
    for batch in batches:
        for rgb, label, index, mask in zip(batch.inputs["rgb"], batch.label, batch.index, batch.mask, strict=True):
            assert int(index) not in found
            found[int(index)] = (rgb.tobytes(), int(label), bool(mask))
    return found


def test_shapes_and_types(videos):
    (batch,) = train(videos, 1)
    assert list(batch.inputs) == ["rgb"]
    assert batch.inputs["rgb"].shape == (4, 4, 20, 20, 3) and batch.inputs["rgb"].dtype == np.uint8
    assert (batch.label.dtype, batch.index.dtype, batch.mask.dtype) == (np.int32, np.int32, bool)
    assert batch.mask.all() and batch.index.tolist() == [0, 1, 2, 3] and batch.mirrored is None


def test_every_epoch_shows_each_video_once_in_a_new_order(videos, numbers):
    whole = ClipSpec(frames=4, stride=2, crop=32)
    batches = train(videos, 7, batch_size=3, clip=whole)  # 21 examples: three epochs, ending within batches
    frame, video = numbers(np.concatenate([batch.inputs["rgb"] for batch in batches]))
    assert (video == video[:, :1]).all()
    epochs = video[:, 0].reshape(3, 7)
    assert [sorted(epoch) for epoch in epochs.tolist()] == [list(range(7))] * 3
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3
    assert np.concatenate([batch.label for batch in batches]).tolist() == (video[:, 0] % 3).tolist()
    assert (np.diff(frame, axis=1) == 2).all()
    # the start is drawn anew in every epoch, not once per video
    starts = {number: set(frame[video[:, 0] == number, 0].tolist()) for number in range(7)}
    assert max(len(found) for found in starts.values()) > 1


def test_restarting_at_a_step_gives_the_same_batches(videos):
    assert_same(train(videos, 4, start_step=3), train(videos, 7)[3:])


def test_seeds_differ(videos):
    assert examples(train(videos, 2, seed=3)) != examples(train(videos, 2, seed=4))


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_each_global_batch(videos, processes):
    alone = train(videos, 5)
    shares = [train(videos, 5, process_index=p, process_count=processes) for p in range(processes)]
    for step, batch in enumerate(alone):
        parts = [share[step] for share in shares]
        assert all(len(part.label) == 4 // processes for part in parts)
        assert examples(parts) == examples([batch])


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 4}, {"cache": True}, {"cache": False, "threads": 1}])
@pytest.mark.parametrize("exact_seek", [False, True])
def test_batches_depend_neither_on_threads_nor_on_the_cache(videos, options, exact_seek):
    videos = [Video.of(v.id, v.path, v.label, v.group, exact_seek) for v in videos]
    options = {**options, "cache": MemoryCache(10**8) if options.get("cache") else None}
    assert_same(train(videos, 5, **options), train(videos, 5))
    assert_same(evaluate(videos, **options)[0], evaluate(videos)[0])


def test_a_cache_that_is_too_small_changes_nothing(videos, tmp_path):
    for cache in (MemoryCache(60_000), DiskCache(tmp_path, 60_000)):
        assert_same(train(videos, 5, cache=cache), train(videos, 5))


@pytest.mark.parametrize("options", [{}, {"workers": 2}])
def test_a_cache_on_disk_gives_the_same_batches_in_the_next_run(videos, tmp_path, options):
    for _ in range(2):
        assert_same(train(videos, 5, cache=DiskCache(tmp_path, 10**8), **options), train(videos, 5))
        assert_same(evaluate(videos, cache=DiskCache(tmp_path, 10**8))[0], evaluate(videos)[0])
    assert len(list(tmp_path.glob("*/*.frames"))) == len(videos)


def test_worker_processes_give_the_same_batches_and_end(videos):
    assert_same(train(videos, 4, workers=2, cache=MemoryCache(10**7)), train(videos, 4))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_errors_and_reasons_travel_from_worker_processes(damaged, videos):
    with refused(VideoError, "noise.avi") as error:
        train([damaged], 8, workers=1)
    assert error.value.path == damaged.path
    assert_same(train([*videos, damaged], 8, workers=2), train([*videos, damaged], 8))
    batches, failed = evaluate([*videos, damaged], workers=2)
    assert list(failed) == ["noise"]
    assert_same(batches, evaluate([*videos, damaged])[0])
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("reason", [None, "noise, as the index knows"])
def test_in_training_another_video_stands_in_the_place_of_a_damaged_one(videos, damaged, reason):
    """The same one whoever reads it, and no other example changes."""
    damaged = Video.of(damaged.id, damaged.path, damaged.label, damaged.group, refused=reason)
    mixed = [*videos[:3], damaged, *videos[3:]]
    with training_batches(mixed, CLIP, batch_size=4, seed=3) as batches:
        got = list(itertools.islice(batches, 6))
        assert batches.failed.keys() == {"noise"} and (reason or "") in batches.failed["noise"]
    for options in ({"threads": 0}, {"threads": 4}, {"cache": MemoryCache(10**8)}):
        assert_same(got, train(mixed, 6, **options))
    assert_same(got[2:], train(mixed, 4, start_step=2))
    shares = [train(mixed, 6, process_index=p, process_count=2) for p in range(2)]
    assert examples(got) == examples([batch for share in shares for batch in share])
    # With a sound video in its place, the others are the same; 24 examples are 3 epochs of 8.
    sound = train([*videos[:3], dataclasses.replace(videos[0], id="sound"), *videos[3:]], 6)
    differing = [i for i, (a, b) in enumerate(zip(examples(got).values(), examples(sound).values())) if a != b]
    assert len(differing) <= 3


def test_iterators_end_their_threads(videos):
    before = set(threading.enumerate())
    batches = training_batches(videos, CLIP, batch_size=4, seed=0, threads=3)
    next(batches)
    batches.close()
    batches.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)
        assert not thread.is_alive()
    with pytest.raises(StopIteration):
        next(batches)


@pytest.mark.parametrize("threads", [0, 2])
def test_training_ends_for_good_where_no_video_can_be_decoded(damaged, threads):
    batches = training_batches([damaged], CLIP, batch_size=8, seed=0, threads=threads)
    for _ in range(2):  # going on would skip examples in silence
        with refused(VideoError, "noise.avi"):
            next(batches)


def test_evaluation_views_are_the_clips_and_crops_of_each_video(videos):
    batches, failed = evaluate(videos)
    found = np.concatenate([batch.inputs["rgb"] for batch in batches])
    mirrored = np.concatenate([batch.mirrored for batch in batches])
    assert not failed and ALL_VIEWS.count == 12 and ALL_VIEWS.describe() == "2 clips x 3 crops x 2 flips"
    for number, video in enumerate(videos):
        clips = sampling.uniform_clips(14 + 3 * number, 4, 2, 2)
        for view, (clip, left, flip) in enumerate(itertools.product(clips, (0, 8, 16), (False, True))):
            expected = read_frames(video.path, clip.tolist(), (24, 36))[:, 2:22, left : left + 20]
            assert ALL_VIEWS.is_flipped(view) == flip == mirrored[12 * number + view], "the device mirrors it"
            np.testing.assert_array_equal(found[12 * number + view], expected)


def test_three_crops_of_an_upright_video_lie_below_each_other(write, tmp_path):
    video = Video.of("tall", str(write(tmp_path / "tall.avi", size=(48, 32))), 0, "tall")
    batches, _ = evaluate([video], ViewSpec(crops="three"), clip=ClipSpec(frames=1, crop=32), batch_size=3)
    middle = sampling.uniform_clips(32, 1, 1, 1)[0].tolist()
    whole = read_frames(video.path, middle)
    for view, top in enumerate((0, 8, 16)):
        np.testing.assert_array_equal(batches[0].inputs["rgb"][view], whole[:, top : top + 32])


@pytest.mark.parametrize("count", [1, 4, 7])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_every_view_is_seen_once_over_all_processes(videos, count, processes):
    views = ViewSpec(clips=3)
    shares = [evaluate(videos[:count], views, process_index=p, process_count=processes)[0] for p in range(processes)]
    assert len({len(share) for share in shares}) == 1
    assert all(len(batch.label) == 8 // processes for share in shares for batch in share)
    found = examples(batch for share in shares for batch in share)
    valid = {index: label for index, (_, label, mask) in found.items() if mask}
    assert valid == {3 * number + view: videos[number].label for number in range(count) for view in range(3)}
    assert found == examples(evaluate(videos[:count], views)[0])


def test_evaluation_masks_what_cannot_be_decoded_and_says_why(videos, damaged):
    batches, failed = evaluate([videos[0], damaged, videos[1]], ViewSpec(clips=2), batch_size=4)
    assert np.concatenate([batch.mask for batch in batches]).tolist() == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
        False,
    ]
    assert list(failed) == ["noise"] and failed["noise"]


@pytest.mark.parametrize(("position", "start"), [("first", 0), ("middle", 12), ("last", 25)])
def test_a_fixed_position_is_the_same_in_training_and_evaluation(videos, numbers, position, start):
    clip = ClipSpec(frames=4, stride=2, position=position, crop=32)
    long = [videos[6]]  # 32 frames: starts 0 .. 25
    for batches in (train(long, 2, batch_size=2, clip=clip), evaluate(long, ViewSpec(), clip=clip, batch_size=1)[0]):
        for batch in batches:
            assert (numbers(batch.inputs["rgb"])[0] == start + 2 * np.arange(4)).all()
    with refused(ConfigError, "2"):
        evaluation_batches(videos, clip, ViewSpec(clips=2), batch_size=4)


def test_target_frame_rate(videos, numbers):
    (batch,) = train([videos[6]], 1, batch_size=1, clip=ClipSpec(frames=5, fps=10.0, position="first", crop=32))
    assert numbers(batch.inputs["rgb"])[0].tolist() == [[0, 3, 5, 8, 10]]  # 25 fps: every 2.5 frames


def test_random_crops_vary_and_center_crops_do_not(videos):
    still = ClipSpec(frames=1, position="first", crop=16, crop_position="center")
    center = {batch.inputs["rgb"].tobytes() for batch in train(videos[:1], 8, batch_size=1, clip=still)}
    moved = ClipSpec(frames=1, position="first", crop=16, crop_position="random")
    random = {batch.inputs["rgb"].tobytes() for batch in train(videos[:1], 8, batch_size=1, clip=moved)}
    assert len(center) == 1 and len(random) > 4


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"crop": 30, "short_side": 24}, ("crop=30", "short_side=24")),
        ({"position": "frist"}, ("position='frist'", "random, first, middle, last")),
        ({"crop_position": "corner"}, ("crop_position='corner'", "center, random")),
        ({"frames": 0}, ("frames=0", "1")),
        ({"fps": 10.0, "stride": 2}, ("stride=2", "fps=10.0")),
    ],
)
def test_clips_that_cannot_be_are_refused(options, tokens):
    with refused(ConfigError, *tokens):
        ClipSpec(**{"frames": 4, "crop": 20, **options})


def test_sizes_that_do_not_fit_are_refused(videos):
    with refused(ConfigError, "batch_size", "4", "3"):
        training_batches(videos, CLIP, batch_size=4, seed=0, process_count=3)
    with refused(EmptyPartError):
        training_batches([], CLIP, batch_size=4, seed=0)
    with refused(ConfigError, "crops='five'"):
        ViewSpec(crops="five")
    too_large = ClipSpec(frames=4, crop=40)
    with refused(ConfigError, "32x48", "40", "short_side"):
        train(videos, 1, clip=too_large)
    with refused(ConfigError, "32x48", "40", "short_side"):
        evaluate(videos, clip=too_large)


def test_vidjax_data_starts_no_jax_back_end():
    code = (
        "import vidjax.data, sys; jax = sys.modules.get('jax'); "
        "assert 'flax' not in sys.modules and 'decord' not in sys.modules; "
        "assert jax is None or not jax._src.xla_bridge._backends"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_segments_show_one_frame_of_each_part(videos, numbers):
    clip = ClipSpec(frames=4, sampling="segments", crop=32)
    long = [videos[6]]  # 32 frames: parts of 8
    drawn = np.concatenate([numbers(batch.inputs["rgb"])[0] for batch in train(long, 20, batch_size=2, clip=clip)])
    assert (drawn // 8 == np.arange(4)).all() and len(np.unique(drawn[:, 0])) > 4
    batches, _ = evaluate(long, ViewSpec(clips=2), clip=clip, batch_size=2)
    assert numbers(batches[0].inputs["rgb"])[0].tolist() == [[2, 10, 18, 26], [6, 14, 22, 30]]


def test_a_random_single_frame_varies_by_example_and_epoch(videos, numbers):
    clip = ClipSpec(frames=1, crop=32)
    batches = train(videos[:2], 20, batch_size=2, clip=clip)
    frame, video = (part[..., 0] for part in numbers(np.stack([batch.inputs["rgb"] for batch in batches])))
    assert (frame[:, 0] != frame[:, 1]).any()
    assert all(len(set(frame[video == number].tolist())) > 5 for number in range(2))


def test_the_seventh_frame_of_every_video(videos, numbers):
    clip = ClipSpec(frames=1, frame_number=6, crop=32)
    for batches in (train(videos, 2, clip=clip), evaluate(videos, ViewSpec(), clip=clip)[0]):
        assert all((numbers(batch.inputs["rgb"][batch.mask])[0] == 6).all() for batch in batches)
    with refused(ConfigError, "2"):
        evaluation_batches(videos, clip, ViewSpec(clips=2), batch_size=4)


JITTERED = ClipSpec(frames=2, short_side=20, short_side_max=28, crop=20, crop_position="random")
SPATIAL = [
    JITTERED,
    ClipSpec(frames=2, resize="squash", size=24, crop=20),
    ClipSpec(frames=2, resize="letterbox", size=40, crop=36, padding=(117,)),
]


@pytest.mark.parametrize("clip", SPATIAL, ids=["jitter", "squash", "letterbox"])
@pytest.mark.parametrize("exact_seek", [False, True])
def test_resized_batches_do_not_depend_on_the_cache(videos, clip, exact_seek):
    videos = [Video.of(v.id, v.path, v.label, v.group, exact_seek) for v in videos]
    cached = train(videos, 5, clip=clip, cache=MemoryCache(10**8), threads=0)
    assert_same(cached, train(videos, 5, clip=clip))
    assert_same(evaluate(videos, clip=clip, cache=MemoryCache(10**8))[0], evaluate(videos, clip=clip)[0])


def test_a_jittered_short_side_is_drawn_per_clip_between_its_ends(videos):
    """The ramp to the right is 255 / width per pixel: its slope tells the width, 3/2 of the short side."""
    batches = train(videos, 24, clip=JITTERED)
    ramp = np.concatenate([batch.inputs["rgb"][:, 0, -1, :, 0] for batch in batches]).astype(float)
    slope = (ramp[:, 15] - ramp[:, 4]) / 11
    sides = 255 / slope * 2 / 3
    assert 19 < sides.min() < 21.5 and 26.5 < sides.max() < 29.5
    assert len(np.unique(sides.round())) == 9  # 20 .. 28
    (batch,) = train(videos, 1, start_step=7, clip=JITTERED)
    np.testing.assert_array_equal(batch.inputs["rgb"], batches[7].inputs["rgb"])


def test_evaluation_takes_the_smallest_short_side(videos):
    steady = ClipSpec(frames=2, short_side=20, crop=20)
    assert_same(evaluate(videos, clip=JITTERED)[0], evaluate(videos, clip=steady)[0])


def test_squash_and_letterbox_show_the_whole_frame(videos):
    middle = sampling.uniform_clips(14, 1, 1, 1)[0].tolist()
    squash = ClipSpec(frames=1, resize="squash", size=24, crop=24)
    (batch,) = evaluate(videos[:1], ViewSpec(), clip=squash, batch_size=1)[0]
    np.testing.assert_array_equal(batch.inputs["rgb"][0], read_frames(videos[0].path, middle, (24, 24)))
    letterbox = ClipSpec(frames=1, resize="letterbox", size=42, crop=42, padding=(117,))
    (batch,) = evaluate(videos[:1], ViewSpec(), clip=letterbox, batch_size=1)[0]
    (shown,) = batch.inputs["rgb"]
    np.testing.assert_array_equal(shown[:, 7:35], read_frames(videos[0].path, middle, (28, 42)))
    assert (shown[:, :7] == 117).all() and (shown[:, 35:] == 117).all()


def test_ten_crops_are_cut_from_the_centerd_square(videos):
    views = ViewSpec(clips=2, crops="ten", side=16)
    clip = ClipSpec(frames=4, stride=2, short_side=24, crop=20)
    batches, failed = evaluate(videos[:2], views, clip=clip)
    found = np.concatenate([batch.inputs["rgb"] for batch in batches])
    mirrored = np.concatenate([batch.mirrored for batch in batches])
    assert not failed and found.shape == (40, 4, 16, 16, 3)
    places = [(2, 8), (2, 12), (6, 8), (6, 12), (4, 10)]  # the square is at (2, 8) of 24 x 36
    for number, video in enumerate(videos[:2]):
        clips = sampling.uniform_clips(14 + 3 * number, 4, 2, 2)
        for view, (frames, (top, left), flip) in enumerate(itertools.product(clips, places, (False, True))):
            expected = read_frames(video.path, frames.tolist(), (24, 36))[:, top : top + 16, left : left + 16]
            assert mirrored[20 * number + view] == flip
            np.testing.assert_array_equal(found[20 * number + view], expected)


def test_the_papers_region_is_the_center_square_of_the_resized_frame(videos):
    """Karpathy et al. 2014 crop the center, then resize; short_side and a centerd square of it is the same."""
    clip = ClipSpec(frames=4, stride=2, short_side=20, crop=20)
    (batch,) = train(videos[6:], 1, batch_size=1, clip=clip)
    whole = ClipSpec(frames=4, stride=2, crop=32)
    (same_frames,) = train(videos[6:], 1, batch_size=1, clip=whole)  # its center square: columns 8 .. 39 of 48
    ours, theirs = batch.inputs["rgb"][0].astype(int), resize_frames(same_frames.inputs["rgb"][0], (20, 20)).astype(int)
    assert np.abs(ours - theirs)[:, :, 1:-1].max() <= 2  # the border columns see beyond the region
    assert np.abs(ours - theirs).max() <= 6


@pytest.mark.parametrize(("number", "level"), [(0, logging.WARNING), (1, logging.ERROR)])
def test_caches_warn_in_the_first_worker_only(number, level):
    loggers = [logging.getLogger(name) for name in ("vidjax", "vidjax.data.cache")]
    before = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    try:
        iteration._start_worker(number, 2)
        assert {logging.getLogger(each.__name__).getEffectiveLevel() for each in (memory, disk)} == {level}
    finally:
        for logger, old, propagate, handlers in before:
            logger.setLevel(old)
            logger.propagate, logger.handlers[:] = propagate, handlers


def test_balanced_epochs_show_equally_many_of_each_class():
    labels = (0,) * 20 + (1,) * 3 + (2,) * 4
    orders = [pipeline.balanced_order(labels, seed=5, epoch=epoch) for epoch in range(40)]
    for order in orders:
        counts = np.bincount(np.asarray(labels)[order], minlength=3)
        assert len(order) == len(labels) and counts.max() - counts.min() <= 1
    shown = np.bincount(np.concatenate(orders), minlength=len(labels))
    assert shown.min() > 0 and np.ptp(shown[20:23]) <= len(orders), "videos of a class are shown alike"
    assert (orders[0] != pipeline.balanced_order(labels, seed=6, epoch=0)).any()


def test_balanced_batches_are_functions_of_the_step(videos):
    unequal = [dataclasses.replace(video, label=int(number == 0)) for number, video in enumerate(videos)]
    batches = train(unequal, 6, balanced=True)
    assert_same(batches[4:], train(unequal, 2, balanced=True, start_step=4))
    labels = np.concatenate([batch.label for batch in train(unequal, 3 * len(unequal), balanced=True)])
    assert abs(labels.mean() - 0.5) < 0.05
    assert np.concatenate([batch.label for batch in train(unequal, 3 * len(unequal))]).mean() < 0.4


def test_the_order_of_a_balanced_epoch_is_drawn_once(videos, monkeypatch):
    drawn, order = [], pipeline.balanced_order
    monkeypatch.setattr(
        pipeline, "balanced_order", lambda labels, seed, epoch: drawn.append(epoch) or order(labels, seed, epoch)
    )
    batches = train(videos, 2 * len(videos), balanced=True)
    assert len(drawn) == len(set(drawn)) < sum(len(batch.label) for batch in batches) / 2
