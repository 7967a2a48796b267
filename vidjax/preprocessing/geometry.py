"""Where the inputs of an example look: one warp, one crop and one mirror image for all of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vidjax.data.inputs import Input, Negate, Permute
from vidjax.preprocessing import augment
from vidjax.preprocessing.warp import Affine, warped


class Geometry(NamedTuple):
    """What is done to images and points, in this order; None: nothing of it.

    Attributes:
      maps: the warp, of what the host delivers.
      size: in pixels, of the square that is cut out of it.
      places: int32 [B, 2], top and left of that square; None: its centre.
      is_flipped: bool [B], which examples are mirrored left to right.
    """

    maps: Affine | None = None
    size: int | None = None
    places: jax.Array | None = None
    is_flipped: jax.Array | None = None

    def of_images(self, clips: jax.Array) -> jax.Array:
        """Images [B, T, H, W, C] as they are seen; float where they are warped."""
        if self.maps is not None:
            clips = warped(clips.astype(self.maps.angle.dtype), self.maps)
        if self.size is not None:
            if self.places is None:
                clips = augment.centre_crop(clips, self.size)
            else:
                clips = augment.crop_at(clips, self.size, self.places)
        return augment.flip_where(clips, self.is_flipped) if self.is_flipped is not None else clips

    def of_values(self, values: jax.Array, spec: Input) -> jax.Array:
        """What a warp and a mirror image do to values [B, ..., C] around 0: to the vectors of flow, say."""
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
        """Points [B, T, K, C] as shares of the picture that is seen, and which of them lie within it, bool [B, T, K].

        Args:
          points: x, y as shares of what the host delivers, and further channels, which stay.
          height, width: of that, in pixels; None where there is no image, and nothing is cut.
        """
        x, y, rest = points[..., 0], points[..., 1], points[..., 2:]
        if self.maps is not None:
            x, y = self.maps.of_vectors(x - 0.5, y - 0.5)
            down, right = (a.reshape(-1, 1, 1) for a in (self.maps.down, self.maps.right))
            x, y = x + 0.5 + right, y + 0.5 + down
        if self.size is not None and height is not None and width is not None:
            top: Any = (height - self.size) // 2
            left: Any = (width - self.size) // 2
            if self.places is not None:
                top, left = (a.reshape(-1, 1, 1) for a in self.places.T)
            x, y = (x * width - left) / self.size, (y * height - top) / self.size
        if self.is_flipped is not None:
            x = jnp.where(self.is_flipped.reshape(-1, 1, 1), 1 - x, x)
        within = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
        return jnp.concatenate([jnp.stack([x, y], axis=-1), rest], axis=-1), within
