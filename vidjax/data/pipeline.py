"""Batches of clips, by Grain, as functions of (seed, step).

Both pipelines are random access: batch n can be made without batches 0 .. n - 1, so a run resumes from its
step number alone, with any number of threads, worker processes or hosts. Everything drawn at random for
an example is keyed by its global number and drawn *before* the slice by host.

Clips leave as uint8; normalisation and augmentation happen on the device.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np

from vidjax.data import reading, sampling
from vidjax.data.cache import Cache, MemoryCache, RecentResults
from vidjax.data.clips import Clip, Views
from vidjax.data.decoding import resize_frames, short_side_size
from vidjax.data.inputs import RGB
from vidjax.data.iteration import BatchIterator, BatchWithFailures
from vidjax.data.records import Batch, Video
from vidjax.data.resizing import Resize, letterboxed
from vidjax.errors import ConfigError, DataError, VideoError

# Videos that are tried in the place of one that cannot be read.
_SUBSTITUTES = 20


def training_batches(
    videos: Sequence[Video],
    clip: Clip,
    *,
    batch_size: int,
    seed: int,
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
      clip: what is cut from each video.
      batch_size: over all processes together; each receives batch_size / process_count examples.
      seed: of the order and of every draw.
      start_step: number of batches that were already trained on.
      process_index: number of this host.
      process_count: how many hosts share each batch.
      cache: keeps decoded videos; None decodes what is needed at every use. The batches are the same.
      threads: reading threads in each process; 0 reads in the caller's thread.
      workers: worker processes; 0 reads in this process. Each worker holds its own part of the cache's bytes.

    Returns:
      A closeable iterator of `Batch`, rgb uint8 [batch_size / process_count, T, crop, crop, 3]; all of mask is True.
      In the place of a video that cannot be decoded stands another one, the same for any number of threads, workers
      and hosts; `failed` of the iterator then has its reason.

    Raises:
      ConfigError: if the sizes do not fit each other. From the iterator: a video is smaller than the crop.
      DataError: if there is no video.
      VideoError: from the iterator, where neither a video nor any of those drawn in its place can be decoded.
    """
    _check(videos, batch_size, process_index, process_count, threads, workers)
    make = _TrainingExample(tuple(videos), clip, seed, _worker_share(cache, workers))
    positions = grain.MapDataset.range(start_step * batch_size + process_index, sys.maxsize, process_count)
    dataset = positions.map(make)
    return _iterate(dataset, batch_size // process_count, videos, threads, workers)


def evaluation_batches(
    videos: Sequence[Video],
    clip: Clip,
    views: Views,
    *,
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
      views: which views are taken of each video.
      batch_size: over all processes together; each receives batch_size / process_count examples.
      process_index: number of this host.
      process_count: how many hosts share each batch.
      cache: as in `training_batches`.
      threads: as in `training_batches`.
      workers: as in `training_batches`.

    Returns:
      A closeable iterator of `Batch`, rgb uint8 [batch_size / process_count, T, S, S, 3], S = views.side_of(clip).

    Raises:
      ConfigError: if the sizes do not fit each other, or several clips are asked for at a fixed position.
        From the iterator: a video is smaller than the crop.
      DataError: if there is no video.
    """
    _check(videos, batch_size, process_index, process_count, threads, workers)
    if clip.is_fixed and views.clips != 1:
        raise ConfigError(f"a clip at a fixed place is one clip per video, not {views.clips}")
    make = _EvaluationExample(tuple(videos), clip, views, _worker_share(cache, workers), RecentResults(2 * threads + 2))
    batches = -(-len(videos) * views.count // batch_size)
    dataset = grain.MapDataset.range(batches * batch_size).map(make)[process_index::process_count]
    return _iterate(dataset, batch_size // process_count, videos, threads, workers)


@dataclasses.dataclass(frozen=True)
class _Example:
    rgb: np.ndarray
    label: int
    index: int
    mask: bool
    failure: tuple[int, str] | None = None  # (video number, reason)


@dataclasses.dataclass(frozen=True)
class _TrainingExample:
    """Makes the example at a position of the endless shuffled stream.

    In the place of a video that cannot be read stands another one, drawn for that position alone.
    """

    videos: tuple[Video, ...]
    clip: Clip
    seed: int
    cache: Cache | None

    def __call__(self, index: int) -> _Example:
        failure: tuple[int, str] | None = None
        epoch, place = divmod(index, len(self.videos))
        number = int(epoch_order(len(self.videos), self.seed, epoch)[place])
        for attempt in range(_SUBSTITUTES + 1):
            # A generator per example, keyed by its global number: no draw depends on who makes the example.
            rng = np.random.default_rng((self.seed % 2**32, index, *([attempt] if attempt else [])))
            chosen = int(rng.integers(len(self.videos))) if attempt else number
            try:
                return self._example(index, chosen, rng, failure)
            except VideoError as error:
                failure = failure or (chosen, error.reason)
                last = error
        raise last

    def _example(self, index: int, number: int, rng: np.random.Generator, failure: tuple[int, str] | None) -> _Example:
        video, clip = self.videos[number], self.clip
        frames = _read(
            video,
            clip,
            clip.resizing(training=True),
            self.cache,
            lambda count, stride: clip.training_indices(count, stride, rng),
        )
        frames = _jittered(frames, clip, rng)
        _, height, width, _ = frames.shape
        space = _crop_space(video, height, width, clip.crop)
        top, left = rng.integers(np.add(space, 1)) if clip.crop_position == "random" else np.floor_divide(space, 2)
        return _Example(_crop(frames, top, left, clip.crop), video.label, index, True, failure)


@functools.lru_cache(maxsize=16)  # threads that read ahead are in several epochs at once
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers of the videos in the order of an epoch, int64 [count]."""
    # Grain's own shuffle takes 1 ms for an index where there are few videos.
    order = np.random.default_rng(np.random.SeedSequence(seed % 2**32, spawn_key=(epoch,))).permutation(count)
    order.setflags(write=False)
    return order


@dataclasses.dataclass(frozen=True)
class _EvaluationExample:
    """Makes example i: view i % V of video i // V; beyond the last video, padding."""

    videos: tuple[Video, ...]
    clip: Clip
    views: Views
    cache: Cache | None
    recent: RecentResults

    def __call__(self, index: int) -> _Example:
        index = int(index)
        number, view = divmod(index, self.views.count)
        if number >= len(self.videos):
            return _Example(self._blank(), 0, index, False)
        video = self.videos[number]
        try:
            clips = self.recent.get(number, lambda: self._clips(video))
        except VideoError as error:
            return _Example(self._blank(), video.label, index, False, (number, error.reason))
        clip_number, place = self.views.clip_and_place(view)
        frames, side = clips[clip_number], self.views.side_of(self.clip)
        _, height, width, _ = frames.shape
        _crop_space(video, height, width, side)
        top, left = self.views.corner(place, height, width, self.clip)
        square = _crop(frames, top, left, side)
        return _Example(square[:, :, ::-1] if self.views.is_flipped(view) else square, video.label, index, True)

    def _clips(self, video: Video) -> np.ndarray:
        """All clips of the video, uint8 [clips, T, H, W, 3], read in one pass."""
        clip, clips = self.clip, self.views.clips
        frames = _read(
            video,
            clip,
            clip.resizing(training=False),
            self.cache,
            lambda count, stride: clip.evaluation_indices(count, stride, clips).reshape(-1),
        )
        _, height, width, _ = frames.shape
        return frames.reshape(clips, clip.frames, height, width, 3)

    def _blank(self) -> np.ndarray:
        side = self.views.side_of(self.clip)
        return np.zeros((self.clip.frames, side, side, 3), np.uint8)


def _read(
    video: Video, clip: Clip, resize: Resize, cache: Cache | None, choose: Callable[[int, float], np.ndarray]
) -> np.ndarray:
    """Frames `choose(frame count, stride)` of a video, from memory, the cache or the file: uint8 [T, H, W, 3]."""
    stream = video.streams[RGB.stream_name]
    held = reading.from_cache(stream, RGB, resize, cache)
    if held is not None:
        frames = held.take(choose(len(held), _stride(video, clip, held.fps)).tolist())
    else:
        info = reading.probe(stream, RGB)
        indices = choose(info.frames, _stride(video, clip, info.fps)).tolist()
        frames = reading.read_frames(stream, RGB, indices, resize(info.height, info.width))
    return letterboxed(frames, clip.size, clip.padding) if clip.resize == "letterbox" and clip.size else frames


def _jittered(frames: np.ndarray, clip: Clip, rng: np.random.Generator) -> np.ndarray:
    """Resizes the frames of a training clip, read at the largest short side, to the one that is drawn for it."""
    if clip.short_side is None or clip.short_side_max is None:
        return frames
    _, height, width, _ = frames.shape
    side = int(rng.integers(clip.short_side, clip.short_side_max + 1))
    return resize_frames(frames, short_side_size(height, width, side))


def _stride(video: Video, clip: Clip, native_fps: float | None) -> float:
    if clip.fps is None:
        return clip.stride
    if not native_fps:
        raise VideoError(video.path, "states no frame rate, so it cannot be resampled: use stride instead of fps")
    return sampling.stride_for_fps(native_fps, clip.fps)


def _crop_space(video: Video, height: int, width: int, crop: int) -> tuple[int, int]:
    """How far the corner of the square may move, down and across."""
    if min(height, width) < crop:
        raise ConfigError(
            f"{video.path}: its frames are {height}x{width} pixels, smaller than the crop {crop}: "
            f"set data.short_side to {crop} or more"
        )
    return height - crop, width - crop


def _crop(frames: np.ndarray, top: int, left: int, crop: int) -> np.ndarray:
    return frames[:, top : top + crop, left : left + crop]


def _check(
    videos: Sequence[Video], batch_size: int, process_index: int, process_count: int, threads: int, workers: int
) -> None:
    if not videos:
        raise DataError("there is no video to read: this part of the data is empty")
    if batch_size < 1 or batch_size % process_count:
        raise ConfigError(f"batch_size {batch_size} must be a positive multiple of the {process_count} process(es)")
    if not 0 <= process_index < process_count:
        raise ConfigError(f"process_index {process_index} is outside 0..{process_count - 1}")
    if threads < 0 or workers < 0:
        raise ConfigError(f"data.threads={threads}, data.workers={workers}: neither may be negative")


def _worker_share(cache: Cache | None, workers: int) -> Cache | None:
    """Each worker process fills a memory of its own, so that all together keep within the bound; a disk is shared."""
    return MemoryCache(cache.max_bytes // workers) if isinstance(cache, MemoryCache) and workers else cache


def _iterate(dataset: Any, batch_size: int, videos: Sequence[Video], threads: int, workers: int) -> BatchIterator:
    batched = dataset.batch(batch_size, drop_remainder=True, batch_fn=_stack)
    return BatchIterator(batched, tuple(video.id for video in videos), threads=threads, workers=workers)


def _stack(examples: Sequence[_Example]) -> BatchWithFailures:
    batch = Batch(
        inputs={"rgb": np.stack([example.rgb for example in examples])},
        label=np.array([example.label for example in examples], np.int32),
        index=np.array([example.index for example in examples], np.int32),
        mask=np.array([example.mask for example in examples], bool),
    )
    return BatchWithFailures(batch, tuple(e.failure for e in examples if e.failure is not None))
