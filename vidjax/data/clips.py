"""Which frames make a training clip (`vidjax.data.views`: a test clip), and how frames are resized and cropped."""

import dataclasses

import numpy as np

from vidjax.data import sampling
from vidjax.data.resizing import RULES, Resize
from vidjax.errors import OptionError

CROP_POSITIONS = ("center", "random", "motion")  # of the square


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """How one example is cut from a video. Fields are keys of `config.data`, but for `padding`.

    Attributes:
      frames: T, frames per clip.
      sampling: "dense": one after another, at a stride; "segments": one from each of T equal parts of the video.
      stride: dense: distance of consecutive frames of the clip, in frames of the video.
      fps: dense: target frame rate, instead of `stride`: frames are taken at the nearest whole frame.
      position: dense: "random" (a random start in training, evenly spaced clips in evaluation), or "first",
        "middle", "last": the same clip in both.
      training_views: training takes one of this many clips, evenly spaced as in evaluation, instead of any.
      frame_number: dense: the clip starts at this frame, counted from 0, in training and evaluation; in a
        video that is too short, at the last start at which it fits.
      resize: "short_side", "squash" or "letterbox", see `Resize`.
      short_side: shorter side, in pixels, to which frames are resized while they are decoded; None keeps
        the file's size.
      short_side_max: in training the shorter side is drawn uniformly from `short_side` to this, per clip.
      size: side, in pixels, for squash and letterbox.
      crop: side, in pixels, of the square that is cut.
      crop_position: where the square is cut in training: "center"; "random"; "motion": around what moves most in the
        clip's optical flow, in evaluation, too.
      padding: 0..255, of what letterbox adds to images without a mean of their own (`Input.mean`): one number for all
        channels, or one for each.

    Raises:
      OptionError: if a value is out of range or contradicts another.
    """

    frames: int
    sampling: str = "dense"
    stride: int = 1
    fps: float | None = None
    position: str = "random"
    frame_number: int | None = None
    resize: str = "short_side"
    short_side: int | None = None
    short_side_max: int | None = None
    size: int | None = None
    crop: int = 112
    crop_position: str = "center"
    training_views: int | None = None
    padding: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("frames", "stride", "crop"):
            if getattr(self, name) < 1:
                raise OptionError(f"{{{name}}}={getattr(self, name)}: give at least 1", [name])
        choices = {
            "sampling": sampling.SAMPLINGS,
            "position": sampling.POSITIONS,
            "resize": RULES,
            "crop_position": CROP_POSITIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise OptionError(f"{{{name}}}={getattr(self, name)!r} is not one of {', '.join(known)}", [name])
        self._check_time()
        self._check_size()

    def _check_time(self) -> None:
        if self.fps is not None and self.fps <= 0:
            raise OptionError(f"{{fps}}={self.fps}: give a number above 0", ["fps"])
        if self.fps is not None and self.stride != 1:
            raise OptionError(
                f"{{stride}}={self.stride} and {{fps}}={self.fps} are both set: give one of them", ["stride", "fps"]
            )
        if self.frame_number is not None and (self.frame_number < 0 or self.position != "random"):
            raise OptionError(
                f"{{frame_number}}={self.frame_number}: give 0 or more, without {{position}} ({self.position})",
                ["frame_number", "position"],
            )
        if self.training_views is not None and (self.training_views < 1 or (self.is_fixed and self.training_views > 1)):
            raise OptionError(
                f"{{training_views}}={self.training_views}: give 1 or more, and 1 where {{position}} is fixed",
                ["training_views", "position"],
            )
        if self.sampling == "segments":
            given = [name for name, default in _DENSE_DEFAULTS.items() if getattr(self, name) != default]
            if given:
                raise OptionError(
                    f"{{sampling}}=segments takes no {{{given[0]}}}: leave it out (none)", ["sampling", given[0]]
                )

    def _check_size(self) -> None:
        if self.resize == "short_side":
            if self.size is not None:
                raise OptionError(f"{{size}}={self.size} belongs to {{resize}}=squash or letterbox", ["size", "resize"])
            name, side = "short_side", self.short_side
        else:
            if self.size is None or self.short_side is not None or self.short_side_max is not None:
                raise OptionError(
                    f"{{resize}}={self.resize} needs {{size}}, and takes no {{short_side}} and {{short_side_max}}",
                    ["resize", "size", "short_side", "short_side_max"],
                )
            name, side = "size", self.size
        if side is not None and side < self.crop:
            raise OptionError(f"{{crop}}={self.crop} does not fit into {{{name}}}={side}", ["crop", name])
        if self.short_side_max is not None and self.short_side_max < (self.short_side or self.short_side_max + 1):
            raise OptionError(
                f"{{short_side_max}}={self.short_side_max}: give {{short_side}}, and at least as much as that"
                f" ({self.short_side})",
                ["short_side_max", "short_side"],
            )

    @property
    def is_fixed(self) -> bool:
        """Whether a video has one clip alone, the same in training and evaluation."""
        return self.position != "random" or self.frame_number is not None

    def training_indices(self, count: int, stride: float, rng: np.random.Generator) -> np.ndarray:
        """Frame numbers, int64 [T], of a training clip.

        Args:
          count: frames of the video.
          stride: of dense sampling, in frames of the video: `stride`, or what gives `fps`.
          rng: draws what is random.
        """
        if self.training_views is not None:
            return self.even_indices(count, stride, self.training_views)[int(rng.integers(self.training_views))]
        if self.sampling == "segments":
            return sampling.random_segments(count, self.frames, rng)
        if self.is_fixed:
            return self.fixed_indices(count, stride)
        return sampling.random_clip(count, self.frames, stride, rng)

    def even_indices(self, count: int, stride: float, clips: int) -> np.ndarray:
        """Frame numbers, int64 [clips, T], of clips spread evenly over the video; arguments as in training.

        Of "segments", places are spread evenly over each segment. A fixed clip is the only one.
        """
        if self.sampling == "segments":
            return sampling.uniform_segments(count, self.frames, clips)
        if self.is_fixed:
            return self.fixed_indices(count, stride)[None]
        return sampling.uniform_clips(count, self.frames, stride, clips)

    def fixed_indices(self, count: int, stride: float) -> np.ndarray:
        """Frame numbers, int64 [T], of the one clip that training and evaluation see; arguments as in training."""
        if self.frame_number is not None:
            return sampling.clip_from(self.frame_number, count, self.frames, stride)
        return sampling.clip_at(self.position, count, self.frames, stride)

    def resizing(self, *, training: bool) -> Resize:
        """The size to which frames are decoded; with a jittered short side in training, its largest."""
        if self.resize != "short_side":
            return Resize(self.size, self.resize)
        return Resize(self.short_side_max if training and self.short_side_max is not None else self.short_side)

    def describe_sampling(self) -> str:
        """Returns e.g. "stride 2", "12.5 fps, middle" or "segments"."""
        if self.sampling == "segments":
            return "segments"
        pace = f"{self.fps:g} fps" if self.fps else f"stride {self.stride}"
        if self.frame_number is not None:
            return f"{pace}, from frame {self.frame_number}"
        return f"{pace}, {self.position}" if self.is_fixed else pace


# Fields that segments do not use -> their defaults.
_DENSE_DEFAULTS = {"stride": 1, "fps": None, "position": "random", "frame_number": None}
