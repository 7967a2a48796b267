"""Geometric transform of an example: one warp, crop and flip shared by all of its inputs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vidjax.data.inputs import Input, Negate, Permute
from vidjax.preprocessing import augment
from vidjax.preprocessing.warp import Affine, apply_warp


class Geometry(NamedTuple):
    """What is applied to images and points, in this order; None: skipped.

    Attributes:
      maps: the warp, of the input as loaded.
      size: in pixels, of the square that is cut out of it.
      offsets: int32 [B, 2], top and left of that square; None: its center.
      is_flipped: bool [B], which examples are mirrored left to right.
    """

    maps: Affine | None = None
    size: int | None = None
    offsets: jax.Array | None = None
    is_flipped: jax.Array | None = None

    def of_images(self, clips: jax.Array) -> jax.Array:
        """Images [B, T, H, W, C] after the transform; float if they are warped."""
        if self.maps is not None:
            clips = apply_warp(clips.astype(self.maps.angle.dtype), self.maps)
        if self.size is not None:
            if self.offsets is None:
                clips = augment.center_crop(clips, self.size)
            else:
                clips = augment.crop_at(clips, self.size, self.offsets)
        return augment.flip_where(clips, self.is_flipped) if self.is_flipped is not None else clips

    def of_values(self, values: jax.Array, spec: Input) -> jax.Array:
        """Applies warp and flip to values [B, ..., C] centered at 0, such as the vectors of optical flow."""
        if self.maps is not None and spec.vectors:
            x, y = self.maps.of_vectors(values[..., 0], values[..., 1])
            values = jnp.concatenate([jnp.stack([x, y], axis=-1), values[..., 2:]], axis=-1)
        if self.is_flipped is None:
            return values
        flip = self.is_flipped.reshape(-1, *(1,) * (values.ndim - 1))
        if isinstance(spec.mirror, Negate):
            sign = jnp.ones(values.shape[-1], values.dtype).at[jnp.array(spec.mirror.channels)].set(-1)
            values = jnp.where(flip, values * sign, values)
        if isinstance(spec.mirror, Permute):
            values = jnp.where(flip, values[:, :, jnp.array(spec.mirror.order)], values)
        return values

    def of_points(self, points: jax.Array, height: int | None, width: int | None) -> tuple[jax.Array, jax.Array]:
        """Points [B, T, K, C] as fractions of the transformed image, and which of them lie inside, bool [B, T, K].

        Args:
          points: x, y as fractions of the image as loaded, and further channels, which are kept.
          height, width: of that image, in pixels; None if there is no image, and nothing is cropped.
        """
        x, y, rest = points[..., 0], points[..., 1], points[..., 2:]
        if self.maps is not None:
            x, y = self.maps.of_vectors(x - 0.5, y - 0.5)
            down, right = (a.reshape(-1, 1, 1) for a in (self.maps.down, self.maps.right))
            x, y = x + 0.5 + right, y + 0.5 + down
        if self.size is not None and height is not None and width is not None:
            top: Any = (height - self.size) // 2
            left: Any = (width - self.size) // 2
            if self.offsets is not None:
                top, left = (a.reshape(-1, 1, 1) for a in self.offsets.T)
            x, y = (x * width - left) / self.size, (y * height - top) / self.size
        if self.is_flipped is not None:
            x = jnp.where(self.is_flipped.reshape(-1, 1, 1), 1 - x, x)
        within = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
        return jnp.concatenate([jnp.stack([x, y], axis=-1), rest], axis=-1), within
