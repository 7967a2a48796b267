"""Features that a trained network gives of any videos: `python -m vidjax features`."""

import dataclasses
import importlib.metadata
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidjax import models
from vidjax.data import sampling
from vidjax.data.pipeline import evaluation_batches
from vidjax.data.records import Batch, Video
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError
from vidjax.inference.feature_store import FeatureStore, compute
from vidjax.inference.features import NAME, settings_of
from vidjax.inference.network import TrainedNetwork
from vidjax.inference.videos import Progress, TitledProgress, inspected, untracked, video_stream
from vidjax.layers.convolution import Conv, native_operations
from vidjax.system import devices, files
from vidjax.training.parallel import JitStrategy

FORMATS = (".npz", ".safetensors")


@dataclasses.dataclass(frozen=True)
class VideoFeatures:
    """Features of videos.

    Attributes:
      videos: paths of those that could be read.
      features: float32 [videos, V, N, D]: V clips of a video, N places of a clip, D numbers of a place.
      times: float64 [videos, V, 2], seconds at which a clip begins and ends; nan where a video states no frame rate.
      manifest: what they are of, for JSON.
      failed: path -> reason of the others.
    """

    videos: tuple[str, ...]
    features: np.ndarray
    times: np.ndarray
    manifest: dict[str, Any]
    failed: dict[str, str]

    def write(self, path: Path) -> None:
        """Writes them as .npz (videos, features, times, manifest), or .safetensors with the rest in its metadata.

        Raises:
          ConfigError: for another ending.
        """
        check_format(path)
        manifest = json.dumps(self.manifest)
        if path.suffix == ".npz":
            content = io.BytesIO()
            np.savez(content, videos=np.array(self.videos), features=self.features, times=self.times, manifest=manifest)
            files.write_bytes(path, content.getvalue())
            return
        from safetensors.numpy import save

        arrays = {"features": self.features, "times": self.times}
        files.write_bytes(path, save(arrays, {"videos": json.dumps(self.videos), "manifest": manifest}))


def check_format(path: Path) -> None:
    """Refuses a file that is not of one of `FORMATS`.

    Raises:
      ConfigError: naming it.
    """
    if path.suffix not in FORMATS:
        raise ConfigError(f"--out={path}: give a name that ends in {' or '.join(FORMATS)}")


def extract(
    network: TrainedNetwork,
    paths: Sequence[str],
    *,
    clips: int | None = None,
    progress: Progress = lambda records, total: records,
    computing: TitledProgress = untracked,
) -> VideoFeatures:
    """Computes the features of videos; those that were computed before are taken from the cache folder.

    They are `Output.aux["features"]` where the model has such, else what its last layer scores the classes by.

    Args:
      network: of pictures, or of what is computed from them.
      paths: of videos (`inference.videos.listed_videos`).
      clips: of a video; None: as many as the network sees in testing.
      progress, computing: wrap the inspection of the files, and the computation of streams such as flow.

    Raises:
      ConfigError: if the network has no such features, or takes something else than videos.
    """
    views = ViewSpec(clips or network.views.clips, side=network.views.side)
    videos = inspected(paths, network, progress, computing)
    settings = settings_of(
        network.module, network.specs(), network.preprocessing, network.clip, native=network.native_convolutions
    )
    store = FeatureStore.of(_flat(network), *settings, views)
    strategy = JitStrategy(devices.available()[:1])
    variables = jax.device_put(network.variables, strategy.placement)
    step = jax.jit(lambda variables, batch: _features(network, variables, batch))

    def batches(missing: Sequence[Video]) -> Any:
        return evaluation_batches(missing, network.clip, views, inputs=network.inputs, batch_size=network.batch_size)

    with native_operations(network.native_convolutions):
        failed = compute(
            videos,
            store,
            lambda batch: step(variables, strategy.put_batch(batch)),
            views,
            batches,
            network.batch_size,
            "features",
        )
    failed |= {video.id: video.refused for video in videos if video.refused is not None}
    done = [video for video in videos if video.id not in failed]
    rows = [store.read(video) for video in done]
    manifest = {
        "network": network.name,
        "weights": network.weights,
        "step": network.step,
        "key": store.folder.name,
        "inputs": " + ".join(each.describe(network.clip.frames, network.side) for each in network.inputs),
        "sampling": network.clip.describe_sampling(),
        "views": views.describe(),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "av")},
        "failed": failed,
    }
    return VideoFeatures(
        tuple(video.id for video in done),
        np.stack(rows) if rows else np.zeros((0, views.count, 0, 0), np.float32),
        np.array([_times(video, network, views) for video in done]).reshape(len(done), views.count, 2),
        manifest,
        failed,
    )


def _flat(network: TrainedNetwork) -> dict[str, np.ndarray]:
    return traverse_util.flatten_dict(network.variables, sep="/")


def _features(network: TrainedNetwork, variables: Any, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Float [B, N, D], and index [B] and mask [B] of the batch."""
    calls: list[tuple[Any, jax.Array, int]] = []  # of layers: whose, its input, its outputs

    def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        result = call(*args, **kwargs)
        if isinstance(context.module, nn.Dense | Conv) and context.method_name == "__call__":
            calls.append((context.module.path, args[0], result.shape[-1]))
        return result

    with nn.intercept_methods(note):
        output: models.Output = network.apply(variables, network.preprocessing.evaluation(batch))
    size = batch.index.shape[0]
    found = output.aux.get(NAME)
    if found is None:
        if not calls or calls[-1][2] != len(network.classes):
            raise ConfigError(f"{network.name}: no layer at the end of the network scores the classes: no features")
        last, *_ = calls[-1]
        inputs = [given for path, given, _ in calls if path == last]  # several, where towers share their weights
        found = jnp.concatenate([given.reshape(size, -1, given.shape[-1]) for given in inputs], axis=1)
    return found.reshape(size, -1, found.shape[-1]), batch.index, batch.mask


def _times(video: Video, network: TrainedNetwork, views: ViewSpec) -> Iterable[tuple[float, float]]:
    info, clip = video.streams[video_stream(network)].info, network.clip
    assert info is not None
    if info.fps is None:
        return [(float("nan"), float("nan"))] * views.count
    stride = sampling.stride_for_fps(info.fps, clip.fps) if clip.fps else float(clip.stride)
    rows = views.frame_indices(clip, info.frames, stride)
    return [(float(row.min() / info.fps), float((row.max() + 1) / info.fps)) for row in rows]
