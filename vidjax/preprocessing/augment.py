"""Augmentation on the device: random per example, the same for all frames of a clip."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Strengths of color jitter; each factor is drawn from U[1 - strength, 1 + strength], 0 is off.

    Attributes:
      brightness: multiplies the clip.
      contrast: multiplies the difference from the clip's mean gray.
      saturation: multiplies the difference from each pixel's gray.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    @property
    def active(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.brightness or self.contrast or self.saturation)


_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def sample_crop_offsets(keys: jax.Array, space: tuple[int, int]) -> jax.Array:
    """Draws the offsets of square crops: int32 [B, 2], top and left, each from 0 to `space` in pixels."""
    return jax.vmap(lambda key: jax.random.randint(key, (2,), 0, jnp.array([space[0] + 1, space[1] + 1])))(keys)


def crop_at(clips: jax.Array, size: int, offsets: jax.Array) -> jax.Array:
    """Cuts a square of `size` pixels out of each of the clips [B, T, H, W, C], at its offset (top, left) of [B, 2]."""
    _, t, _, _, c = clips.shape

    def cut(clip: jax.Array, offset: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(clip, (0, offset[0], offset[1], 0), (t, size, size, c))

    return jax.vmap(cut)(clips, offsets)


def center_crop(clips: jax.Array, size: int) -> jax.Array:
    """Cuts the central square of `size` pixels from clips [B, T, H, W, C]."""
    _, _, h, w, _ = clips.shape
    y, x = (h - size) // 2, (w - size) // 2
    return clips[:, :, y : y + size, x : x + size]


def flip_where(clips: jax.Array, flip: jax.Array) -> jax.Array:
    """Mirrors those clips [B, T, H, W, C] left to right for which `flip` [B] is True."""
    return jnp.where(flip[:, None, None, None, None], clips[:, :, :, ::-1], clips)


def color_jitter(clips: jax.Array, jitter: ColorJitter, keys: jax.Array) -> jax.Array:
    """Changes brightness, contrast and saturation, by one draw per clip.

    Args:
      clips: RGB float [B, T, H, W, 3] in 0..255.
      jitter: the strengths.
      keys: PRNG keys [B].

    Returns:
      The clips, clamped to 0..255.
    """
    strengths = jnp.array([jitter.brightness, jitter.contrast, jitter.saturation], clips.dtype)

    def change(clip: jax.Array, key: jax.Array) -> jax.Array:
        draws = jax.random.uniform(key, (3,), clips.dtype, -1.0, 1.0)
        brightness, contrast, saturation = 1.0 + strengths * draws
        clip = clip * brightness
        gray = (clip * jnp.array(_LUMA, clip.dtype)).sum(axis=-1, keepdims=True)
        clip = gray + (clip - gray) * saturation
        mean = gray.mean()
        return jnp.clip(mean + (clip - mean) * contrast, 0.0, 255.0)

    return jax.vmap(change)(clips, keys)
