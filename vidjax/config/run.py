"""A config and what it describes: what training and evaluation share."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import flax.linen as nn
import jax
import optax
from ml_collections import ConfigDict

from vidjax import models
from vidjax.config import recipe
from vidjax.config.initial_weights import InitialWeights
from vidjax.data.cache.interface import Cache
from vidjax.data.clips import ClipSpec
from vidjax.data.inputs import Input
from vidjax.data.iteration import BatchIterator
from vidjax.data.pipeline import training_batches
from vidjax.data.records import Batch, Source, Video
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError
from vidjax.evaluation.scores import AVERAGES
from vidjax.layers.convolution import implementation, native_operations
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.system import terminal
from vidjax.training import batch_statistics, early_stopping, parallel, schedules
from vidjax.training.initial_values import Initialization
from vidjax.training.state import TrainState, make_init
from vidjax.training.step import LossFunction, StepScores, make_eval_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Reading:
    """What batches of a part of the data are read from: its videos, or features of them that were computed once.

    Attributes:
      videos: in the order of the part.
      inputs: of a batch.
      clip: what is cut from each.
      views: the views in an evaluation.
    """

    videos: tuple[Video, ...]
    inputs: tuple[Input, ...]
    clip: ClipSpec
    views: ViewSpec


class Features(Protocol):
    """Features that are read in place of videos (`vidjax.inference.features`)."""

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the features, on the device."""

    @property
    def seconds(self) -> float:
        """Wall time that they took, whenever they were computed."""

    def reading(self, part: str, views: ViewSpec) -> Reading:
        """What is read of a part of the data."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A config and what it describes.

    Attributes:
      config: resolved.
      source: classes and videos.
      inputs: of the model: what is read, for each of its arguments.
      clip: what is cut from a video.
      cache: decoded videos, or None.
      strategy: how the steps are parallelized.
      model: the network.
      preprocessing: on the device.
      loss: per example.
      total_steps, steps_per_epoch: length of training; an epoch is each training video once.
      schedule: step -> learning rate.
      optimizer: with that schedule.
      initial_weights: that training begins from; None: random ones.
      features: that are read in place of videos; None: videos are.
    """

    config: ConfigDict
    source: Source
    inputs: tuple[Input, ...]
    clip: ClipSpec
    cache: Cache | None
    strategy: parallel.ParallelStrategy
    model: nn.Module
    preprocessing: Preprocessing
    loss: LossFunction
    total_steps: int
    steps_per_epoch: float
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    initial_weights: InitialWeights | None = None
    features: Features | None = None

    @property
    def plateau(self) -> optax.GradientTransformationExtraArgs | None:
        """The controller that lowers the rate after validations; None for most schedules."""
        return self.schedule.controller if isinstance(self.schedule, schedules.Plateau) else None

    @property
    def input_side(self) -> int:
        """Side, in pixels, of the images that the model sees in training."""
        return self.preprocessing.crop or self.clip.crop

    @property
    def view_side(self) -> int:
        """Side, in pixels, of the images that the model sees in evaluation."""
        return self.preprocessing.evaluation_crop or self.input_side

    def shapes(self, side: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of one example of each input, [T, side, side, C] of images, as the model sees it."""
        return {each.name: each.model_shape(self.clip.frames, side) for each in self.inputs}

    def specs(self, side: int, batch: int = 1) -> dict[str, jax.ShapeDtypeStruct]:
        """Name -> shape and dtype of a batch of each input, and of the masks that the model takes."""
        return models.accepted_arguments(self.model, self.preprocessing.specs(self.clip.frames, side, batch))

    def describe_resolution(self, side: int) -> str:
        """Returns e.g. "16x48x48", of the first image, else of the first input."""
        first = next((each for each in self.inputs if each.space == "image"), self.inputs[0])
        return first.describe_shape(self.clip.frames, side)

    def describe_inputs(self, side: int) -> str:
        """Returns e.g. "rgb 16x48x48 + flow 16x48x48"."""
        return " + ".join(each.describe(self.clip.frames, side) for each in self.inputs)

    def describe_convolutions(self) -> str:
        """What computes the convolutions of training, in words; where it is oneDNN, loads it."""
        with native_operations(self.config.native_convolutions):
            return implementation(
                self.strategy.devices, dtype=self.config.dtype, is_mapped=self.strategy.name == "pmap"
            )

    def new_state(self) -> TrainState:
        """A state initialized from the seed, with the weights that training begins from."""
        state = self._initial_state()
        return state if self.initial_weights is None else self.initial_weights.apply(state)

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """A state of shapes and dtypes alone."""
        return self._initial_state.shapes

    @functools.cached_property
    def _initial_state(self) -> Initialization[TrainState]:
        return make_init(
            self.model,
            self.optimizer,
            self.specs(self.input_side),
            self.config.seed,
            ema=self.config.train.ema_decay is not None,
            plateau=self.plateau,
        )

    def learning_rates(self, steps: Iterable[int], state: TrainState) -> dict[int, float]:
        """Returns step -> learning rate, counting from 1; `state` is the one after the latest validation.

        Call it while no step is running: the rates are computed on the device, after any step that is.
        """
        factor = float(state.plateau.scale) if state.plateau is not None else 1.0
        return {step: float(self.schedule(step - 1)) * factor for step in steps}

    def after_validation(self, state: TrainState, loss: float) -> TrainState:
        """Returns the state with the learning rate updated by a validation loss."""
        if self.plateau is None:
            return state
        plateau = self._plateau_update(state.plateau, loss)
        return self.strategy.put_state(state.replace(plateau=plateau))  # type: ignore[attr-defined]

    @functools.cached_property
    def _plateau_update(self) -> Callable[[Any, float], Any]:
        """Compiled once; otherwise its operations would be compiled at every validation."""
        controller = self.plateau
        assert controller is not None
        return jax.jit(lambda plateau, loss: controller.update({}, plateau, value=loss)[1])

    def cache_need(self) -> int | None:
        """Returns the bytes that a cache needs for all videos; None if the size of one is unknown."""
        need = 0
        for part in ("train", "validation", "test"):
            resize = self.clip.resizing(training=part == "train")
            for video in getattr(self.source, part):
                for input in self.source.inputs:
                    stream = video.streams[input.stream_name]
                    if stream.info is None and stream.refused is None and stream.frames is None:
                        return None
                    if stream.info is not None:
                        size = resize(stream.info.height, stream.info.width) if input.space == "image" else (1, 1)
                        need += stream.info.frames * input.frame_bytes(*size)
        return need

    def new_early_stopping(self) -> early_stopping.EarlyStopping:
        """A new tracker of the validation metric (`config.train.monitor`)."""
        section = self.config.train
        return early_stopping.EarlyStopping(section.monitor or "video_top1", section.early_stopping_patience)

    def training_batches(self, start_step: int) -> BatchIterator:
        """The training batches, this process's parts of them, from step `start_step`, counted from 0; to be closed."""
        reading = self.reading("train", ViewSpec(self.clip.training_views or 1))
        return training_batches(
            reading.videos,
            reading.clip,
            inputs=reading.inputs,
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
            balanced=bool(self.config.data.balanced),
            start_step=start_step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            cache=self.cache,
            threads=self.config.data.threads,
            workers=self.config.data.workers,
        )

    def reading(self, part: str, views: ViewSpec) -> Reading:
        """What batches of a part are read from.

        Args:
          part: "train", "validation" or "test".
          views: of each video.
        """
        if self.features is not None:
            return self.features.reading(part, views)
        return Reading(getattr(self.source, part), self.inputs, self.clip, views)

    @property
    def _step_preprocessing(self) -> Preprocessing:
        return self.preprocessing if self.features is None else self.features.preprocessing

    def train_step(self) -> Callable[[TrainState, Batch], Any]:
        """The compiled training step."""
        step = make_train_step(
            self.model,
            self.optimizer,
            self.loss,
            self._step_preprocessing,
            seed=self.config.seed,
            axis_name=self.strategy.axis_name,
            num_microbatches=self.config.train.grad_accum_steps or 1,
            freeze=recipe.frozen(self.config.optimizer),
            use_frozen_statistics=self.config.batch_norm.frozen == "running",
            ema_decay=self.config.train.ema_decay,
        )
        return self.strategy.compile_train(step)

    def eval_step(self) -> Callable[[TrainState, Batch], StepScores]:
        """The compiled evaluation step."""
        average = AVERAGES[self.config.evaluate.average]
        step = make_eval_step(
            self.model, self.loss, self._step_preprocessing, average, axis_name=self.strategy.axis_name
        )
        return self.strategy.compile_eval(step)

    @functools.cached_property
    def summary(self) -> models.Summary:
        """Parameters and multiply-accumulates for one view."""
        return self.counts(self.view_side)

    def counts(self, side: int) -> models.Summary:
        """Parameters and multiply-accumulates for one example with images of this side."""
        return models.summary(self.model, **{name: spec.shape for name, spec in self.specs(side).items()})

    @functools.cached_property
    def _moments_step(self) -> Callable[[TrainState, Batch], Any]:
        step = batch_statistics.make_moments_step(self.model, self._step_preprocessing, seed=self.config.seed)
        return self.strategy.compile_eval(step)

    def with_precise_statistics(self, state: TrainState) -> TrainState:
        """The state with statistics of batch normalization over `batch_norm.precise_batches` batches, where asked for.

        Raises:
          ConfigError: if the model has none that can be recomputed.
        """
        count = self.config.batch_norm.precise_batches
        if not count:
            return state
        if "batch_stats" not in state.model_state:
            raise ConfigError(f"batch_norm.precise_batches={count}: the model keeps no batch statistics")
        with self.training_batches(int(state.step)) as batches:
            shown = terminal.track(range(count), count, "statistics of batch normalization", "batches")
            # Fetched one by one: steps must not overlap on virtual devices.
            moments = [jax.device_get(self._moments_step(state, self.strategy.put_batch(next(batches)))) for _ in shown]
        frozen = recipe.frozen(self.config.optimizer)
        try:
            return self.strategy.put_state(batch_statistics.with_precise_stats(state, moments, frozen))
        except ValueError as error:
            raise ConfigError(f"batch_norm.precise_batches={count}: {error}") from error
