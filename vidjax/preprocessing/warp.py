"""Rotation, zoom and shift on the device: one affine map per clip, the same for all frames."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Warp:
    """Strengths of the affine map; 0 is off.

    Labels stay as they are. Where the class is a direction, as in `motion`, rotations must be small: 45 degrees
    lie half-way between two classes.

    Attributes:
      rotation: in degrees; the angle is drawn from U[-rotation, rotation].
      zoom: the enlargement is drawn from U[1 - zoom, 1 + zoom], the same for both axes.
      shift: the shifts are drawn from U[-shift, shift], each a fraction of the clip's height and of its width.
    """

    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0

    @property
    def active(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.rotation or self.zoom or self.shift)


class Affine(NamedTuple):
    """An affine map of each example: rotated and enlarged about the center, then shifted.

    Attributes:
      angle: float [B] in radians, counter-clockwise.
      zoom: float [B], enlargement.
      down, right: float [B], shifts, as shares of the height and of the width.
    """

    angle: jax.Array
    zoom: jax.Array
    down: jax.Array
    right: jax.Array

    def of_vectors(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Turns and enlarges vectors to the right and downwards, each float [B, ...]."""
        angle, zoom = (a.reshape(-1, *(1,) * (x.ndim - 1)) for a in (self.angle, self.zoom))
        cos, sin = zoom * jnp.cos(angle), zoom * jnp.sin(angle)
        return x * cos + y * sin, y * cos - x * sin


def draw_warp(warp: Warp, keys: jax.Array, dtype: Any) -> Affine:
    """Draws an affine map for each of the PRNG keys [B]."""
    strengths = jnp.array([jnp.deg2rad(warp.rotation), warp.zoom, warp.shift, warp.shift], dtype)

    def draw(key: jax.Array) -> Affine:
        angle, zoom, down, right = strengths * jax.random.uniform(key, (4,), dtype, -1.0, 1.0)
        return Affine(angle, 1.0 + zoom, down, right)

    return jax.vmap(draw)(keys)


def apply_warp(clips: jax.Array, maps: Affine) -> jax.Array:
    """Rotates, enlarges and shifts clips float [B, T, H, W, C]; see `affine` for the borders."""
    return jax.vmap(affine)(clips, *maps)


def affine(clip: jax.Array, angle: jax.Array, zoom: jax.Array, down: jax.Array, right: jax.Array) -> jax.Array:
    """Rotates and enlarges a clip about its center, then shifts it; bilinear interpolation.

    What lies outside of the frame is the nearest pixel of its border, so that no edge appears.

    Args:
      clip: float [T, H, W, C].
      angle: in radians, counter-clockwise.
      zoom: enlargement.
      down, right: shifts, as shares of H and of W.

    Returns:
      [T, H, W, C].
    """
    _, h, w, _ = clip.shape
    middle_y, middle_x = (h - 1) / 2, (w - 1) / 2
    # From a pixel of the result to its place in the clip. Rows count downwards.
    y = jnp.arange(h, dtype=clip.dtype)[:, None] - middle_y - down * h
    x = jnp.arange(w, dtype=clip.dtype)[None, :] - middle_x - right * w
    cos, sin = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
    return _bilinear(clip, middle_y + y * cos + x * sin, middle_x - y * sin + x * cos)


def _bilinear(clip: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """Values of clip [T, H, W, C] at the places (y, x), each [H, W], taken to the nearest place inside."""
    _, h, w, _ = clip.shape
    y, x = jnp.clip(y, 0, h - 1), jnp.clip(x, 0, w - 1)
    top, left = jnp.floor(y).astype(jnp.int32), jnp.floor(x).astype(jnp.int32)
    bottom, right = jnp.minimum(top + 1, h - 1), jnp.minimum(left + 1, w - 1)
    below, beside = (y - top)[..., None], (x - left)[..., None]
    upper = clip[:, top, left] * (1 - beside) + clip[:, top, right] * beside
    lower = clip[:, bottom, left] * (1 - beside) + clip[:, bottom, right] * beside
    return upper * (1 - below) + lower * below
