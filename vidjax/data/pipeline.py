"""Batches of clips, by Grain, as functions of (seed, step).

Both pipelines are random access: batch n can be made without batches 0 .. n - 1, so a run resumes from its
step number alone, with any number of threads, worker processes or hosts. Everything drawn at random for
an example is keyed by its global number and drawn *before* the slice by host.

Images leave as they are stored (uint8, as a rule); normalization and augmentation happen on the device.
"""

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from vidjax.data import cropping
from vidjax.data.cache.interface import Cache
from vidjax.data.cache.memory import MemoryCache
from vidjax.data.cache.recent import ComputeOnceCache
from vidjax.data.clips import ClipSpec
from vidjax.data.cropping import Frames
from vidjax.data.inputs import RGB, Input
from vidjax.data.iteration import BatchIterator, BatchWithFailures
from vidjax.data.records import Batch, Video, check_inputs
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, EmptyPartError, OptionError, VideoError

# Videos that are tried in place of one that cannot be read.
_MAX_REPLACEMENTS = 20
_EPOCHS_AT_ONCE = 16  # whose orders are kept: threads that read ahead are in several


def training_batches(
    videos: Sequence[Video],
    clip: ClipSpec,
    *,
    inputs: Sequence[Input] = (RGB,),
    batch_size: int,
    seed: int,
    balanced: bool = False,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    cache: Cache | None = None,
    threads: int = 2,
    workers: int = 0,
) -> BatchIterator:
    """Endless batches of random clips, reshuffled every epoch, never padded, running across epoch ends.

    Args:
      videos: the training part.
      clip: the clip that is cut from each video.
      inputs: of a batch; the crop is drawn for the first that is an image, and the others follow.
      batch_size: over all processes together; each receives batch_size / process_count examples.
      seed: of the order and of every draw.
      balanced: whether every class has the same number of places in an epoch, up to one; a class of few videos shows
        them repeatedly, one of many shows others in the next epoch.
      start_step: number of batches that were already trained on.
      process_index: number of this host.
      process_count: how many hosts share each batch.
      cache: of decoded videos; None decodes at every use. The batches are the same.
      threads: reading threads in each process; 0 reads in the caller's thread.
      workers: worker processes; 0 reads in this process. Each worker holds its own part of the cache's bytes.

    Returns:
      A closeable iterator of `Batch`, rgb uint8 [batch_size / process_count, T, crop, crop, 3]; all of mask is True.
      A video that cannot be decoded is replaced by another one, the same for any number of threads, workers and
      hosts; `failed` of the iterator then has its reason.

    Raises:
      ConfigError: if the sizes do not fit each other, or videos were packed at a smaller one than the clip's. From the
        iterator: a video is smaller than the crop.
      DataError: if there is no video.
      VideoError: from the iterator, if neither a video nor any of its replacements can be decoded.
    """
    _check(videos, inputs, batch_size, process_index, process_count, threads, workers)
    cropping.check_position(inputs, clip)
    cropping.check_stored_sizes(videos, inputs, clip, training=True)
    orders = ComputeOnceCache(_EPOCHS_AT_ONCE) if balanced else None
    make = _TrainingExample(tuple(videos), tuple(inputs), clip, seed, _worker_share(cache, workers), orders)
    positions = grain.MapDataset.range(start_step * batch_size + process_index, sys.maxsize, process_count)
    dataset = positions.map(make)
    return _iterate(dataset, batch_size // process_count, videos, threads, workers)


def evaluation_batches(
    videos: Sequence[Video],
    clip: ClipSpec,
    views: ViewSpec,
    *,
    inputs: Sequence[Input] = (RGB,),
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    cache: Cache | None = None,
    threads: int = 2,
    workers: int = 0,
) -> BatchIterator:
    """All views of all videos once, in order: example i is view i % V of video i // V, with V views per video.

    Padded with mask False, so that every process yields the same number of equal batches. A video that
    cannot be decoded gives examples with mask False; `failed` of the iterator then has its reason. The
    index of padding is at or beyond len(videos) * V, and its label 0.

    Args:
      videos: the part to evaluate.
      clip: what is cut from each video; a jittered short side is at its smallest here.
      views: which views are taken of each video; which of them are to be mirrored, `Batch.mirrored` says.
      inputs: as in `training_batches`.
      batch_size: over all processes together; each receives batch_size / process_count examples.
      process_index: number of this host.
      process_count: how many hosts share each batch.
      cache: as in `training_batches`.
      threads: as in `training_batches`.
      workers: as in `training_batches`.

    Returns:
      A closeable iterator of `Batch`, rgb uint8 [batch_size / process_count, T, S, S, 3], S = views.side_of(clip).

    Raises:
      ConfigError: if the sizes do not fit each other, videos were packed at a smaller one than the clip's, or several
        clips are asked for at a fixed position. From the iterator: a video is smaller than the crop.
      DataError: if there is no video.
    """
    _check(videos, inputs, batch_size, process_index, process_count, threads, workers)
    cropping.check_position(inputs, clip)
    cropping.check_stored_sizes(videos, inputs, clip, training=False)
    if clip.is_fixed and views.clips != 1:
        raise ConfigError(f"a clip at a fixed position is one clip per video, not {views.clips}")
    make = _EvaluationExample(
        tuple(videos), tuple(inputs), clip, views, _worker_share(cache, workers), ComputeOnceCache(2 * threads + 2)
    )
    batches = -(-len(videos) * views.count // batch_size)
    dataset = grain.MapDataset.range(batches * batch_size).map(make)[process_index::process_count]
    return _iterate(dataset, batch_size // process_count, videos, threads, workers)


@dataclasses.dataclass(frozen=True)
class _Example:
    inputs: dict[str, np.ndarray]
    label: int
    index: int
    mask: bool
    mirrored: bool | None = None
    failure: tuple[int, str] | None = None  # (video number, reason)


@dataclasses.dataclass(frozen=True)
class _TrainingExample:
    """Makes the example at a position of the endless shuffled stream.

    A video that cannot be read is replaced by another one, drawn for that position only.
    """

    videos: tuple[Video, ...]
    inputs: tuple[Input, ...]
    clip: ClipSpec
    seed: int
    cache: Cache | None
    balanced_orders: ComputeOnceCache | None = None  # by epoch; None: every video once

    def __call__(self, index: int) -> _Example:
        failure: tuple[int, str] | None = None
        epoch, place = divmod(index, len(self.videos))
        number = int(self._order(epoch)[place])
        for attempt in range(_MAX_REPLACEMENTS + 1):
            # A generator per example, keyed by its global number: no draw depends on who makes the example.
            rng = np.random.default_rng((self.seed % 2**32, index, *([attempt] if attempt else [])))
            chosen = int(rng.integers(len(self.videos))) if attempt else number
            try:
                return self._example(index, chosen, rng, failure)
            except VideoError as error:
                failure = failure or (chosen, self.videos[chosen].reason(error))
                last = error
        raise last

    def _order(self, epoch: int) -> np.ndarray:
        if self.balanced_orders is None:
            return epoch_order(len(self.videos), self.seed, epoch)

        def compute() -> np.ndarray:
            return balanced_order(tuple(video.label for video in self.videos), self.seed, epoch)

        order: np.ndarray = self.balanced_orders.get(epoch, compute)
        return order

    def _example(self, index: int, number: int, rng: np.random.Generator, failure: tuple[int, str] | None) -> _Example:
        video, clip = self.videos[number], self.clip
        frames = cropping.read(
            video,
            self.inputs,
            clip,
            clip.resizing(training=True),
            self.cache,
            lambda count, stride: clip.training_indices(count, stride, rng),
        )
        if clip.short_side is not None and clip.short_side_max is not None:
            frames = frames.with_short_side(int(rng.integers(clip.short_side, clip.short_side_max + 1)))
        if clip.crop_position == "motion":
            corners = frames.motion_corners(clip.crop)
        else:
            corners = frames.random_corners(clip.crop, rng if clip.crop_position == "random" else None)
        return _Example(frames.cut(corners, clip.crop), video.label, index, True, failure=failure)


@functools.lru_cache(maxsize=_EPOCHS_AT_ONCE)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers of the videos in the order of an epoch, int64 [count]."""
    # Grain's own shuffle takes 1 ms for an index where there are few videos.
    order = np.random.default_rng(np.random.SeedSequence(seed % 2**32, spawn_key=(epoch,))).permutation(count)
    order.setflags(write=False)
    return order


def balanced_order(labels: tuple[int, ...], seed: int, epoch: int) -> np.ndarray:
    """The numbers of the videos in the order of an epoch with equally many of each class, up to one: int64 [count].

    The videos of a class follow one another in an order that is drawn anew whenever all of them were shown.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed % 2**32, spawn_key=(epoch, 1)))
    count, members = len(labels), [np.flatnonzero(np.asarray(labels) == label) for label in sorted(set(labels))]
    shares = np.full(len(members), count // len(members))
    shares[rng.permutation(len(members))[: count % len(members)]] += 1
    # An epoch of few videos may be smaller than a class: then which of them are shown is drawn, too.
    chosen = [
        np.concatenate([rng.permutation(videos) for _ in range(-(-int(share) // len(videos)))])[:share]
        for videos, share in zip(members, shares, strict=True)
        if share
    ]
    order: np.ndarray = rng.permutation(np.concatenate(chosen))
    order.setflags(write=False)
    return order


@dataclasses.dataclass(frozen=True)
class _EvaluationExample:
    """Makes example i: view i % V of video i // V; beyond the last video, padding."""

    videos: tuple[Video, ...]
    inputs: tuple[Input, ...]
    clip: ClipSpec
    views: ViewSpec
    cache: Cache | None
    recent: ComputeOnceCache

    def __call__(self, index: int) -> _Example:
        index = int(index)
        number, view = divmod(index, self.views.count)
        mirrored = self.views.is_flipped(view) if self.views.mirrored else None
        if number >= len(self.videos):
            return _Example(self._blank(), 0, index, False, mirrored)
        video, clip, side = self.videos[number], self.clip, self.views.side_of(self.clip)
        try:
            frames = self.recent.get(number, lambda: self._frames(video))
        except VideoError as error:
            return _Example(self._blank(), video.label, index, False, mirrored, (number, video.reason(error)))
        clip_number, place = self.views.clip_and_crop(view)
        frames = frames.clip(clip_number, self.views.clips)
        if clip.crop_position == "motion" and self.views.crops == "center":
            corners = frames.motion_corners(side)
        else:
            corners = frames.corners(side, lambda height, width: self.views.corner(place, height, width, clip))
        return _Example(frames.cut(corners, side), video.label, index, True, mirrored)

    def _frames(self, video: Video) -> Frames:
        """Those of all clips of the video, read in one pass."""
        clip, views = self.clip, self.views
        return cropping.read(
            video,
            self.inputs,
            clip,
            clip.resizing(training=False),
            self.cache,
            lambda count, stride: views.frame_indices(clip, count, stride).reshape(-1),
        )

    def _blank(self) -> dict[str, np.ndarray]:
        return cropping.zero_example(self.inputs, self.clip.frames, self.views.side_of(self.clip))


def _check(
    videos: Sequence[Video],
    inputs: Sequence[Input],
    batch_size: int,
    process_index: int,
    process_count: int,
    threads: int,
    workers: int,
) -> None:
    if not videos:
        raise EmptyPartError("there is no video to read: this part of the data is empty")
    check_inputs(inputs, videos)
    if batch_size < 1 or batch_size % process_count:
        raise ConfigError(f"batch_size {batch_size} must be a positive multiple of the {process_count} process(es)")
    if not 0 <= process_index < process_count:
        raise ConfigError(f"process_index {process_index} is outside 0..{process_count - 1}")
    if threads < 0 or workers < 0:
        text = f"{{threads}}={threads}, {{workers}}={workers}: neither may be negative"
        raise OptionError(text, ["threads", "workers"])


def _worker_share(cache: Cache | None, workers: int) -> Cache | None:
    """Each worker process fills its own memory cache, all together within the bound; a disk cache is shared."""
    return MemoryCache(cache.max_bytes // workers) if isinstance(cache, MemoryCache) and workers else cache


def _iterate(dataset: Any, batch_size: int, videos: Sequence[Video], threads: int, workers: int) -> BatchIterator:
    batched = dataset.batch(batch_size, drop_remainder=True, batch_fn=_stack)
    return BatchIterator(batched, tuple(video.id for video in videos), threads=threads, workers=workers)


def _stack(examples: Sequence[_Example]) -> BatchWithFailures:
    flags = [example.mirrored for example in examples]
    batch = Batch(
        inputs={name: np.stack([example.inputs[name] for example in examples]) for name in examples[0].inputs},
        label=np.array([example.label for example in examples], np.int32),
        index=np.array([example.index for example in examples], np.int32),
        mask=np.array([example.mask for example in examples], bool),
        mirrored=None if None in flags else np.array(flags, bool),
    )
    return BatchWithFailures(batch, tuple(e.failure for e in examples if e.failure is not None))
