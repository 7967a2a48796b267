"""What a config describes, built: the parts that training and evaluation share."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from vidjax import checks, configuration, declarations, models, options, sections
from vidjax.data import index
from vidjax.data.cache import Cache, MemoryCache
from vidjax.data.clips import Clip
from vidjax.data.disk_cache import DiskCache
from vidjax.data.inputs import Input, bind
from vidjax.data.iteration import BatchIterator
from vidjax.data.pipeline import training_batches
from vidjax.data.records import Batch, Mirror, Source
from vidjax.errors import ConfigError, options_of
from vidjax.evaluation.scores import AVERAGES
from vidjax.paths import cache_dir
from vidjax.preprocessing.augment import ColourJitter
from vidjax.preprocessing.erasing import Erasing
from vidjax.preprocessing.mixing import Mixing
from vidjax.preprocessing.pipeline import Preprocessing, require_mirror
from vidjax.preprocessing.warp import Warp
from vidjax.reporting import terminal
from vidjax.training import batch_statistics, losses, monitor, parallel, recipe, schedules
from vidjax.training.durations import options_in_steps, to_steps
from vidjax.training.state import TrainState, make_init
from vidjax.training.step import LossFunction, Predictions, make_eval_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Run:
    """A config and what it describes.

    Attributes:
      config: resolved.
      source: classes and videos.
      inputs: of the model: what is read, for each of its arguments.
      clip: what is cut from a video.
      cache: decoded videos, or None.
      form: the parallel form of the steps.
      model: the network.
      preprocessing: on the device.
      loss: per example.
      total_steps, steps_per_epoch: length of training; an epoch is each training video once.
      schedule: step -> learning rate.
      optimizer: with that schedule.
    """

    config: ConfigDict
    source: Source
    inputs: tuple[Input, ...]
    clip: Clip
    cache: Cache | None
    form: parallel.Form
    model: nn.Module
    preprocessing: Preprocessing
    loss: LossFunction
    total_steps: int
    steps_per_epoch: float
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation

    @property
    def plateau(self) -> optax.GradientTransformationExtraArgs | None:
        """What lowers the rate after validations; None for most schedules."""
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
        return {each.name: each.example_shape(self.clip.frames, side) for each in self.inputs}

    def specs(self, side: int, batch: int = 1) -> dict[str, jax.ShapeDtypeStruct]:
        """Name -> shape and dtype of a batch of each input, and of the masks that the model takes."""
        specs = {}
        for each in self.inputs:
            shape = (batch, *each.example_shape(self.clip.frames, side))
            specs[each.name] = jax.ShapeDtypeStruct(shape, self.preprocessing.dtype)
            if each.is_masked:
                specs[f"{each.name}_mask"] = jax.ShapeDtypeStruct(shape[:-1], jnp.bool_)
        return models.taken(self.model, specs)

    def describe_inputs(self, side: int) -> str:
        """Returns e.g. "rgb 16x48x48 + flow 16x48x48"."""
        return " + ".join(each.describe(self.clip.frames, side) for each in self.inputs)

    def new_state(self) -> TrainState:
        """A state initialised from the seed."""
        return self._initial_state()

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """A state of shapes and dtypes alone."""
        return jax.eval_shape(self._initial_state)

    @functools.cached_property
    def _initial_state(self) -> Callable[[], TrainState]:
        return make_init(
            self.model,
            self.optimizer,
            self.specs(self.input_side),
            self.config.seed,
            ema=self.config.train.ema is not None,
            plateau=self.plateau,
        )

    def learning_rates(self, steps: Iterable[int], state: TrainState) -> dict[int, float]:
        """The rates of steps, by their number from 1 on, where `state` is the last that a validation may have changed.

        To be called while nothing is under way: they are computed on the device, behind any step.
        """
        factor = float(state.plateau.scale) if state.plateau is not None else 1.0
        return {step: float(self.schedule(step - 1)) * factor for step in steps}

    def after_validation(self, state: TrainState, loss: float) -> TrainState:
        """The state with the rate that a validation of that loss leaves."""
        if self.plateau is None:
            return state
        plateau = self._plateau_update(state.plateau, loss)
        return self.form.put_state(state.replace(plateau=plateau))  # type: ignore[attr-defined]

    @functools.cached_property
    def _plateau_update(self) -> Callable[[Any, float], Any]:
        """Compiled, since what is in it would otherwise be compiled anew at every validation."""
        controller = self.plateau
        assert controller is not None
        return jax.jit(lambda plateau, loss: controller.update({}, plateau, value=loss)[1])

    def cache_need(self) -> int | None:
        """Bytes of all videos as a cache holds them; None where not all of them are known."""
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

    def new_monitor(self) -> monitor.Monitor:
        """Follows the validations; before the first one."""
        section = self.config.train
        return monitor.Monitor(section.monitor or "video_top1", section.stop_after)

    def training_batches(self, start_step: int) -> BatchIterator:
        """The training batches, this process's parts of them, from step `start_step`, counted from 0; to be closed."""
        return training_batches(
            self.source.train,
            self.clip,
            inputs=self.inputs,
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
            start_step=start_step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            cache=self.cache,
            threads=self.config.data.threads,
            workers=self.config.data.workers,
        )

    def train_step(self) -> Callable[[TrainState, Batch], Any]:
        """The compiled training step."""
        step = make_train_step(
            self.model,
            self.optimizer,
            self.loss,
            self.preprocessing,
            seed=self.config.seed,
            axis_name=self.form.axis_name,
            accumulate=self.config.train.accumulate or 1,
            freeze=recipe.frozen(self.config),
            ema_decay=self.config.train.ema,
        )
        return self.form.compile_train(step)

    def eval_step(self) -> Callable[[TrainState, Batch], Predictions]:
        """The compiled evaluation step."""
        average = AVERAGES[self.config.evaluate.average]
        step = make_eval_step(self.model, self.loss, self.preprocessing, average, axis_name=self.form.axis_name)
        return self.form.compile_eval(step)

    @functools.cached_property
    def summary(self) -> models.Summary:
        """Parameters and multiply-accumulates for one view."""
        return self.counts(self.view_side)

    def counts(self, side: int) -> models.Summary:
        """Parameters and multiply-accumulates for one example with images of this side."""
        return models.summary(self.model, **{name: spec.shape for name, spec in self.specs(side).items()})

    @functools.cached_property
    def _moments_step(self) -> Callable[[TrainState, Batch], Any]:
        step = batch_statistics.make_moments_step(self.model, self.preprocessing, seed=self.config.seed)
        return self.form.compile_eval(step)

    def with_precise_statistics(self, state: TrainState) -> TrainState:
        """The state with statistics of batch normalisation over `batch_norm.precise_batches` batches, where asked for.

        Raises:
          ConfigError: if the model has none that can be recomputed.
        """
        count = self.config.batch_norm.precise_batches
        if not count:
            return state
        if "batch_stats" not in state.model_state:
            raise ConfigError(f"batch_norm.precise_batches={count}: the model keeps no batch statistics")
        with self.training_batches(int(state.step)) as batches:
            shown = terminal.track(range(count), count, "statistics of batch normalisation", "batches")
            # Fetched one by one: steps must not overlap on virtual devices.
            moments = [jax.device_get(self._moments_step(state, self.form.put_batch(next(batches)))) for _ in shown]
        frozen = recipe.frozen(self.config)
        try:
            return self.form.put_state(batch_statistics.with_moments(state, moments, frozen))
        except ValueError as error:
            raise ConfigError(f"batch_norm.precise_batches={count}: {error}") from error


def check_config(config: ConfigDict) -> None:
    """Refuses what can be known of a config alone: before its data, a device or an earlier run are looked at.

    Gives it the options of what it chooses (None where they are not given). Starts no back end of JAX.

    Raises:
      ConfigError: for values out of range, keys that do not fit each other, unknown names, and options not taken.
    """
    declarations.declare_all(config)
    checks.check_values(config)
    configuration.check_source_options(config)
    _model(config, 2, axis_name=None)
    recipe.optimizer(config, 0.0)
    _preprocessing(config, "invariant", ())
    recipe.check_validation(config, validation_videos=1)
    recipe.check_schedule(config)
    with options_of("loss"):
        losses.check(_loss(config, total_steps=1000, steps_per_epoch=1.0))


def check_shapes(config: ConfigDict) -> None:
    """Refuses clips that the model cannot be applied to, as far as they do not depend on the data.

    Raises:
      ConfigError: naming the model and the shape.
    """
    side = config.preprocessing.crop or config.data.crop
    if config.model.factory is None:  # a model of one's own may be made for a number of classes
        model = _model(config, 2, axis_name=None)
        if models.input_names(model) == ("rgb",) and config.data.inputs is None:  # else the source says what they are
            checks.check_applies(config.model.name, model, (config.data.frames, side, side, 3))


def prepare(config: ConfigDict, parts: Sequence[str] = ("train", "validation", "test")) -> Run:
    """Builds what a config describes.

    Args:
      config: resolved.
      parts: of the data that are going to be read.

    Raises:
      ConfigError: for keys that do not fit each other.
      DataError: for data that are incomplete or contradict themselves.
    """
    # Before the data are made or read, so that what is wrong is known at once.
    check_config(config)
    form = parallel.choose(config.parallel)
    form.check_batch_size(config.train.batch_size, "train.batch_size", parts=config.train.accumulate or 1)
    form.check_batch_size(config.evaluate.batch_size, "evaluate.batch_size")
    checks.check_pairs(config, form)
    check_shapes(config)
    source = configuration.source(config)
    model = _model(config, len(source.classes), form.axis_name)
    name = config.model.factory or config.model.name
    inputs = bind(models.input_names(model), source.inputs, config.data.inputs, model=name, source=source.name)
    if config.data.check is not False:
        source = index.indexed(
            source,
            parts,
            progress=lambda records, total: terminal.track(records, total, "checking each video once", "videos"),
        )
    checks.check_readable(config, source, refused(source))
    if config.evaluate.flip or config.evaluate.crops == "ten":
        key = "evaluate.flip=True" if config.evaluate.flip else "evaluate.crops=ten"
        require_mirror(source.mirror, inputs, key)
    steps_per_epoch = len(source.train) / config.train.batch_size
    total_steps = to_steps(config.train, "", path="train", steps_per_epoch=steps_per_epoch)
    if total_steps < 1:
        raise ConfigError(
            f"train.steps={config.train.steps}, train.epochs={config.train.epochs}: a run has at least 1 step"
            f" (an epoch has {steps_per_epoch:g})"
        )
    schedule = recipe.schedule(config, total_steps, steps_per_epoch)
    recipe.check_validation(config, len(source.validation))
    clip = configuration.clip(config)
    run = Run(
        config=config,
        source=source,
        inputs=inputs,
        clip=clip,
        cache=_cache(config),
        form=form,
        model=model,
        preprocessing=_preprocessing(config, source.mirror, inputs),
        loss=_loss(config, total_steps, steps_per_epoch),
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        optimizer=recipe.optimizer(config, schedule),
    )
    checks.check_input(run)
    checks.check_crops(run)
    return run


def refused(source: Source) -> dict[str, str]:
    """Id -> reason of the training videos that are known not to be readable."""
    return {video.id: video.refused for video in source.train if video.refused is not None}


def _model(config: ConfigDict, classes: int, axis_name: str | None) -> nn.Module:
    given = sections.of_choice("model", config.model)
    name, factory = config.model.name, config.model.factory
    if config.dtype != "float32":
        given["dtype"] = jnp.dtype(config.dtype)
    if config.batch_norm.group_size is not None:
        if "group_size" not in options.accepted(models.find(name, factory)):
            raise ConfigError(f"model {factory or name!r} takes no batch_norm.group_size: leave it out (None)")
        given["group_size"] = config.batch_norm.group_size
    if axis_name is not None and "axis_name" in options.accepted(models.find(name, factory)):
        given["axis_name"] = axis_name
    return models.create(name, classes, factory=factory, **given)


def _preprocessing(config: ConfigDict, mirror: Mirror, inputs: tuple[Input, ...]) -> Preprocessing:
    section = config.preprocessing
    return Preprocessing(
        inputs=inputs,
        crop=section.crop,
        evaluation_crop=config.evaluate.crop,
        flip=section.flip,
        mirror=mirror,
        warp=Warp(section.rotation or 0.0, section.zoom or 0.0, section.shift or 0.0),
        colour=ColourJitter(section.brightness, section.contrast, section.saturation),
        erasing=_erasing(section),
        mixing=Mixing(section.mixup or 0.0, section.cutmix or 0.0),
        mean=section.mean,
        std=section.std,
    )


def _erasing(section: ConfigDict) -> Erasing:
    keys = {"erasing": "probability"} | {f"erasing_{name}": name for name in ("area_min", "area_max", "aspect_min")}
    given = {name: section[key] for key, name in keys.items() if section[key] is not None}
    erasing = Erasing(**given)
    if not erasing.probability and given.keys() - {"probability"}:
        raise ConfigError("preprocessing.erasing_* are given without preprocessing.erasing, a probability above 0")
    if erasing.area_min > erasing.area_max:
        raise ConfigError(
            f"preprocessing.erasing_area_min={erasing.area_min:g} is above"
            f" preprocessing.erasing_area_max={erasing.area_max:g}"
        )
    return erasing


def _loss(config: ConfigDict, total_steps: int, steps_per_epoch: float) -> LossFunction:
    name = config.loss.name
    function = options.resolve("loss", losses.LOSSES, name)
    given = options_in_steps(
        sections.of_choice("loss", config.loss),
        options.accepted(function),
        path="loss",
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )
    options.check("loss", losses.LOSSES, name, function, given)
    return functools.partial(function, **given)


def _cache(config: ConfigDict) -> Cache | None:
    size = int(config.data.cache_gigabytes * 1e9)
    if config.data.cache == "disk":
        return DiskCache(cache_dir() / "videos", size)
    return MemoryCache(size) if config.data.cache == "memory" else None


def device_description() -> str:
    """Names the hardware of this run, e.g. "8 x TPU v5e" or "cpu, 2 cores"."""
    devices = jax.devices()
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return f"CPU, {cores} core{'s' * (cores != 1)}" + (
            f", {len(devices)} virtual devices" if len(devices) > 1 else ""
        )
    return f"{len(devices)} x {kind}"
