"""Reads aligned frames of several inputs, and crops the same square from all of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vidjax.data import sampling
from vidjax.data.cache.interface import Cache
from vidjax.data.clips import ClipSpec
from vidjax.data.inputs import Input
from vidjax.data.records import Video
from vidjax.data.resizing import Resize, letterboxed, resized
from vidjax.data.streams import from_cache, probe, read_frames
from vidjax.data.video.conversion import short_side_size
from vidjax.errors import OptionError, VideoError

Corner = tuple[int, int]  # down, across


@dataclasses.dataclass(frozen=True)
class Frames:
    """The frames of one or more clips of a video, before the square is cut.

    Attributes:
      video: which.
      inputs: what is read of it.
      arrays: name of the input -> [T, H, W, C] of images, else [T, ...].
      whole: top, left, height and width of the video's frame within the arrays of the first image input, which are
        larger if letterbox has padded them; None if no input is an image.
    """

    video: Video
    inputs: tuple[Input, ...]
    arrays: Mapping[str, np.ndarray]
    whole: tuple[int, int, int, int] | None

    def clip(self, number: int, clips: int) -> "Frames":
        """Those of one of `clips` clips, which follow each other in the arrays."""
        arrays = {name: array.reshape(clips, -1, *array.shape[1:])[number] for name, array in self.arrays.items()}
        return dataclasses.replace(self, arrays=arrays)

    def with_short_side(self, side: int) -> "Frames":
        """Images resized to another short side."""
        arrays = dict(self.arrays)
        for spec in _images(self.inputs):
            _, height, width, _ = arrays[spec.name].shape
            arrays[spec.name] = resized(arrays[spec.name], short_side_size(height, width, side), spec)
        return dataclasses.replace(self, arrays=arrays, whole=_whole(self.inputs, arrays))

    def random_corners(self, side: int, rng: np.random.Generator | None) -> dict[str, Corner]:
        """Where the square of a training clip is cut: name of the input -> top and left.

        It is drawn for the first image input; in others it is at the same fraction of its range.

        Args:
          side: of the square, in pixels.
          rng: draws the position; None: the center.
        """
        spaces = {spec.name: self._free_space(spec, side) for spec in _images(self.inputs)}
        if rng is None or not spaces:
            return {name: (down // 2, across // 2) for name, (down, across) in spaces.items()}
        first = next(iter(spaces.values()))
        drawn = rng.integers(np.add(first, 1)).tolist()
        return {
            name: (_at_share(drawn[0], first[0], down), _at_share(drawn[1], first[1], across))
            for name, (down, across) in spaces.items()
        }

    def corners(self, side: int, choose: Callable[[int, int], Corner]) -> dict[str, Corner]:
        """Where the square is cut, by `choose(height, width)` of each image input: its name -> top and left."""
        found = {}
        for spec in _images(self.inputs):
            self._free_space(spec, side)
            _, height, width, _ = self.arrays[spec.name].shape
            found[spec.name] = choose(height, width)
        return found

    def motion_corners(self, side: int) -> dict[str, Corner]:
        """Where the square is cut around what moves: the same place of the frame in each image input.

        Its center is, as a mean over the frames, halfway between the largest displacement and the centroid of all, as
        in one of the projects that vidjax came from (on flow without the camera's motion); the frame's center where
        nothing moves.

        Args:
          side: of the square, in pixels.
        """
        spec = next(each for each in self.inputs if each.vectors)
        center = _moving_place(self.arrays[spec.name], spec)
        found = {}
        for each in _images(self.inputs):
            space, (_, height, width, _) = self._free_space(each, side), self.arrays[each.name].shape
            places = center * (height, width) - side / 2
            found[each.name] = _corner_within(places, space)
        return found

    def cut(self, corners: Mapping[str, Corner], side: int) -> dict[str, np.ndarray]:
        """What the batch holds: squares, points within them, and masks of what may have gaps.

        Args:
          corners: of the square in each image input.
          side: of the square, in pixels.

        Returns:
          Name -> [T, side, side, C] of images, else [T, ...]; "NAME_mask" -> bool [T, ...] without the channels.
        """
        result: dict[str, np.ndarray] = {}
        first = next(iter(corners.values()), None)
        for spec in self.inputs:
            values = self.arrays[spec.name]
            if spec.space == "image":
                top, left = corners[spec.name]
                values = values[:, top : top + side, left : left + side]
            elif spec.space == "points" and self.whole is not None and first is not None:
                values = _within_square(values, self.whole, first, side)
            result |= _masked(spec, values) if spec.is_masked else {spec.name: values}
        return result

    def _free_space(self, spec: Input, side: int) -> Corner:
        """The range of the square's corner, down and across."""
        _, height, width, _ = self.arrays[spec.name].shape
        if min(height, width) < side:
            raise OptionError(
                f"{self.video.streams[spec.stream_name].path}: its frames are {height}x{width} pixels, smaller than"
                f" the crop {side}: set {{short_side}} to {side} or more",
                ["short_side"],
            )
        return height - side, width - side


def read(
    video: Video,
    inputs: tuple[Input, ...],
    clip: ClipSpec,
    resize: Resize,
    cache: Cache | None,
    choose: Callable[[int, float], np.ndarray],
) -> Frames:
    """Reads the frames `choose(frame count, stride)` of all inputs, from memory, the cache or files.

    Frame i of each stream belongs to frame i of the others; the video is as long as the shortest of them.

    Raises:
      VideoError: if a stream cannot be read, or none states the frame rate that the clip needs.
    """
    streams = {spec.name: video.streams[spec.stream_name] for spec in inputs}
    held = {spec.name: from_cache(streams[spec.name], spec, resize, cache) for spec in inputs}
    counts, rates, sizes = [], [], {}
    for spec in inputs:
        kept = held[spec.name]
        if kept is not None:
            counts.append(len(kept))
            rates.append(kept.fps)
        else:
            info = probe(streams[spec.name], spec)
            counts.append(info.frames)
            rates.append(info.fps)
            sizes[spec.name] = resize(info.height, info.width) if spec.space == "image" else None
    count = min(counts)
    chosen = choose(count, _stride(video, clip, next((rate for rate in rates if rate), None)))
    arrays = {}
    for spec in inputs:
        kept, indices = held[spec.name], sampling.frame_windows(chosen, count, spec.per_frame).tolist()
        if kept is not None:
            arrays[spec.name] = kept.take(indices)
        else:
            arrays[spec.name] = read_frames(streams[spec.name], spec, indices, sizes[spec.name])
    whole = _whole(inputs, arrays)
    if clip.resize == "letterbox" and clip.size:
        for spec in _images(inputs):
            arrays[spec.name] = letterboxed(arrays[spec.name], clip.size, padding(spec, clip))
        if whole is not None:
            _, _, height, width = whole
            whole = (clip.size - height) // 2, (clip.size - width) // 2, height, width
    return Frames(video, inputs, arrays, whole)


def check_position(inputs: Sequence[Input], clip: ClipSpec) -> None:
    """Refuses a crop around what moves where no input says what moves.

    Raises:
      OptionError: naming the option.
    """
    if clip.crop_position == "motion" and not any(each.vectors for each in inputs):
        names = ", ".join(each.name for each in inputs)
        text = (
            f"{{crop_position}}=motion needs optical flow among the inputs of the network ({names}): give another one"
        )
        raise OptionError(text, ["crop_position"])


def check_stored_sizes(videos: Sequence[Video], inputs: Sequence[Input], clip: ClipSpec, *, training: bool) -> None:
    """Refuses clips that are larger than what was packed: they would be enlarged, and show less than the files do.

    Raises:
      OptionError: naming the option.
    """
    side = clip.resizing(training=training).side
    name = "short_side" if clip.resize == "short_side" else "size"
    if training and clip.short_side_max is not None:
        name = "short_side_max"
    images = [spec.stream_name for spec in inputs if spec.space == "image"]
    for video in videos:
        for stream in images:
            packed = video.streams[stream].packed
            stored = packed.short_side if packed is not None else None
            if stored is not None and (side is None or side > stored):
                raise OptionError(
                    f"{{{name}}}={side}: {video.streams[stream].path} was packed at a shorter side of {stored} pixels:"
                    f" give {stored} or less, or pack the videos anew",
                    [name],
                )


def zero_example(inputs: Sequence[Input], frames: int, side: int) -> dict[str, np.ndarray]:
    """What `Frames.cut` returns for padding, and for a video that cannot be read: zeros, all masked out."""
    result = {}
    for spec in inputs:
        shape = spec.example_shape(frames, side)
        result[spec.name] = np.zeros(shape, spec.dtype)
        if spec.is_masked:
            result[f"{spec.name}_mask"] = np.zeros(shape[:-1], bool)
    return result


def _images(inputs: Sequence[Input]) -> list[Input]:
    return [spec for spec in inputs if spec.space == "image"]


def _whole(inputs: Sequence[Input], arrays: Mapping[str, np.ndarray]) -> tuple[int, int, int, int] | None:
    images = _images(inputs)
    if not images:
        return None
    _, height, width, _ = arrays[images[0].name].shape
    return 0, 0, height, width


def padding(spec: Input, clip: ClipSpec) -> np.ndarray:
    """The value that letterbox pads with: the input's mean, which normalization maps to 0, if it has one."""
    if spec.mean is None:
        return np.asarray(clip.padding, spec.dtype)
    mean = np.asarray(spec.mean, np.float32)
    return np.clip(np.rint(mean), 0, 255).astype(np.uint8) if spec.dtype == "uint8" else mean


def _stride(video: Video, clip: ClipSpec, native_fps: float | None) -> float:
    if clip.fps is None:
        return clip.stride
    if not native_fps:
        raise VideoError(video.path, "states no frame rate, so it cannot be resampled: use stride instead of fps")
    return sampling.stride_for_fps(native_fps, clip.fps)


def _moving_place(values: np.ndarray, spec: Input) -> np.ndarray:
    """Where vectors [T, H, W, C] are large, as a fraction of height and width, float64 [2]."""
    offsets = values[..., :2].astype(np.float32) - np.asarray(spec.mean, np.float32)[:2]
    _, height, width, _ = values.shape
    places, centers = [], np.indices((height, width)).reshape(2, -1).T + 0.5
    for size in np.linalg.norm(offsets, axis=-1).reshape(len(values), -1).astype(np.float64):
        if size.any():
            places.append((centers[size.argmax()] + size @ centers / size.sum()) / 2)
    return np.mean(places, axis=0) / (height, width) if places else np.full(2, 0.5)


def _corner_within(place: np.ndarray, space: Corner) -> Corner:
    down, across = np.clip(np.rint(place), 0, space).astype(int).tolist()
    return down, across


def _at_share(place: int, space: int, other: int) -> int:
    """The position in a range of `other` pixels that corresponds to `place` in a range of `space`."""
    return (2 * place * other + space) // (2 * space) if space else other // 2


def _within_square(points: np.ndarray, whole: tuple[int, int, int, int], corner: Corner, side: int) -> np.ndarray:
    """Points [T, K, C] as fractions of the square, given fractions of the frame."""
    top, left, height, width = whole
    moved = points.copy()
    moved[..., 0] = (points[..., 0].astype(np.float64) * width + left - corner[1]) / side
    moved[..., 1] = (points[..., 1].astype(np.float64) * height + top - corner[0]) / side
    return moved


def _masked(spec: Input, values: np.ndarray) -> dict[str, np.ndarray]:
    """The values, 0 where a channel is missing, and a mask of where none is."""
    present = np.isfinite(values)
    if spec.shape:
        present = present.all(axis=-1)
    known = present[..., np.newaxis] if spec.shape else present
    return {spec.name: np.where(known, values, values.dtype.type(0)), f"{spec.name}_mask": present}
