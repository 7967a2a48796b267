"""Preprocessing of a batch on the device, inside the step: warp, crop, flip, color, normalize, erase, mix."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from vidjax.data.flip_rule import FlipRule, why_flip_not_allowed
from vidjax.data.inputs import RGB, Input, Permute
from vidjax.data.records import Batch
from vidjax.errors import OptionError
from vidjax.preprocessing import augment
from vidjax.preprocessing.augment import ColorJitter
from vidjax.preprocessing.erasing import Erasing, random_erasing
from vidjax.preprocessing.geometry import Geometry
from vidjax.preprocessing.mixing import MixedLabels, Mixing, mix
from vidjax.preprocessing.warp import Warp, draw_warp

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601

Labels = jax.Array | MixedLabels  # int [B], or those of mixed examples


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Turns a batch from the host into the inputs of the model.

    Random parameters are drawn once per example and applied to each of its inputs as its record (`Input`) says.

    Attributes:
      crop: side of the square that the model sees, in pixels: a random crop in training, the
        center crop in evaluation. None: no crop.
      flip: mirror half of the training clips.
      mirror: the data source's rule for flips; a permutation exchanges the labels with the flip.
      warp: rotation, zoom and shift in training, of the whole input, before the crop.
      color: color jitter in training, of inputs in color.
      erasing: random erasing in training, of images.
      mixing: mixup and cutmix in training, of images.
      mean, std: of images without their own, one number or one for each channel: v becomes (v - mean) / std.
      dtype: of the result.
      evaluation_crop: `crop` in evaluation, if it differs.
      inputs: of the model.

    Raises:
      OptionError: for a flip or a mixture that the source or an input does not allow, or a mean of other channels.
    """

    crop: int | None = None
    flip: bool = False
    mirror: FlipRule = None
    warp: Warp = dataclasses.field(default_factory=Warp)
    color: ColorJitter = dataclasses.field(default_factory=ColorJitter)
    erasing: Erasing = dataclasses.field(default_factory=Erasing)
    mixing: Mixing = dataclasses.field(default_factory=Mixing)
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    dtype: Any = jnp.float32
    evaluation_crop: int | None = None
    inputs: tuple[Input, ...] = (RGB,)

    def __post_init__(self):
        refusal = why_flip_not_allowed(self.mirror, self.inputs)
        if self.flip and refusal:
            raise OptionError(f"{{flip}}=True, but {refusal}: turn the flip off", ["flip"])
        for each in self.inputs:
            for key in ("mean", "std"):
                common, channels = getattr(self, key), each.shape[-1]
                if each.space == "image" and getattr(each, key) is None and len(_as_tuple(common)) not in (1, channels):
                    raise OptionError(
                        f"{{{key}}}={common}: give one number, or one for each of the {channels} channels of"
                        f" {each.stream_name}",
                        [key],
                    )
        others = [each.stream_name for each in self.inputs if each.space != "image"]
        if self.mixing.active and others:
            raise OptionError(
                f"{{mixup}} and {{cutmix}} mix images, and {others[0]} is not an image: leave them out",
                ["mixup", "cutmix"],
            )

    def training(self, batch: Batch, key: jax.Array) -> tuple[dict[str, jax.Array], Labels]:
        """Augments and normalizes a batch; random draws depend on (key, global example number).

        Returns:
          inputs by name, float [B, T, crop, crop, C] of images, and masks; labels int [B], or `MixedLabels`.
        """
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch.index)
        crop_keys, flip_keys, color_keys, warp_keys, erasing_keys, mixing_keys = (
            jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, purpose) for purpose in range(6)
        )
        label, picture = batch.label, self._image_size(batch)
        geometry = Geometry(draw_warp(self.warp, warp_keys, self.dtype)) if self.warp.active else Geometry()
        if self.crop is not None and picture is not None:
            offsets = augment.sample_crop_offsets(crop_keys, (picture[0] - self.crop, picture[1] - self.crop))
            geometry = geometry._replace(size=self.crop, offsets=offsets)
        if self.flip:
            flip = jax.vmap(jax.random.bernoulli)(flip_keys)
            geometry = geometry._replace(is_flipped=flip)
            if isinstance(self.mirror, tuple):
                label = jnp.where(flip, jnp.asarray(self.mirror, label.dtype)[label], label)
        seen = self._apply_geometry(batch, geometry, color_keys if self.color.active else None)
        images = [each.name for each in self.inputs if each.space == "image"]
        if self.erasing.probability:
            seen |= {name: random_erasing(seen[name], self.erasing, erasing_keys) for name in images}
        if not self.mixing.active:
            return seen, label
        for name in images:
            seen[name], mixed = mix(seen[name], label, self.mixing, mixing_keys)
        return seen, mixed

    def evaluation(self, batch: Batch) -> dict[str, jax.Array]:
        """Mirrors the flipped views, center-crops and normalizes a batch.

        Returns:
          inputs by name, float [B, T, evaluation_crop, evaluation_crop, C] of images, and masks.
        """
        picture, size, mirrored = self._image_size(batch), self.evaluation_crop or self.crop, batch.mirrored
        geometry = Geometry(size=size, is_flipped=mirrored)
        if mirrored is not None and size is not None and picture is not None:
            # The center crop of the mirror image: one pixel off that of the image if the margin is odd.
            top, left = ((side - size) // 2 for side in picture)
            right = picture[1] - size - left
            offsets = jnp.where(mirrored[:, None], jnp.array([top, right]), jnp.array([top, left]))
            geometry = geometry._replace(offsets=offsets)
        return self._apply_geometry(batch, geometry, None)

    def specs(self, frames: int, side: int, batch: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Name -> shape and dtype of a batch of each input, and of its mask, as they leave.

        Args:
          frames: T, of a clip.
          side: of images, in pixels.
          batch: B.
        """
        specs = {}
        for each in self.inputs:
            shape = (batch, *each.model_shape(frames, side))
            specs[each.name] = jax.ShapeDtypeStruct(shape, self.dtype if each.is_float else each.dtype)
            if each.is_masked:
                specs[f"{each.name}_mask"] = jax.ShapeDtypeStruct(shape[:-1], jnp.bool_)
        return specs

    def _image_size(self, batch: Batch) -> tuple[int, int] | None:
        """Height and width of the images that the host delivers; None where there are none."""
        for each in self.inputs:
            if each.space == "image":
                _, _, height, width, _ = batch.inputs[each.name].shape
                return height, width
        return None

    def _apply_geometry(self, batch: Batch, geometry: Geometry, color_keys: jax.Array | None) -> dict[str, jax.Array]:
        """All inputs and masks as the model sees them, except for erasing and mixing."""
        seen, picture = {}, self._image_size(batch) or (None, None)
        for each in self.inputs:
            values, mask = batch.inputs[each.name], batch.inputs.get(f"{each.name}_mask")
            if each.space == "image":
                values = geometry.of_images(values).astype(self.dtype)
                if each.color and color_keys is not None:
                    values = augment.color_jitter(values, self.color, color_keys)
            elif each.space == "points":
                values, within = geometry.of_points(values.astype(self.dtype), *picture)
                mask = within if mask is None else mask & within
            if each.is_float:
                mean, std = self._mean_and_std(each)
                values = geometry.of_values(values.astype(self.dtype) - mean, each) / std
            if mask is not None:
                if isinstance(each.mirror, Permute):
                    mask = geometry.of_values(mask[..., None], each)[..., 0]
                values = jnp.where(mask[..., None], values, 0)
                seen[f"{each.name}_mask"] = mask
            seen[each.name] = _as_seen(values, each)
        return seen

    def _mean_and_std(self, each: Input) -> tuple[Any, Any]:
        """What is subtracted and what divides: a number, or an array [C]."""
        common = (self.mean, self.std) if each.space == "image" else (0.0, 1.0)
        own = (
            default if value is None else value for value, default in zip((each.mean, each.std), common, strict=True)
        )
        mean, std = (self._per_channel(value) for value in own)
        return mean, std

    def _per_channel(self, value: float | tuple[float, ...]) -> Any:
        # A number is kept as such: it takes the type of the array that it is subtracted from.
        if not isinstance(value, tuple):
            return value
        return value[0] if len(value) == 1 else jnp.array(value, self.dtype)


def _as_seen(values: jax.Array, each: Input) -> jax.Array:
    """What the model sees of normalized pictures [B, T * per_frame, H, W, C]."""
    if each.seen == "difference":
        return values[:, 1::2] - values[:, ::2]
    if each.seen == "as it is":
        return values
    luma = (values * jnp.asarray(_LUMA, values.dtype)).sum(
        -1, keepdims=True
    )  # a product would be less precise on a GPU
    if each.seen == "gray":
        return luma
    return jnp.concatenate(jnp.gradient(luma, axis=(3, 2)), axis=-1)


def _as_tuple(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
