"""The views of a test video: which frames of it an evaluation scores, in which clips and crops."""

import dataclasses

import numpy as np

from vidjax.data.clips import ClipSpec
from vidjax.errors import OptionError

# Name -> crops per clip. The last ones are five places, each mirrored, too.
CROPS = {"center": 1, "three": 3, "ten": 10}


@dataclasses.dataclass(frozen=True)
class ViewSpec:
    """The test views of a video: view = (clip * places + place) * mirrors + mirror.

    Attributes:
      clips: clips per video, evenly spaced; 1 is the centered one.
      crops: "center"; "three" squares along the longer side of the frame; "ten": the four corners and the center,
        each also mirrored (Krizhevsky et al. 2012, section 4.1), of what training cuts its crops from: the
        centered square of `ClipSpec.crop`, or the whole frame where `ClipSpec.crop_position` is "random".
      flip: also the mirror image of each; "ten" has them already.
      side: of the square, in pixels; None: `ClipSpec.crop`.
      shuffled: the frames of each clip in random order, the same for all videos of one length: what a network still
        knows then does not come from their order.
    """

    clips: int = 1
    crops: str = "center"
    flip: bool = False
    side: int | None = None
    shuffled: bool = False

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise OptionError(f"{{clips}}={self.clips}: give at least 1", ["clips"])
        if self.crops not in CROPS:
            raise OptionError(f"{{crops}}={self.crops!r} is not one of {', '.join(CROPS)}", ["crops"])
        if self.crops == "ten" and self.flip:
            raise OptionError("{crops}=ten has the mirror images already: leave {flip} out (False)", ["crops", "flip"])

    @property
    def mirrored(self) -> bool:
        """Whether each place is shown a second time, mirrored."""
        return self.flip or self.crops == "ten"

    @property
    def crop_count(self) -> int:
        """Crops per clip; those of "ten" contain their mirror images."""
        return CROPS[self.crops]

    @property
    def count(self) -> int:
        """Views per video."""
        return self.clips * self.crop_count * (2 if self.flip else 1)

    def frame_indices(self, clip: ClipSpec, count: int, stride: float) -> np.ndarray:
        """Frame numbers, int64 [clips, T], that an evaluation scores; arguments as of `ClipSpec.even_indices`."""
        indices = clip.even_indices(count, stride, self.clips)
        if not self.shuffled:
            return indices
        return np.random.default_rng(count).permuted(indices, axis=1)

    def describe(self) -> str:
        """Returns e.g. "2 clips x 3 crops x 2 flips"."""
        parts = [_counted(self.clips, "clip"), _counted(self.crop_count, "crop")]
        text = " x ".join([*parts, "2 flips"] if self.flip else parts)
        return f"{text}, frames shuffled" if self.shuffled else text

    def is_flipped(self, view: int) -> bool:
        """Whether this view shows the mirror image: `Batch.mirrored`."""
        return self.mirrored and view % 2 == 1

    def clip_and_crop(self, view: int) -> tuple[int, int]:
        """Returns which clip this view shows, and which of the places in its frames."""
        places = self.count // self.clips // (2 if self.mirrored else 1)
        clip, place = divmod(view // (2 if self.mirrored else 1), places)
        return clip, place

    def side_of(self, clip: ClipSpec) -> int:
        """Side, in pixels, of the square that is cut."""
        return self.side or clip.crop

    def corner(self, place: int, height: int, width: int, clip: ClipSpec) -> tuple[int, int]:
        """Top and left of the square that is cut at this place from frames of height x width pixels."""
        side = self.side_of(clip)
        down, across = height - side, width - side
        if self.crops == "three":
            return (down // 2, place * across // 2) if across >= down else (place * down // 2, across // 2)
        if self.crops == "center" or place == 4:
            return down // 2, across // 2
        whole = clip.crop_position == "random"
        region = (height, width) if whole else (clip.crop, clip.crop)
        bottom, right = divmod(place, 2)
        top, left = (height - region[0]) // 2, (width - region[1]) // 2
        return top + bottom * (region[0] - side), left + right * (region[1] - side)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
