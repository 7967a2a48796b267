"""Random erasing (Zhong et al. 2020) on the device: one rectangle per clip, the same in all frames."""

import dataclasses
import math

import jax
import jax.numpy as jnp

_ATTEMPTS = 10  # a clip for which none of them fits is left unchanged


@dataclasses.dataclass(frozen=True)
class Erasing:
    """Options of random erasing; the defaults are the paper's (section 4.1), but for its probability of 0.5.

    Attributes:
      probability: of erasing a rectangle; 0 is off.
      area_min, area_max: the rectangle's share of the frame is drawn uniformly between them.
      aspect_min: its height / width is drawn from [aspect_min, 1 / aspect_min], uniformly in the logarithm, so
        that tall and wide ones are equally frequent (the paper's own draw prefers tall ones).
    """

    probability: float = 0.0
    area_min: float = 0.02
    area_max: float = 0.4
    aspect_min: float = 0.3


def random_erasing(clips: jax.Array, erasing: Erasing, keys: jax.Array) -> jax.Array:
    """Sets a rectangle to 0 in some clips, which is the mean color after normalization.

    Args:
      clips: normalized, float [B, T, H, W, C].
      erasing: how often, and how large.
      keys: PRNG keys [B].

    Returns:
      [B, T, H, W, C].
    """
    _, _, h, w, _ = clips.shape
    erased = jax.vmap(lambda key: _erased(key, erasing, h, w, clips.dtype))(keys)
    return jnp.where(erased[:, None, :, :, None], jnp.zeros((), clips.dtype), clips)


def _erased(key: jax.Array, erasing: Erasing, h: int, w: int, dtype: jnp.dtype) -> jax.Array:
    """Draws which pixels of a clip are erased, bool [H, W]."""
    chance_key, area_key, aspect_key, place_key = jax.random.split(key, 4)
    area = h * w * jax.random.uniform(area_key, (_ATTEMPTS,), dtype, erasing.area_min, erasing.area_max)
    stretch = -math.log(erasing.aspect_min)
    aspect = jnp.exp(jax.random.uniform(aspect_key, (_ATTEMPTS,), dtype, -stretch, stretch))
    heights, widths = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
    fits = (heights < h) & (widths < w)
    first = fits.argmax()
    height, width = heights[first], widths[first]
    free = jnp.stack([h - height, w - width]) + 1
    top, left = jnp.floor(jax.random.uniform(place_key, (2,), dtype) * free)
    rows, columns = jnp.arange(h)[:, None], jnp.arange(w)[None, :]
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    return inside & fits.any() & jax.random.bernoulli(chance_key, erasing.probability)
