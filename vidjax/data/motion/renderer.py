"""Draws the clips of the `motion` data set: one textured object over a static textured background.

The class is the motion alone. A clip is drawn in two steps: `draw` takes everything from the seed (look,
start, speed) without knowing the class, then the class only chooses which way the state moves (see
`vidjax.data.motion.paths`). Reversing a clip in time gives a clip of the reversed class with the same
probability.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from vidjax.data.motion.paths import EASY, Path, Recipe, draw_path, states

# Of the outline's radius over the angle, with their scales: mostly three and four uneven lobes, so that a
# rotation moves much of the outline, in many places.
_HARMONICS = np.arange(1, 5)
_HARMONIC_SCALES = np.array([0.2, 0.4, 1.0, 1.0])
_NARROWEST = 0.3  # least radius of the outline, the greatest being 1


@dataclasses.dataclass(frozen=True)
class Draw:
    """What is random in a clip; independent of the class.

    Attributes:
      path: start, speeds and times of the motion.
      outline: complex128 [4], harmonics 1 to 4 of the outline's radius over the angle.
      waves: float64 [3, 4], plane waves of the object's texture: two wave numbers (radians per radius),
        phase, amplitude.
      rim: slope of the texture from the dark center to the bright tips. Where brightness grows outwards, the
        sense of a rotation can be seen on each lobe by itself: the motion is to the left or to the right of
        the slope. A slope across the object shows the opposite on its two sides.
      tones: float64 [2, 3], the dark and the bright color of the object.
      background: uint8-ranged float32 [H, W, 3].
    """

    path: Path
    outline: np.ndarray
    waves: np.ndarray
    rim: float
    tones: np.ndarray
    background: np.ndarray


def draw(seed: int | Sequence[int], recipe: Recipe = EASY) -> Draw:
    """Draws everything that is random in a clip.

    Args:
      seed: of `numpy.random.SeedSequence`; one per clip.
      recipe: what all clips have in common.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    path = draw_path(generator, recipe)
    harmonics = generator.normal(size=(2, len(_HARMONICS))) * _HARMONIC_SCALES
    return Draw(
        path=path,
        outline=harmonics[0] + 1j * harmonics[1],
        waves=_draw_waves(generator, count=3, wavelengths=(0.7, 2.0), amplitudes=(0.2, 0.6)),
        rim=generator.uniform(2.0, 4.0),
        tones=np.stack([generator.uniform(*recipe.object_dark, 3), generator.uniform(*recipe.object_bright, 3)]),
        background=_draw_background(generator, recipe),
    )


def render(seed: int | Sequence[int], class_index: int, recipe: Recipe = EASY) -> np.ndarray:
    """Draws one clip.

    Args:
      seed: of `numpy.random.SeedSequence`. Clips of one seed differ between classes only in how they move:
        frame 0 is the same.
      class_index: index into `recipe.classes`.
      recipe: what all clips have in common.

    Returns:
      uint8 [T, H, W, 3], RGB.
    """
    drawn = draw(seed, recipe)
    wanted = states(drawn.path, class_index, recipe)
    if recipe.phase is None:
        return render_states(wanted, drawn, recipe)
    # An object at rest is drawn once.
    distinct, places = np.unique(wanted, axis=0, return_inverse=True)
    return render_states(distinct, drawn, recipe)[places.reshape(-1)]


def render_states(wanted: np.ndarray, drawn: Draw, recipe: Recipe = EASY) -> np.ndarray:
    """Draws the object of `drawn` in each of the given states.

    Args:
      wanted: [T, 4]: x, y in pixels, angle in radians, log of the radius in pixels.
      drawn: the look of the clip; its path is not used.
      recipe: what all clips have in common.

    Returns:
      uint8 [T, H, W, 3], RGB.
    """
    x, y, angle, log_radius = wanted.astype(np.float32).T[..., None, None]
    radius = np.exp(log_radius)
    dx, dy = _offsets(x, recipe.side), _offsets(y, recipe.side).swapaxes(1, 2)
    # In the frame of the object, with its radius as the unit.
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / radius
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / radius
    distance = np.hypot(u, v)
    coverage = np.clip(0.5 + radius * (_outline(u, v, distance, drawn.outline) - distance), 0, 1)[..., None]
    tone = _tone(u, v, distance, drawn)[..., None]
    dark, bright = drawn.tones.astype(np.float32)
    object_color = dark + tone * (bright - dark)
    frames = drawn.background + coverage * (object_color - drawn.background)
    return np.rint(frames).astype(np.uint8)


def _offsets(center: np.ndarray, side: int) -> np.ndarray:
    """Signed distance [T, 1, W] of the pixel centers from `center` [T, 1, 1], the short way round."""
    pixels = np.arange(side, dtype=np.float32) + 0.5
    return (pixels - center + side / 2) % side - side / 2


def _outline(u: np.ndarray, v: np.ndarray, distance: np.ndarray, harmonics: np.ndarray) -> np.ndarray:
    """Radius of the object, at most 1, in the direction of each pixel: a star-shaped blob."""
    turn = np.exp(1j * np.linspace(0, 2 * math.pi, 256, endpoint=False))
    profile = sum((h * turn**k).real for k, h in zip(_HARMONICS, harmonics))
    direction = (u + 1j * v) / np.maximum(distance, 1e-6)
    # Horner's scheme; powers of the direction are its harmonics, without any arc tangent.
    total = np.zeros_like(direction)
    for h in harmonics[::-1].astype(np.complex64):
        total = (total + h) * direction
    lowest, highest = np.float32(profile.min()), np.float32(profile.max())
    return _NARROWEST + (1 - _NARROWEST) * (total.real - lowest) / (highest - lowest)


def _tone(u: np.ndarray, v: np.ndarray, distance: np.ndarray, drawn: Draw) -> np.ndarray:
    """Texture of the object at each pixel: 0 is its dark color, 1 its bright one."""
    total = np.float32(drawn.rim) * (distance - 0.5)
    for wave_u, wave_v, phase, amplitude in drawn.waves.astype(np.float32):
        total += amplitude * np.sin(wave_u * u + wave_v * v + phase)
    return 0.5 + 0.5 * np.tanh(total)


def _draw_background(generator: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """A static texture, float32 [H, W, 3]: a color and, in each channel, plane waves of many lengths."""
    lowest, highest = recipe.background
    pixels = np.arange(recipe.side) + 0.5
    channels = []
    for _ in range(3):
        waves = _draw_waves(generator, count=3, wavelengths=recipe.background_wavelength, amplitudes=(0.3, 1.0))
        texture = sum(
            a * np.sin(wave_x * pixels[None, :] + wave_y * pixels[:, None] + phase)
            for wave_x, wave_y, phase, a in waves
        )
        strength = generator.uniform(*recipe.background_strength) * (highest - lowest)
        channels.append(generator.uniform(lowest, highest) + strength * texture)
    return np.clip(np.stack(channels, axis=-1), lowest, highest).astype(np.float32)


def _draw_waves(
    generator: np.random.Generator, *, count: int, wavelengths: tuple[float, float], amplitudes: tuple[float, float]
) -> np.ndarray:
    """Draws [count, 4]: two wave numbers, phase, amplitude; log-uniform in length, uniform in direction."""
    shortest, longest = np.log(wavelengths).tolist()
    lengths = np.exp(generator.uniform(shortest, longest, size=count))
    directions = generator.uniform(0, 2 * math.pi, size=count)
    phases = generator.uniform(0, 2 * math.pi, size=count)
    heights = generator.uniform(*amplitudes, size=count)
    return np.column_stack([_polar(2 * math.pi / lengths, directions).T, phases, heights])


def _polar(length: np.ndarray | float, direction: np.ndarray | float) -> np.ndarray:
    """Returns [2] or [2, N]: the Cartesian components."""
    return np.stack([length * np.cos(direction), length * np.sin(direction)])
