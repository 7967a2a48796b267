"""Mixup and cutmix of whole clips: each example is mixed with its neighbor in the batch.

The neighbor of example number i is i + 1 for an even i and i - 1 for an odd one. Batches and their parts on
each device begin at an even number, so that the pairs are the same for any number of devices (of one process: of
several, each has every n-th example). Neighbors are random examples, since the stream is shuffled. How an example is
mixed is drawn for it alone.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How examples are mixed; where both are on, each example takes either with probability 1/2.

    Attributes:
      mixup: alpha of mixup (Zhang et al. 2018): the weight of the example is drawn from Beta(alpha, alpha) and
        multiplies its pixels, the rest its neighbor's. 0 is off.
      cutmix: alpha of cutmix (Yun et al. 2019): a rectangle shows the neighbor, the same in all frames; its
        share of the frame is 1 - weight before it is cut off at the border. 0 is off.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def active(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.mixup or self.cutmix)


class MixedLabels(NamedTuple):
    """Labels of mixed examples.

    Attributes:
      label: int [B], of the example itself.
      partner: int [B], of the one that was mixed into it.
      weight: float [B] in 0..1, share of the example itself.
    """

    label: jax.Array
    partner: jax.Array
    weight: jax.Array

    @property
    def dominant(self) -> jax.Array:
        """The label with the larger share, int [B]."""
        return jnp.where(self.weight >= 0.5, self.label, self.partner)


def mix(clips: jax.Array, label: jax.Array, mixing: Mixing, keys: jax.Array) -> tuple[jax.Array, MixedLabels]:
    """Mixes each clip with its neighbor's.

    Args:
      clips: float [B, T, H, W, C], B even.
      label: int [B].
      mixing: how.
      keys: PRNG keys [B].

    Returns:
      The mixed clips and their labels.
    """
    _, _, h, w, _ = clips.shape
    shares, weight = jax.vmap(lambda key: _shares(key, mixing, h, w, clips.dtype))(keys)
    shares = shares[:, None, :, :, None]
    mixed = shares * clips + (1 - shares) * swap_neighbors(clips)
    return mixed, MixedLabels(label, swap_neighbors(label), weight)


def swap_neighbors(values: jax.Array) -> jax.Array:
    """Swaps adjacent pairs along the first axis, [B, ...]: 0 and 1, 2 and 3 and so on."""
    size, *rest = values.shape
    if size % 2:
        raise ValueError(f"mixup and cutmix pair the examples of a batch: it needs an even number, not {size}")
    return values.reshape(size // 2, 2, *rest)[:, ::-1].reshape(values.shape)


def _shares(key: jax.Array, mixing: Mixing, h: int, w: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """Draws the share of the example itself in each pixel, [H, W], and their mean."""
    choice_key, mixup_key, cutmix_key, place_key = jax.random.split(key, 4)
    shares, weight = jnp.ones((h, w), dtype), jnp.ones((), dtype)
    if mixing.cutmix:
        weight = jax.random.beta(cutmix_key, mixing.cutmix, mixing.cutmix, dtype=dtype)
        shares = 1 - _rectangle(place_key, 1 - weight, h, w, dtype)
        weight = shares.mean()
    if mixing.mixup:
        blend = jax.random.beta(mixup_key, mixing.mixup, mixing.mixup, dtype=dtype)
        chosen = jax.random.bernoulli(choice_key) if mixing.cutmix else jnp.array(True)
        shares, weight = jnp.where(chosen, blend, shares), jnp.where(chosen, blend, weight)
    return shares, weight


def _rectangle(key: jax.Array, area: jax.Array, h: int, w: int, dtype: jnp.dtype) -> jax.Array:
    """Draws a rectangle with the frame's aspect ratio and this share of it: 1 inside, 0 outside, [H, W].

    Its center is uniform over the frame, so that the border may cut it (Yun et al. 2019, section 3.1).
    """
    size = jnp.array([h, w], dtype)
    middle = jnp.floor(jax.random.uniform(key, (2,), dtype) * size)
    extent = jnp.floor(jnp.sqrt(area) * size)
    first = middle - jnp.floor(extent / 2)
    (top, left), (bottom, right) = first, first + extent
    rows, columns = jnp.arange(h)[:, None], jnp.arange(w)[None, :]
    return ((rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)).astype(dtype)
