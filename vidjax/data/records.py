"""What passes between data sources, the pipeline and the training step."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vidjax.data.flip_rule import FlipRule
from vidjax.data.inputs import RGB, Input
from vidjax.data.video.file import DiskFile, VideoFile
from vidjax.data.video.info import VideoInfo
from vidjax.errors import ConfigError, DataError, VideoError, printable

if TYPE_CHECKING:
    from vidjax.data.packed.shards import ShardFile

# A NumPy array on the host, a JAX array on the device; this module imports neither.
Array = Any


@dataclasses.dataclass(frozen=True)
class Stream:
    """One recording of a video, such as its pictures or its poses: a file, or frames in memory.

    Attributes:
      path: the file; of frames in memory, their origin, for messages.
      exact_seek: random access by decord is known to return the right frames.
      info: length, rate and size of the file; None if it has not been inspected.
      refused: why the file cannot be read, if that is known; None otherwise.
      packed: the place in a shard where the file is stored; None for a file on a disk.
      frames: [N, ...] as its `Input` says, of what is held in memory, e.g. uint8 [N, H, W, 3], or [N, H, W, 1] for
        gray; None for a file.
    """

    path: str
    exact_seek: bool = False
    info: VideoInfo | None = None
    refused: str | None = None
    packed: "ShardFile | None" = None
    # Left out of comparison: arrays neither compare nor hash.
    frames: Array = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def file(self) -> VideoFile:
        """What reading opens; meaningless for frames in memory."""
        if self.packed is not None:
            return self.packed
        return DiskFile(self.path, self.exact_seek, self.info.table if self.info is not None else None)

    @property
    def is_on_disk(self) -> bool:
        """Whether it is a file that can be inspected in place: not packed, nor in memory."""
        return self.frames is None and self.file.is_on_disk


@dataclasses.dataclass(frozen=True)
class Video:
    """One labeled video.

    Attributes:
      id: unique within its source and the same on every machine, e.g. "Lunges/v_Lunges_g08_c01".
      label: index into `Source.classes`.
      group: videos of one group are near-duplicates and never straddle two parts; the id where unknown.
      streams: name -> stream; frame i of each belongs to frame i of the others.
    """

    id: str
    label: int
    group: str
    streams: Mapping[str, Stream] = dataclasses.field(hash=False)

    @classmethod
    def of(
        cls,
        id: str,
        path: str,
        label: int,
        group: str,
        exact_seek: bool = False,
        *,
        stream: str = "rgb",
        info: VideoInfo | None = None,
        refused: str | None = None,
        packed: "ShardFile | None" = None,
        frames: Array = None,
    ) -> "Video":
        """A video of one stream, of that name; everything else as in `Video` and `Stream`."""
        return cls(id, label, group, {stream: Stream(path, exact_seek, info, refused, packed, frames)})

    @property
    def path(self) -> str:
        """That of its first stream, for messages."""
        return next(iter(self.streams.values())).path

    @property
    def refused(self) -> str | None:
        """Why the first stream that is known to be unreadable cannot be read; None if there is none."""
        return self.refusal(self.streams)

    def refusal(self, names: Iterable[str]) -> str | None:
        """The same, of the streams of these names only."""
        for name in names:
            reason = self.streams[name].refused
            if reason is not None:
                return self._named(name, reason)
        return None

    def reason(self, error: VideoError) -> str:
        """Why it cannot be read, with the name of the stream at fault if there are several."""
        at_fault = (name for name, stream in self.streams.items() if stream.path == error.path)
        return self._named(next(at_fault, ""), error.reason)

    def _named(self, stream: str, reason: str) -> str:
        if not stream or len(self.streams) == 1:
            return reason
        return f"{stream} {printable(self.streams[stream].path)}: {reason}"


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set, split into parts.

    Attributes:
      name: e.g. "ucf101".
      split: as the result row shows it, e.g. "2".
      classes: class names, in label order.
      train, validation, test: the videos of each part, in a fixed order.
      mirror: the rule for horizontal flips.
      num_missing_clips: listed clips that are not on this disk (`allow_missing`).
      notes: what the user should know about these data, one line each.
      inputs: which streams its videos have, and what is in them.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    train: tuple[Video, ...]
    validation: tuple[Video, ...]
    test: tuple[Video, ...]
    mirror: FlipRule = None
    num_missing_clips: int = 0
    notes: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = (RGB,)

    @property
    def image(self) -> Input | None:
        """The first of the inputs that is an image; None if there is none."""
        return next((spec for spec in self.inputs if spec.space == "image"), None)

    @property
    def refused(self) -> dict[str, str]:
        """Id -> reason of the training videos of which an input is known to be unreadable."""
        names = [spec.stream_name for spec in self.inputs]
        reasons = {video.id: video.refusal(names) for video in self.train}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def fingerprint(self) -> str:
        """A short hash of the classes, of which videos with which labels are in which part, and of their streams."""
        digest = hashlib.sha256(repr(self.classes).encode())
        if self.inputs != (RGB,):
            digest.update(repr([spec.stream_name for spec in self.inputs]).encode())
        for part in (self.train, self.validation, self.test):
            digest.update(b"part")
            for video in part:
                digest.update(f"{video.id}\0{video.label}\0".encode())
        return digest.hexdigest()[:12]


class Batch(NamedTuple):
    """What a step receives. On the host NumPy, on the device JAX arrays; clips stay uint8 until there.

    Attributes:
      inputs: name -> array, [B, *Input.example_shape]; "rgb" is uint8 [B, T, H, W, 3]. Of an input that may have gaps
        there is "NAME_mask", too, bool [B, T, ...] without the channels.
      label: int32 [B].
      index: int32 [B], the global example number. In training: the position in the endless shuffled
        stream, which keys augmentation and dropout and so contains the epoch. In evaluation:
        video number * views per video + view number.
      mask: bool [B]; False for padding and for what could not be read. All True in training.
      mirrored: bool [B], which examples of an evaluation are to be mirrored, on the device; None: none of them.
    """

    inputs: dict[str, Array]
    label: Array
    index: Array  # type: ignore[assignment]  # a tuple's method of that name is not wanted here
    mask: Array
    mirrored: Array = None


def check_inputs(inputs: Sequence[Input], videos: Sequence[Video]) -> None:
    """Refuses inputs that share a name, and videos without the streams that they are read from.

    Raises:
      ConfigError: naming the input.
      DataError: naming the video.
    """
    names = [spec.name for spec in inputs] + [f"{spec.name}_mask" for spec in inputs if spec.is_masked]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"inputs {', '.join(names) or 'of none'}: give each its own name")
    for video in videos:
        for spec in inputs:
            if spec.stream_name not in video.streams:
                raise DataError(
                    f"{video.id} has no stream {spec.stream_name!r}, from which the input {spec.name!r} is read;"
                    f" it has {', '.join(video.streams)}"
                )
