"""Features of videos that the frozen part of a network gives, computed once and kept on disk.

A model that takes `features=` in place of its images skips the layers before them, whose variables it then does not
have (`trunk_paths`). Where none of these is trained, a run needs the features of each clip once: they are computed by
the ordinary pipeline and kept per video, so that an interrupted computation goes on, and training and evaluation read
them instead of videos.
"""

import dataclasses
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidjax import models
from vidjax.config import data, declarations, recipe
from vidjax.config.run import Reading, Run
from vidjax.data.clips import ClipSpec
from vidjax.data.inputs import Input
from vidjax.data.pipeline import evaluation_batches
from vidjax.data.records import Batch, Stream, Video
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError
from vidjax.inference.feature_store import FeatureStore, compute
from vidjax.layers.convolution import native_operations
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.training import parallel
from vidjax.training.state import TrainState

NAME = "features"  # of the model's argument, of its entry in `Output.aux`, and of the stream
# Fields of modules that change nothing before the features; a model may name more of its own in AFTER_FEATURES.
_AFTER_FEATURES = ("num_classes", "dropout", "fuse", "axis_name", "name", "parent")
# Preprocessing that differs between two uses of a clip in training.
_AUGMENTATIONS = (
    "flip",
    "brightness",
    "contrast",
    "saturation",
    "rotation",
    "zoom",
    "shift",
    "erasing",
    "mixup",
    "cutmix",
)


def feature_shape(model: nn.Module, inputs: Mapping[str, jax.ShapeDtypeStruct], name: str) -> tuple[int, int]:
    """(N, D): places per clip and numbers per place.

    Args:
      model: the network.
      inputs: shape and dtype of a batch of each input.
      name: of the network, for messages.

    Raises:
      ConfigError: if it has no features that could be computed once.
    """

    def output_of(values: Any) -> Any:
        return model.init_with_output(jax.random.key(0), **values)[0]

    with native_operations():
        output = jax.eval_shape(output_of, dict(inputs))
    features = output.aux.get(NAME) if isinstance(output, models.Output) else None
    if features is None or features.ndim != 3 or NAME not in models.accepted_arguments(model, {NAME: None}):
        raise ConfigError(f"model {name!r} has no features that can be computed once: leave train.features_once out")
    _, places, size = features.shape
    return places, size


def trunk_paths(model: nn.Module, inputs: Mapping[str, jax.ShapeDtypeStruct], shape: tuple[int, int]) -> set[str]:
    """The variables that the features come from, e.g. "params/trunk/stem/conv/kernel".

    Args:
      model: the network.
      inputs: shape and dtype of a batch of each input.
      shape: of its features, (N, D).
    """

    def variables(given: Mapping[str, Any]) -> set[str]:
        with native_operations():
            found: Any = jax.eval_shape(lambda values: model.init(jax.random.key(0), **values), dict(given))
        return set(traverse_util.flatten_dict(dict(found), sep="/"))

    return variables(inputs) - variables({NAME: jax.ShapeDtypeStruct((1, *shape), jnp.float32)})


def settings_of(
    model: nn.Module,
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    preprocessing: Preprocessing,
    clip: ClipSpec,
    *,
    native: bool,
    trunk: Collection[str] | None = None,
) -> tuple[Any, ...]:
    """What determines features besides weights, videos and views: the name of a `FeatureStore` is a hash of it.

    The code of all modules that are called before the features is part of it, so that an activation that is changed in
    a model of the user's own is no reason to read what the old one gave.

    Args:
      model: the network.
      inputs: shape and dtype of a batch of each input.
      preprocessing: on the device.
      clip: what is cut from a video.
      native: whether XLA's own convolutions compute them.
      trunk: the variables that the features come from (`trunk_paths`); None: all.
    """
    called: set[tuple[str, type]] = set()  # name of the submodule, or "", and class

    def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        called.add(("".join(context.module.path[:1]), type(context.module)))
        return call(*args, **kwargs)

    with nn.intercept_methods(note), native_operations():
        variables: Any = jax.eval_shape(lambda given: model.init(jax.random.key(0), **given), dict(inputs))
    paths = set(traverse_util.flatten_dict(dict(variables), sep="/"))
    before = {path.split("/")[1] for path in paths if trunk is None or path in trunk}
    after = {path.split("/")[1] for path in paths} - before
    kinds = {kind for name, kind in called if name not in after}
    code = sorted(f"{kind.__module__}.{kind.__qualname__} {_source(kind)}" for kind in kinds)
    fields = {
        field.name: _described(getattr(model, field.name))
        for field in dataclasses.fields(model)
        if field.name not in (*_AFTER_FEATURES, *getattr(model, "AFTER_FEATURES", ()))
    }
    seen: tuple[Any, ...] = (preprocessing.evaluation_crop or preprocessing.crop, preprocessing.mean, preprocessing.std)
    position = "motion" if clip.crop_position == "motion" else "center"  # others are of training alone
    cut = dataclasses.replace(clip, training_views=None, crop_position=position, short_side_max=None)
    if made := tuple(each.seen for each in preprocessing.inputs if each.seen != "as it is"):
        seen = (*seen, made)
    return code, sorted(fields.items()), seen, str(preprocessing.dtype), preprocessing.inputs, cut, native


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed into an interpreter
        return ""


def _described(value: Any) -> str:
    """As `repr`, but for functions, whose addresses change."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)


class RunFeatures:
    """Reads the features of a run's clips in place of its videos (`Run.features`).

    Args:
      run: whose trunk is frozen (`check`).
      state: with the weights of the trunk.
    """

    def __init__(self, run: Run, state: TrainState):
        specs = run.specs(run.input_side)
        self._run, self._state = run, state
        self._shape = feature_shape(run.model, specs, declarations.label(run.config.model))
        trunk = trunk_paths(run.model, specs, self._shape)
        flat = traverse_util.flatten_dict({"params": state.params, **state.model_state}, sep="/")
        self._trunk = {path: np.asarray(jax.device_get(flat[path])) for path in trunk}
        native = run.config.native_convolutions
        self._settings = settings_of(run.model, specs, run.preprocessing, run.clip, native=native, trunk=trunk)
        self._step = run.strategy.compile_eval(make_feature_step(run.model, run.preprocessing, run.strategy))
        self._readings: dict[tuple[str, ViewSpec], Reading] = {}
        self._read: dict[FeatureStore, set[str]] = {}  # ids of the videos that are read from each

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the features: none."""
        return Preprocessing(inputs=(self._input,))

    def reading(self, part: str, views: ViewSpec) -> Reading:
        """What is read of a part of the data; computed first if it is not on disk.

        Args:
          part: "train", "validation" or "test".
          views: of each video.
        """
        if (part, views) not in self._readings:
            self._readings[part, views] = self._computed(part, views)
        return self._readings[part, views]

    @property
    def seconds(self) -> float:
        """Wall time that the features took which are read, whenever they were computed."""
        return sum(store.seconds_of(len(videos)) for store, videos in self._read.items())

    @property
    def _input(self) -> Input:
        return Input(NAME, self._shape, "float32", space=None)

    def _computed(self, part: str, views: ViewSpec) -> Reading:
        run, config = self._run, self._run.config
        videos: tuple[Video, ...] = getattr(run.source, part)
        store = FeatureStore.of(self._trunk, *self._settings, views)

        def batches(missing: Sequence[Video]) -> Any:
            return evaluation_batches(
                missing,
                run.clip,
                views,
                inputs=run.inputs,
                batch_size=config.evaluate.batch_size,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
                threads=config.data.threads,
                workers=config.data.workers,
            )

        failed = compute(
            videos,
            store,
            lambda batch: self._step(self._state, run.strategy.put_batch(batch)),
            views,
            batches,
            config.evaluate.batch_size,
            f"features of the {part} videos",
        )
        stored = tuple(self._stored(video, store, failed) for video in videos)
        read = {video.id for video in videos if video.refused is None and video.id not in failed}
        self._read[store] = self._read.get(store, set()) | read
        # Row i of a file is view i: crops and mirror images have rows of their own.
        return Reading(stored, (self._input,), ClipSpec(frames=1, crop=1), ViewSpec(views.count))

    def _stored(self, video: Video, store: FeatureStore, failed: Mapping[str, str]) -> Video:
        reason = failed.get(video.id, video.refused)
        stream = Stream(video.path if reason else str(store.path(video)), refused=reason)
        return dataclasses.replace(video, streams={NAME: stream})


def make_feature_step(model: nn.Module, preprocessing: Preprocessing, strategy: parallel.ParallelStrategy) -> Any:
    """Builds (state, batch) -> features [B, N, D], index [B] and mask [B] of the whole global batch."""

    def step(state: TrainState, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        arguments = {**preprocessing.evaluation(batch), "train": False}
        output = models.apply(model, {"params": state.params, **state.model_state}, arguments)
        found = output.aux[NAME], batch.index, batch.mask
        if strategy.axis_name is not None:
            found = jax.lax.all_gather(found, strategy.axis_name, tiled=True)
        return found

    return step


def reading_features(run: Run, state: TrainState) -> Run:
    """The run, reading features in place of videos; those of all its parts are computed now.

    Args:
      run: `check` has passed.
      state: with the weights of the frozen layers.
    """
    reader = RunFeatures(run, state)
    reader.reading("train", ViewSpec(run.clip.training_views or 1))
    if run.source.validation:
        reader.reading("validation", data.validation_views(run.config))
    views = data.test_views(run.config)
    reader.reading("test", views)
    if run.config.evaluate.shuffled and run.clip.frames > 1:
        reader.reading("test", dataclasses.replace(views, shuffled=True))
    return dataclasses.replace(run, features=reader)


def check(run: Run) -> None:
    """Refuses features that would change during training, or from one use of a clip to the next.

    Raises:
      ConfigError: naming the key.
    """
    config, key = run.config, "train.features_once=True"
    if jax.process_count() > 1:
        raise ConfigError(f"{key} works on one host: leave it out (None) with several processes")
    specs = run.specs(run.input_side)
    shape = feature_shape(run.model, specs, declarations.label(config.model))
    frozen = recipe.frozen(config.optimizer)
    trained = [path for path in sorted(trunk_paths(run.model, specs, shape)) if not _is_fixed(run, frozen, path)]
    if trained:
        only = "optimizer.train_only, and set batch_norm.frozen=running"
        raise ConfigError(
            f"{key} needs features that stay the same, but {trained[0]} changes: freeze it with {only}, or leave"
            " features_once out (None)"
        )
    if config.data.training_views is None and not run.clip.is_fixed:
        raise ConfigError(f"{key} needs a number of clips: set data.training_views, e.g. to 5")
    augmented = [name for name in _AUGMENTATIONS if config.preprocessing[name]]
    if augmented:
        raise ConfigError(
            f"{key} shows every clip as it is; turn off what would change it at each use:"
            f" {', '.join(f'preprocessing.{name}={config.preprocessing[name]}' for name in augmented)}"
        )
    if config.data.short_side_max is not None:
        raise ConfigError(f"{key} shows every clip at one size: leave data.short_side_max out (None)")
    is_cropped = config.preprocessing.crop is not None and config.preprocessing.crop != config.data.crop
    if is_cropped or config.data.crop_position != "center":
        raise ConfigError(
            f"{key} shows the center of every clip: set data.crop to preprocessing.crop={config.preprocessing.crop},"
            " and data.crop_position=center"
        )


def _is_fixed(run: Run, frozen: Any, path: str) -> bool:
    collection, _, name = path.partition("/")
    return frozen.selects(name) and (collection == "params" or run.config.batch_norm.frozen == "running")
