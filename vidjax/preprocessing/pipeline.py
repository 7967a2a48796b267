"""What happens to a batch on the device, inside the step: warp, crop, flip, colour, normalise, erase, mix."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from vidjax.data.records import Batch, Mirror
from vidjax.errors import ConfigError
from vidjax.preprocessing import augment
from vidjax.preprocessing.augment import ColourJitter
from vidjax.preprocessing.erasing import Erasing, random_erasing
from vidjax.preprocessing.mixing import MixedLabels, Mixing, mix
from vidjax.preprocessing.warp import Warp, random_warp

Labels = jax.Array | MixedLabels  # int [B], or what mixed examples are held to


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Turns uint8 clips into what the model sees.

    Attributes:
      crop: side of the square that the model sees, in pixels: cut at random from what the host
        delivers in training, from its centre in evaluation. None: all of it.
      flip: mirror half of the training clips.
      mirror: the data source's rule for flips; a permutation exchanges the labels with the flip.
      warp: rotation, zoom and shift in training, of all that the host delivers, before the crop.
      colour: colour jitter in training.
      erasing: random erasing in training.
      mixing: mixup and cutmix in training.
      mean, std: a pixel value p in 0..255 becomes (p - mean) / std.
      dtype: of the result.
      evaluation_crop: side of the square in evaluation, where it is another one.
    """

    crop: int | None = None
    flip: bool = False
    mirror: Mirror = None
    warp: Warp = dataclasses.field(default_factory=Warp)
    colour: ColourJitter = dataclasses.field(default_factory=ColourJitter)
    erasing: Erasing = dataclasses.field(default_factory=Erasing)
    mixing: Mixing = dataclasses.field(default_factory=Mixing)
    mean: float = 0.0
    std: float = 1.0
    dtype: Any = jnp.float32
    evaluation_crop: int | None = None

    def __post_init__(self):
        if self.flip:
            require_mirror(self.mirror, "preprocessing.flip=True")

    def training(self, batch: Batch, key: jax.Array) -> tuple[dict[str, jax.Array], Labels]:
        """Augments and normalises a batch; draws belong to (key, global example number).

        Returns:
          inputs by modality name, float [B, T, crop, crop, C]; labels int [B], or `MixedLabels`.
        """
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch.index)
        crop_keys, flip_keys, colour_keys, warp_keys, erasing_keys, mixing_keys = (
            jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, purpose) for purpose in range(6)
        )
        clips, label = batch.inputs["rgb"], batch.label
        if self.warp.active:
            clips = random_warp(clips.astype(self.dtype), self.warp, warp_keys)
        if self.crop is not None:
            clips = augment.random_crop(clips, self.crop, crop_keys)
        if self.flip:
            flip = jax.vmap(jax.random.bernoulli)(flip_keys)
            clips = augment.flip_where(clips, flip)
            if isinstance(self.mirror, tuple):
                label = jnp.where(flip, jnp.asarray(self.mirror, label.dtype)[label], label)
        clips = clips.astype(self.dtype)
        if self.colour.active:
            clips = augment.colour_jitter(clips, self.colour, colour_keys)
        clips = self._normalise(clips)
        if self.erasing.probability:
            clips = random_erasing(clips, self.erasing, erasing_keys)
        if self.mixing.active:
            clips, mixed = mix(clips, label, self.mixing, mixing_keys)
            return {"rgb": clips}, mixed
        return {"rgb": clips}, label

    def evaluation(self, batch: Batch) -> dict[str, jax.Array]:
        """Centre-crops and normalises a batch.

        Returns:
          inputs by modality name, float [B, T, evaluation_crop, evaluation_crop, C].
        """
        clips, crop = batch.inputs["rgb"], self.evaluation_crop or self.crop
        if crop is not None:
            clips = augment.centre_crop(clips, crop)
        return {"rgb": self._normalise(clips.astype(self.dtype))}

    def _normalise(self, clips: jax.Array) -> jax.Array:
        return (clips - self.mean) / self.std


def require_mirror(mirror: Mirror, key: str) -> None:
    """Refuses a flip that the data source does not allow.

    Raises:
      ConfigError: naming `key`, the config key that asks for the flip, with its value.
    """
    if mirror is None:
        raise ConfigError(
            f"{key}, but this data source does not say what a mirror image does to its classes:"
            " set data.mirror=invariant if a mirrored clip keeps its class, or turn the flip off"
        )
    if mirror == "forbidden":
        raise ConfigError(f"{key}, but this data source forbids mirror images: turn the flip off")
