"""Named inputs: what an example holds under each name, from the file to the model.

A source lists those that its videos have (`Source.inputs`), a model those that it takes (the arguments of its
`__call__`), and one record describes everything in between: how an input is read, which of its frames belong to a clip,
and what cropping, mirroring and normalizing do to it.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from vidjax.errors import ConfigError

Space = Literal["image", "points"] | None
Seen = Literal["as it is", "gray", "difference", "gradient"]


@dataclasses.dataclass(frozen=True)
class Negate:
    """A mirror image changes the sign of these channels, e.g. of horizontal motion.

    Attributes:
      channels: their numbers, counted from 0.
    """

    channels: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Permute:
    """A mirror image exchanges key points, e.g. the left and the right hand: point k becomes point order[k].

    Attributes:
      order: a permutation that undoes itself.
    """

    order: tuple[int, ...]


_STORED_NAMES = {"color": "colour"}  # field -> its name in data.json and in packed data sets
_RESERVED = ("train", "example_ids", "self")
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "space": ("image", "points", None),
    "reader": ("video", "array"),
    "mirror": ("nothing", "forbidden"),
    "seen": ("as it is", "gray", "difference", "gradient"),
}


@dataclasses.dataclass(frozen=True)
class Input:
    """One named input.

    Attributes:
      name: of the model's argument, and by default of the stream.
      shape: of one frame without height and width: (C,) of an image; of anything else the full shape, e.g. (K, 3) for K
        key points with x, y and confidence.
      dtype: of the host's arrays, e.g. "uint8" or "float32". Values that are no image may be NaN in the file, if
        missing; the model is given 0 there, and `NAME_mask` if its `__call__` takes that.
      space: "image" [T, H, W, C]: resized, cut, warped and mirrored. "points" [T, K, C]: the first two channels are x
        and y as fractions of the frame's width and height, and follow what is done to images; points outside of the
        picture count as missing. Without an image input they are rotated as if frames were square. None: passed
        through unchanged; integers stay integers.
      stream: from which it is read; "": the one of the same name.
      per_frame: clip rule: this many consecutive items around each frame of the clip; 10 for the flow stack of
        two-stream networks (Simonyan & Zisserman 2014). At an end of the video they are the nearest ones within it.
      reader: "video" (decoded, RGB) or "array" (a NumPy file, [N, ...]).
      color: RGB in 0..255, to which color jitter may be applied.
      vectors: the first two channels are displacements to the right and downwards, in pixels of the frames that they
        are stored for: resizing scales them, a warp turns and scales them, around `mean`, which stands for no motion.
      mirror: what a mirror image does to its values, beside exchanging left and right of an image or point: "nothing",
        `Negate`, `Permute`, or "forbidden": such an example is never mirrored.
      mean, std: a value v becomes (v - mean) / std, one number for each channel (last axis) or one for all; None: of
        images those of `config.preprocessing`, of others 0 and 1. What is negated is negated around `mean`.
      seen: what the model sees of pictures in color, computed on the device after all else: "gray", their luma (ITU-R
        BT.601) as one channel; "difference", each frame minus the one before (`per_frame` is 2 then), in which moving
        edges are left; "gradient", how luma changes to the right and downwards, two channels like those of flow.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    space: Space = "image"
    stream: str = ""
    per_frame: int = 1
    reader: str = "array"
    color: bool = False
    vectors: bool = False
    mirror: Literal["nothing", "forbidden"] | Negate | Permute = "nothing"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    # Not in its text, after which stored features are named.
    seen: Seen = dataclasses.field(default="as it is", repr=False)

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ConfigError(f"input {self.name!r}: {problem}")

    def _problems(self) -> Iterator[str]:
        """What is wrong with it, in the order of the fields."""
        if not self.name.isidentifier() or self.name in _RESERVED or self.name.endswith("_mask"):
            reserved = f"{', '.join(_RESERVED)} and NAME_mask"
            yield f"its name is an argument of the model: give an identifier other than {reserved}"
        for field, words in _CHOICES.items():
            value = getattr(self, field)
            if value not in words and not isinstance(value, Negate | Permute):
                yield f"{field}={value!r} is not one of {', '.join(map(str, words))}"
        if not self.shape or min(self.shape) < 1:
            yield f"shape={self.shape}: give at least one number of 1 or more, (1,) for a single value"
        if self.per_frame < 1:
            yield f"per_frame={self.per_frame}: give at least 1"
        if self.space == "image" and len(self.shape) != 1:
            yield f"the shape of an image is its channels (C,), not {self.shape}"
        if self.space == "image" and self.dtype not in ("uint8", "float32"):
            yield f"images are uint8 or float32, not {self.dtype}"
        if self.space == "points" and (len(self.shape) != 2 or self.shape[-1] < 2):
            yield f"the shape of points is (K, C), x and y first, not {self.shape}"
        if self.space == "points" and not self.dtype.startswith("float"):
            yield f"points are fractions of a frame, so floats, not {self.dtype}"
        if self.reader == "video" and (self.space, self.shape, self.dtype) != ("image", (3,), "uint8"):
            yield f"decoded videos are image, uint8, (3,), not {self.space or 'no space'}, {self.dtype}, {self.shape}"
        if self.color and (self.space, self.shape) != ("image", (3,)):
            yield "color is for images of three channels"
        if self.seen != "as it is" and not self.color:
            yield f"seen={self.seen!r} is for pictures in color"
        if self.seen == "difference" and self.per_frame != 2:
            yield f"per_frame={self.per_frame}: a difference is of 2 frames"
        if self.vectors and (self.space != "image" or self.shape[0] < 2 or self.mean is None):
            yield "vectors are images of two channels or more with a mean, the value of no motion"
        if self.vectors and self.reader == "video":
            yield "decoding does not scale vectors with the frame: give an array"
        if isinstance(self.mirror, Negate) and not all(0 <= c < self.shape[-1] for c in self.mirror.channels):
            yield f"its mirror image negates channels {self.mirror.channels} of {self.shape[-1]}, counted from 0"
        if isinstance(self.mirror, Permute):
            order = self.mirror.order
            if self.space == "image":
                yield "a mirror image exchanges points, not channels of an image"
            elif sorted(order) != list(range(self.shape[0])) or any(order[k] != n for n, k in enumerate(order)):
                yield f"its mirror image must be a permutation of its {self.shape[0]} points that undoes itself"
        for field in ("mean", "std"):
            values = getattr(self, field)
            if values is not None and len(values) not in (1, self.shape[-1]):
                yield f"{field} has {len(values)} numbers for {self.shape[-1]} channels: give one, or one per channel"

    @property
    def stream_name(self) -> str:
        """The name of the stream that it is read from."""
        return self.stream or self.name

    @property
    def is_float(self) -> bool:
        """Whether the model sees floats; integers that are no image and have no mean and std stay integers."""
        return self.space is not None or self.dtype.startswith("float") or self.mean is not None or self.std is not None

    @property
    def is_masked(self) -> bool:
        """Whether values may be missing; points are, too, outside of the picture."""
        return self.space == "points" or (self.space is None and self.dtype.startswith("float"))

    def example_shape(self, frames: int, side: int) -> tuple[int, ...]:
        """The shape of one example, [T, side, side, C] of images, else [T, ...]; T is per_frame x `frames`."""
        square = (side, side) if self.space == "image" else ()
        return (frames * self.per_frame, *square, *self.shape)

    def model_shape(self, frames: int, side: int) -> tuple[int, ...]:
        """The shape of one example as the model sees it; see `example_shape`."""
        shape = self.example_shape(frames, side)
        if channels := {"gray": 1, "gradient": 2}.get(self.seen):
            return (*shape[:-1], channels)
        return (frames, *shape[1:]) if self.seen == "difference" else shape

    def to_json(self) -> dict[str, Any]:
        """All fields, for JSON; `color` is spelled as in the files of earlier versions, which have no `seen`."""
        fields = {_STORED_NAMES.get(name, name): value for name, value in dataclasses.asdict(self).items()}
        if self.seen == "as it is":
            del fields["seen"]
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Input":
        """The input with these fields, from JSON.

        Raises:
          TypeError: if there is no such field.
        """
        names = {stored: name for name, stored in _STORED_NAMES.items()}
        known: dict[str, Any] = {
            names.get(name, name): tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        mirror = known.get("mirror")
        if isinstance(mirror, Mapping):
            kind = Negate if "channels" in mirror else Permute
            known["mirror"] = kind(**{name: tuple(value) for name, value in mirror.items()})
        return cls(**known)

    def frame_bytes(self, height: int, width: int) -> int:
        """How many bytes one frame takes on the host; the size counts for images alone."""
        pixels = height * width if self.space == "image" else 1
        return pixels * math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def describe(self, frames: int, side: int) -> str:
        """Returns e.g. "rgb 16x48x48" or "pose 16x17"."""
        name = self.stream_name if self.seen == "as it is" else self.seen
        return f"{name} {self.describe_shape(frames, side)}"

    def describe_shape(self, frames: int, side: int) -> str:
        """Returns e.g. "16x48x48": without the channels."""
        return "x".join(map(str, self.model_shape(frames, side)[:-1]))


RGB = Input("rgb", (3,), "uint8", reader="video", color=True)
GRAY = dataclasses.replace(RGB, name="gray", stream=RGB.name, seen="gray")
GRADIENT = dataclasses.replace(RGB, name="gradient", stream=RGB.name, seen="gradient")
DIFFERENCE = dataclasses.replace(RGB, name="difference", stream=RGB.name, seen="difference", per_frame=2)
