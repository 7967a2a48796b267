"""Grad-CAM: which places of a clip speak for a class, for any model that has maps of features.

Nothing is asked of a model: the maps are the outputs of its modules, found by watching their calls.

References:
  Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidjax.errors import ConfigError
from vidjax.models import calling
from vidjax.options.suggestions import did_you_mean

_LISTED = 12  # layers that an error names


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """The output of a module that still has places: [B, T', h, w, C], or [B * T', h, w, C].

    Attributes:
      path: of the module, e.g. "features/conv5".
      shape: of the output of one call, with B = 1.
      calls: how often the module is applied to a clip, e.g. to several towers that share their weights.
    """

    path: str
    shape: tuple[int, ...]
    calls: int = 1

    @property
    def places(self) -> int:
        """The number of places, h * w."""
        return self.shape[-3] * self.shape[-2]


def feature_maps(model: nn.Module, variables: Any, inputs: Mapping[str, Any]) -> list[FeatureMap]:
    """The feature maps of a model of at least 2 x 2 places, in the order in which they are finished.

    Args:
      model: the model.
      variables: its variables, possibly abstract.
      inputs: of one example, as preprocessing gives them, possibly abstract.
    """
    found: dict[str, FeatureMap] = {}

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = call(*args, **kwargs)
        path = _path(context)
        if path is not None and getattr(result, "ndim", 0) in (4, 5) and min(result.shape[-3:-1]) > 1:
            before = found.pop(path, None)  # the order is that of the last call
            found[path] = FeatureMap(path, tuple(result.shape), before.calls + 1 if before else 1)
        return result

    with nn.intercept_methods(note):
        jax.eval_shape(lambda v, x: calling.apply(model, v, {**x, "train": False}), variables, dict(inputs))
    return list(found.values())


def choose_layer(maps: Sequence[FeatureMap], path: str | None = None) -> FeatureMap:
    """The last feature map, before it is pooled; or the one of a module.

    Args:
      maps: of a model, see `feature_maps`.
      path: of the module; None: the last one.

    Raises:
      ConfigError: if there is none, or none of that path.
    """
    if path is not None:
        for each in maps:
            if each.path == path:
                return each
        names = [each.path for each in maps]
        raise ConfigError(
            f"{path!r} is no module with feature maps{did_you_mean(path, names)}"
            f" (the last ones: {', '.join(names[-_LISTED:]) or 'none'})"
        )
    if not maps:
        raise ConfigError("the network has no feature map of 2x2 places or more, so nothing of a frame can be shown")
    *_, last = maps
    # If the last step of a module is pooling, what it called last has finer maps.
    inner = maps[-2] if len(maps) > 1 and maps[-2].path.startswith(f"{last.path}/") else last
    return inner if inner.places > last.places else last


def grad_cam(
    model: nn.Module, variables: Any, inputs: Mapping[str, jax.Array], label: jax.Array, layer: FeatureMap
) -> jax.Array:
    """The places that speak for a class: ReLU of the maps' sum, weighted by the mean gradient of the class's score.

        cam[t, y, x] = max(0, sum_c alpha_c A[t, y, x, c]),   alpha_c = mean over t, y, x of d score / d A[t, y, x, c]

    The score is the mean over the model's positions, before any softmax. Gradients are taken in reverse mode.

    Args:
      model: the model.
      variables: its variables.
      inputs: by name, as preprocessing gives them, [B, T, ...].
      label: int [B], the class of each example.
      layer: whose output is A; of several calls the maps follow each other in time.

    Returns:
      float32 [B, T', h, w].
    """
    batch = next(iter(inputs.values())).shape[0]

    def score(offsets: list[jax.Array] | None) -> tuple[jax.Array, list[jax.Array]]:
        seen: list[jax.Array] = []

        def shift(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            result = call(*args, **kwargs)
            if _path(context) != layer.path:
                return result
            number = len(seen)
            seen.append(result)
            return result if offsets is None else result + offsets[number]

        with nn.intercept_methods(shift):
            output = calling.apply(model, variables, {**inputs, "train": False})
        logits = output.logits.astype(jnp.float32).mean(axis=1)
        return jnp.take_along_axis(logits, label[:, None], axis=1).sum(), seen

    shapes = jax.eval_shape(lambda: score(None))[1]
    offsets = [jnp.zeros(each.shape, each.dtype) for each in shapes]
    gradients, maps = jax.grad(score, has_aux=True)(offsets)
    features, slopes = (jnp.concatenate([_unfolded(each, batch) for each in parts], 1) for parts in (maps, gradients))
    weights = slopes.mean(axis=(1, 2, 3), keepdims=True)
    return nn.relu((weights * features).sum(axis=-1))


def upsampled(cam: jax.Array, frames: int, height: int, width: int) -> jax.Array:
    """Maps [B, T', h, w] at the size of the frames, [B, T, H, W], linearly; the largest value of each clip is 1."""
    whole = jax.image.resize(cam, (cam.shape[0], frames, height, width), "linear")
    return whole / jnp.maximum(whole.max(axis=(1, 2, 3), keepdims=True), 1e-12)


def _path(context: Any) -> str | None:
    """The path of a module within the model, of a call of it; None for other methods, and for the model itself."""
    return "/".join(context.module.path) if context.method_name == "__call__" and context.module.path else None


def _unfolded(maps: jax.Array, batch: int) -> jax.Array:
    """Float32 [B, T', h, w, C] of [B, T', h, w, C] or [B * T', h, w, C]."""
    return maps.astype(jnp.float32).reshape(batch, -1, *maps.shape[-3:])
