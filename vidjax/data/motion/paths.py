"""How the object of the `motion` data set moves: its classes, and its state at every frame; nothing is rendered here.

The state (x, y, angle, log-size) is on a torus and starts uniform. Everything random is drawn independently of the
class, which then only decides in which direction the state moves. So the state is uniform at every later frame, too,
whatever the class, and no single frame reveals the class.

Easy (8 classes): one motion from the first frame to the last. Hard (8 classes): rest, a motion, rest, another motion,
rest; one motion is horizontal, the other vertical, and the class is given by the two and their order. Every rest is at
least as long as the longest window that must not reveal the order: such a window shows at most one of the motions, and
the first motion in its surroundings looks like the second.
"""

import dataclasses
import math

import numpy as np

_OPPOSITE = {
    **{"left": "right", "up": "down", "clockwise": "counter-clockwise", "approach": "recede"},
    **{"right": "left", "down": "up", "counter-clockwise": "clockwise", "recede": "approach"},
}
_MIRRORED = {
    **{"left": "right", "right": "left", "clockwise": "counter-clockwise", "counter-clockwise": "clockwise"},
    **{name: name for name in ("up", "down", "approach", "recede")},
}
# Heading in the image (y points down) of the translations, in degrees.
_HEADINGS = {"left": 180.0, "right": 0.0, "up": -90.0, "down": 90.0}
# Part of the state that the others change, and its sign. y points down, so a growing angle turns clockwise.
_TURNS = {"clockwise": (2, 1), "counter-clockwise": (2, -1), "approach": (3, 1), "recede": (3, -1)}


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a set.

    Attributes:
      motions: of each class, in their order in time.
    """

    motions: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """E.g. "left", or "left-up": first left, then up."""
        return tuple("-".join(motions) for motions in self.motions)

    @property
    def reversed(self) -> tuple[int, ...]:
        """A clip of class k shown backward is one of class reversed[k]."""
        return tuple(self.motions.index(tuple(_OPPOSITE[m] for m in motions[::-1])) for motions in self.motions)

    @property
    def mirrored(self) -> tuple[int, ...]:
        """A clip of class k mirrored left-right is one of class mirrored[k]."""
        return tuple(self.motions.index(tuple(_MIRRORED[m] for m in motions)) for motions in self.motions)


SINGLE = Classes(
    (
        *(("left",), ("right",), ("up",), ("down",)),
        *(("clockwise",), ("counter-clockwise",), ("approach",), ("recede",)),
    )
)
PAIRS = Classes(
    (
        *(("left", "up"), ("up", "left"), ("right", "up"), ("up", "right")),
        *(("left", "down"), ("down", "left"), ("right", "down"), ("down", "right")),
    )
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all clips of a set have in common. Every field that is not None is part of the name of the cached set.

    Attributes:
      frames: frames per clip.
      side: height and width in pixels; the object leaves on one side and enters on the other.
      fps: frames per second.
      limit_frames: `speed` is relative to half a turn of the torus (half the width, 180 degrees, half the
        range of log-sizes) in this many frames; at 1 the two directions could not be told apart from
        frames that far apart.
      speed: lowest and highest speed, as a fraction of that limit; drawn uniformly.
      pace: of translations, rotations and zooms, relative to `speed`; at equal pace rotations are by far the
        hardest classes.
      heading_jitter: translations deviate from their axis by up to this many degrees.
      radius: smallest and largest radius of the object in pixels; the logarithm wraps.
      object_bright, object_dark: range of every color channel in the two tones of the object.
      background: range of every color channel of the background, always below `object_dark`.
      background_strength: lowest and highest amplitude of the background's texture, relative to that range,
        in which it is clipped. Backgrounds that differ so much outweigh the trace that a moving object leaves
        in the mean frame: the nearest neighbor of a mean frame is a clip with a like background.
      background_wavelength: shortest and longest wave of that texture, in pixels.
      quantiser: of the MJPEG encoder, the same for every block; smaller is finer, 2 the finest.
      phase: fewest and most steps (from a frame to the next) that each of two motions lasts; None is one
        motion all through.
      rest: fewest steps without motion before, between and after the two.
      distraction: while the object moves it also turns and grows or shrinks, at up to this speed in either
        direction.
    """

    frames: int = 32
    side: int = 56
    fps: int = 25
    limit_frames: int = 15
    speed: tuple[float, float] = (0.3, 0.6)
    pace: tuple[float, float, float] = (0.6, 0.8, 1.0)
    heading_jitter: float = 10.0
    radius: tuple[float, float] = (9.0, 24.0)
    object_bright: tuple[float, float] = (230.0, 255.0)
    object_dark: tuple[float, float] = (105.0, 130.0)
    background: tuple[float, float] = (0.0, 100.0)
    background_strength: tuple[float, float] = (0.1, 0.8)
    background_wavelength: tuple[float, float] = (25.0, 160.0)
    quantiser: int = 3
    phase: tuple[int, int] | None = None
    rest: int | None = None
    distraction: float | None = None

    @property
    def classes(self) -> Classes:
        """The classes of a set of this recipe."""
        return SINGLE if self.phase is None else PAIRS


EASY = Recipe()
# 15 steps are 16 frames: no window of 16 frames shows both motions. 10 frames at stride 6, 55 frames, always
# begin before the first motion and end after the second.
HARD = Recipe(
    frames=64,
    limit_frames=6,
    speed=(0.08, 0.35),
    pace=(1.0, 1.0, 1.0),
    heading_jitter=25.0,
    phase=(4, 6),
    rest=15,
    distraction=0.3,
)
LEVELS = {"easy": EASY, "hard": HARD}


@dataclasses.dataclass(frozen=True)
class Path:
    """What is random in how an object moves; independent of the class. M motions (1 or 2), one after the other.

    Attributes:
      start: float64 [4]: x, y in pixels, angle in radians, log of the radius in pixels, uniform on the torus.
      speeds: float64 [M], fractions of the limit.
      jitters: float64 [M], deviations of a translation from its axis, in degrees.
      turns: float64 [M, 2], speeds of the rotation and the zoom that go with each motion, fractions of the limit;
        zero if easy.
      elapsed: int64 [M, T]: how many steps of each motion have been made at each frame.
    """

    start: np.ndarray
    speeds: np.ndarray
    jitters: np.ndarray
    turns: np.ndarray
    elapsed: np.ndarray


def periods(recipe: Recipe = EASY) -> np.ndarray:
    """Returns float64 [4], the size of the torus: width, height, 2 pi, range of the log-radius."""
    smallest, largest = recipe.radius
    return np.array([recipe.side, recipe.side, 2 * math.pi, math.log(largest / smallest)])


def origin(recipe: Recipe = EASY) -> np.ndarray:
    """Returns float64 [4], the lowest state: 0, 0, 0, log of the smallest radius."""
    return np.array([0.0, 0.0, 0.0, math.log(recipe.radius[0])])


def velocity(motion: str, speed: float, jitter: float, recipe: Recipe = EASY) -> np.ndarray:
    """Returns float64 [4], the change of the state per frame.

    Args:
      motion: "left", "right", "up", "down", "clockwise", "counter-clockwise", "approach" or "recede".
      speed: fraction of half a turn of the torus in `recipe.limit_frames` frames.
      jitter: deviation of a translation from its axis, in degrees.
      recipe: what all clips have in common.
    """
    step = np.zeros(4)
    if motion in _HEADINGS:
        heading = math.radians(_HEADINGS[motion] + jitter)
        step[:2] = math.cos(heading), math.sin(heading)
    else:
        axis, sign = _TURNS[motion]
        step[axis] = sign
    translation, rotation, zoom = recipe.pace
    pace = np.array([translation, translation, rotation, zoom])
    return step * pace * speed * periods(recipe) / 2 / recipe.limit_frames


def states(path: Path, class_index: int, recipe: Recipe = EASY) -> np.ndarray:
    """Returns float64 [T, 4]: the state (x, y, angle, log-radius) at each frame, wrapped.

    Args:
      path: start, speeds and times.
      class_index: index into `recipe.classes`.
      recipe: what all clips have in common.
    """
    moved = path.start
    motions = recipe.classes.motions[class_index]
    for motion, speed, jitter, turn, elapsed in zip(
        motions, path.speeds, path.jitters, path.turns, path.elapsed, strict=True
    ):
        step = velocity(motion, speed, jitter, recipe)
        step[2:] += turn * periods(recipe)[2:] / 2 / recipe.limit_frames
        moved = moved + elapsed[:, None] * step
    lowest = origin(recipe)
    return lowest + (moved - lowest) % periods(recipe)


def draw_path(generator: np.random.Generator, recipe: Recipe = EASY) -> Path:
    """Draws everything that is random in how an object moves, knowing no class."""
    count = len(recipe.classes.motions[0])
    start = origin(recipe) + generator.uniform(size=4) * periods(recipe)
    speeds = generator.uniform(*recipe.speed, size=count)
    jitters = generator.uniform(-recipe.heading_jitter, recipe.heading_jitter, size=count)
    turns = np.zeros((count, 2))
    if recipe.distraction is not None:
        turns = generator.uniform(-recipe.distraction, recipe.distraction, size=(count, 2))
    return Path(start, speeds, jitters, turns, _draw_elapsed(generator, recipe))


def _draw_elapsed(generator: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """Draws int64 [M, T], steps made at each frame; of two motions, their lengths and the rests around them.

    The rests are their least length and a part of the steps that are left over, all divisions of which are
    equally likely. Lengths and rests read backward have the same distribution.
    """
    frame = np.arange(recipe.frames)
    if recipe.phase is None or recipe.rest is None:
        return frame[None]
    lengths = generator.integers(*recipe.phase, size=2, endpoint=True)
    spare = recipe.frames - 1 - 3 * recipe.rest - lengths.sum()
    # Two bars among the spare steps divide them in three.
    bars = np.sort(generator.permutation(spare + 2)[:2])
    first = recipe.rest + bars[0]
    second = first + lengths[0] + recipe.rest + bars[1] - bars[0] - 1
    begins = np.array([first, second])
    return np.clip(frame - begins[:, None], 0, lengths[:, None])
