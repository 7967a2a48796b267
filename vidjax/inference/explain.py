"""Why a network gives a clip its class: Grad-CAM over the frames, and how much the network depends on them."""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.data.pipeline import evaluation_batches
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, VideoError
from vidjax.evaluation import grad_cam
from vidjax.evaluation.deletion import Deletion, deletions, moved
from vidjax.evaluation.scores import average_views
from vidjax.inference.network import TrainedNetwork
from vidjax.inference.videos import inspected, video_input
from vidjax.layers.convolution import native_operations
from vidjax.options.suggestions import did_you_mean
from vidjax.reporting import pictures
from vidjax.system import devices
from vidjax.training.parallel import JitStrategy

_CONTROLS = 2  # maps whose curves are averaged


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What in a clip speaks for a class.

    Attributes:
      label: name of the class.
      probability: of it, for this clip.
      predicted: name of the most probable class.
      layer: whose maps are shown.
      frames: uint8 [T, S, S, 3], as the network sees them.
      places: T', h, w of the maps.
      maps: float32 [T, S, S] in 0..1: those at the size of the frames.
      deletion: by these maps.
      control: the mean curve by the same maps, moved to other places.
    """

    label: str
    probability: float
    predicted: str
    layer: grad_cam.FeatureMap
    frames: np.ndarray
    places: tuple[int, int, int]
    maps: np.ndarray
    deletion: Deletion
    control: Deletion


def explain(
    network: TrainedNetwork, video: str | os.PathLike[str], label: str | None = None, layer: str | None = None
) -> Explanation:
    """Explains the class of the clip in the middle of a video.

    Args:
      network: a trained network.
      video: a video file or a folder of images.
      label: name of the class that is explained; None: the most probable one.
      layer: path of the module whose maps are taken; None: the last one before pooling.

    Raises:
      ConfigError: for an unknown class or layer, or a network without feature maps or of other inputs than video.
      VideoError: if the video cannot be read.
    """
    spec = video_input(network)
    if label is not None and label not in network.classes:
        raise ConfigError(f"{label!r} is no class of {network.name}{did_you_mean(label, network.classes)}")
    batch = _middle_clip(network, os.fspath(video))
    seen: dict[str, Any] = jax.jit(network.preprocessing.evaluation)(batch)
    with native_operations(network.native_convolutions):
        chosen = grad_cam.choose_layer(grad_cam.feature_maps(network.module, network.variables, seen), layer)
        strategy: Any = JitStrategy(devices.available()[:1])
        variables: Any = jax.device_put(network.variables, strategy.placement)
        scores = strategy.compile_eval(network.scores)

        def probabilities(clip: np.ndarray) -> np.ndarray:
            return average_views(jax.device_get(scores(variables, {**seen, spec.name: clip})), network.average)

        clip = np.asarray(seen[spec.name])
        found = probabilities(clip)
        number = network.classes.index(label) if label is not None else int(found.argmax())

        def explained(variables: Any, seen: Any) -> jax.Array:
            return grad_cam.grad_cam(network.module, variables, seen, jnp.array([number]), chosen)

        cam: jax.Array = strategy.compile_eval(explained)(variables, seen)
        _, t, h, w, _ = clip.shape
        maps = np.asarray(grad_cam.upsampled(cam, t, h, w))[0]

        def of_class(clip: np.ndarray) -> float:
            return float(probabilities(clip)[number])

        maps_and_controls = [maps, *(moved(maps, seed) for seed in range(_CONTROLS))]
        curve, *controls = deletions(clip[0], maps_and_controls, of_class)
    return Explanation(
        label=network.classes[number],
        probability=float(found[number]),
        predicted=network.classes[int(found.argmax())],
        layer=chosen,
        frames=pictures.centered(batch.inputs[spec.name][0], h),
        places=(cam.shape[1], cam.shape[2], cam.shape[3]),
        maps=maps,
        deletion=curve,
        control=Deletion(curve.shares, np.mean([each.probabilities for each in controls], axis=0)),
    )


def _middle_clip(network: TrainedNetwork, path: str) -> Any:
    """A batch of one clip; VideoError if it cannot be read."""
    (video,) = inspected([path], network)
    if video.refused is not None:
        raise VideoError(path, video.refused)
    views = ViewSpec(side=network.views.side)
    with evaluation_batches([video], network.clip, views, inputs=network.inputs, batch_size=1, threads=0) as batches:
        batch = next(batches)
        if not batch.mask.all():
            raise VideoError(path, batches.failed.get(path, "cannot be read"))
    return batch
