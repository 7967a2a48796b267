"""What passes between data sources, the pipeline and the training step."""

import dataclasses
import hashlib
from typing import Any, Literal, NamedTuple

# A NumPy array on the host, a JAX array on the device; this module imports neither.
Array = Any

# What a horizontal flip does to the classes: nothing ("invariant"), it exchanges them (a permutation:
# class k becomes class mirror[k]), it must not be used ("forbidden"), or nobody has said (None).
Mirror = Literal["invariant", "forbidden"] | tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a whole pass over a file found.

    Attributes:
      frames: number of sound frames (headers lie); of a file that is damaged or cut short, those before that.
      fps: frames per second as the container states it; None where it does not.
      height, width: of a frame as displayed, after rotation.
      table: `seeking.SeekTable`, by which frames are found faster; None where there is none.
      identity: size and time of change (ns) of the file at that time; None where it was not noted.
    """

    frames: int
    fps: float | None
    height: int
    width: int
    table: Any = dataclasses.field(default=None, compare=False, repr=False)
    identity: tuple[int, int] | None = dataclasses.field(default=None, compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class Video:
    """One labelled video: a file, or frames in memory.

    Attributes:
      id: unique within its source and the same on every machine, e.g. "Lunges/v_Lunges_g08_c01".
      path: the file; of frames in memory, where they come from, for messages.
      label: index into `Source.classes`.
      group: videos of one group are near-duplicates and never straddle two parts; the id where unknown.
      exact_seek: random access by decord is known to return the right frames.
      info: what is known of the file; None where it is not, and a pass over it must tell.
      refused: why the file cannot be read, where that is known; None else.
      packed: `packed.Packed`, where the file lies in a shard; None else.
      frames: uint8 [T, H, W, 3], or [T, H, W, 1] for grey, of a video that is held in memory; None for a file.
    """

    id: str
    path: str
    label: int
    group: str
    exact_seek: bool = False
    info: VideoInfo | None = None
    refused: str | None = None
    packed: Any = None
    # Two videos are the same if the rest is: arrays neither compare nor hash.
    frames: Array = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def file(self) -> Any:
        """What decoding opens: the place in a shard, or the path."""
        return self.packed or self.path


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set, split into parts.

    Attributes:
      name: e.g. "ucf101".
      split: as the result row shows it, e.g. "2".
      classes: class names, in label order.
      train, validation, test: the videos of each part, in a fixed order.
      mirror: the rule for horizontal flips.
      absent: how many clips the lists name that are not on this disk (`allow_missing`).
      notes: what the user should know of these data, one line each.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    train: tuple[Video, ...]
    validation: tuple[Video, ...]
    test: tuple[Video, ...]
    mirror: Mirror = None
    absent: int = 0
    notes: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """A short hash of the classes and of which videos with which labels are in which part."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for part in (self.train, self.validation, self.test):
            digest.update(b"part")
            for video in part:
                digest.update(f"{video.id}\0{video.label}\0".encode())
        return digest.hexdigest()[:12]


class Batch(NamedTuple):
    """What a step receives. On the host NumPy, on the device JAX arrays; clips stay uint8 until there.

    Attributes:
      inputs: modality name -> array; "rgb" is uint8 [B, T, H, W, 3].
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
