"""What a config describes, built: the parts that training and evaluation share."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from vidjax import configuration, files, models, options
from vidjax.data import reading
from vidjax.data.cache import MemoryCache
from vidjax.data.clips import Clip
from vidjax.data.records import Batch, Source
from vidjax.errors import ConfigError, DataError, VideoError
from vidjax.evaluation.scores import AVERAGES
from vidjax.preprocessing.augment import ColourJitter
from vidjax.preprocessing.erasing import Erasing
from vidjax.preprocessing.mixing import Mixing
from vidjax.preprocessing.pipeline import Preprocessing, require_mirror
from vidjax.preprocessing.warp import Warp
from vidjax.training import losses, monitor, parallel, recipe, schedules, weights
from vidjax.training.durations import to_steps
from vidjax.training.state import TrainState, init_state
from vidjax.training.step import LossFunction, Predictions, make_eval_step, make_train_step

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# What numbers must be, where nothing else checks them -> (the check, the keys).
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "at least 1": (
        lambda value: value >= 1,
        "train.batch_size train.log_every evaluate.batch_size evaluate.validation_clips"
        " checkpoint.every checkpoint.keep preprocessing.crop",
    ),
    "0 or more": (
        lambda value: value >= 0,
        "evaluate.samples data.cache_gigabytes train.validate_every preprocessing.mixup preprocessing.cutmix",
    ),
    "a number above 0": (lambda value: value > 0, "preprocessing.std model.width_multiplier"),
    "a finite number": (math.isfinite, "preprocessing.mean"),
    "a number from 0 to below 1": (
        lambda value: 0 <= value < 1,
        "model.dropout loss.label_smoothing preprocessing.zoom",
    ),
    "a number above 0, at most 1": (
        lambda value: 0 < value <= 1,
        "preprocessing.erasing_area_min preprocessing.erasing_area_max preprocessing.erasing_aspect_min",
    ),
    "an angle from 0 to 180": (lambda value: 0 <= value <= 180, "preprocessing.rotation"),
    "a number from 0 to 1": (
        lambda value: 0 <= value <= 1,
        "preprocessing.brightness preprocessing.contrast preprocessing.saturation"
        " preprocessing.shift preprocessing.erasing",
    ),
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A config and what it describes.

    Attributes:
      config: resolved.
      source: classes and videos.
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
    clip: Clip
    cache: MemoryCache | None
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
    def input_shape(self) -> tuple[int, ...]:
        """Shape [T, H, W, C] of what the model sees of one view."""
        side = self.preprocessing.crop or self.clip.crop
        return (self.clip.frames, side, side, 3)

    def new_state(self) -> TrainState:
        """A state initialised from the seed."""
        inputs = {"rgb": jax.ShapeDtypeStruct((1, *self.input_shape), self.preprocessing.dtype)}
        return init_state(
            self.model,
            self.optimizer,
            inputs,
            self.config.seed,
            ema=self.config.train.ema is not None,
            plateau=self.plateau,
        )

    def learning_rate(self, step: int, state: TrainState) -> float:
        """The rate of step number `step`, counted from 1."""
        factor = float(state.plateau.scale) if state.plateau is not None else 1.0
        return float(self.schedule(step - 1)) * factor

    def after_validation(self, state: TrainState, loss: float) -> TrainState:
        """The state with the rate that a validation of that loss leaves."""
        if self.plateau is None:
            return state
        _, plateau = self.plateau.update({}, state.plateau, value=loss)
        return self.form.put_state(state.replace(plateau=plateau))  # type: ignore[attr-defined]

    def new_monitor(self) -> monitor.Monitor:
        """Follows the validations; before the first one."""
        section = self.config.train
        return monitor.Monitor(section.monitor or "video_top1", section.stop_after)

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

    def summary(self) -> models.Summary:
        """Parameters and multiply-accumulates for one view."""
        return models.summary(self.model, rgb=(1, *self.input_shape))


def prepare(config: ConfigDict) -> Run:
    """Builds what a config describes.

    Raises:
      ConfigError: for keys that do not fit each other.
      DataError: for data that are incomplete or contradict themselves.
    """
    form = parallel.choose(config.parallel)
    _check_choices(config)
    form.check_batch_size(config.train.batch_size, "train.batch_size", parts=config.train.accumulate or 1)
    form.check_batch_size(config.evaluate.batch_size, "evaluate.batch_size")
    _check_pairs(config, form)
    # Before the data are made or read, so that a wrong option is known at once.
    _model(config, 2, form)
    recipe.optimizer(config, 0.0)
    source = configuration.source(config)
    if config.evaluate.flip or config.evaluate.crops == "ten":
        require_mirror(source.mirror, "evaluate.flip=True" if config.evaluate.flip else "evaluate.crops=ten")
    steps_per_epoch = len(source.train) / config.train.batch_size
    total_steps = to_steps(config.train, "", path="train", steps_per_epoch=steps_per_epoch)
    if total_steps < 1:
        raise ConfigError(
            f"train.steps={config.train.steps}, train.epochs={config.train.epochs}: a run has at least 1 step"
            f" (an epoch has {steps_per_epoch:g})"
        )
    schedule = recipe.schedule(config, total_steps, steps_per_epoch)
    recipe.check_validation(config, schedule, len(source.validation))
    clip = configuration.clip(config)
    run = Run(
        config=config,
        source=source,
        clip=clip,
        cache=_cache(config),
        form=form,
        model=_model(config, len(source.classes), form),
        preprocessing=_preprocessing(config, source),
        loss=_loss(config),
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        optimizer=recipe.optimizer(config, schedule),
    )
    _check_input(run)
    _check_crops(run)
    return run


def write_data_card(run: Run, workdir: Path) -> None:
    """Notes in a run directory which data the run is trained on."""
    source = run.source
    parts = {part: len(getattr(source, part)) for part in ("train", "validation", "test")}
    files.write_json(workdir / "data.json", {"name": source.name, "fingerprint": source.fingerprint(), **parts})


def check_data_card(run: Run, workdir: Path) -> None:
    """Refuses data other than those that the run in `workdir` was trained on: training videos could be tested.

    Raises:
      DataError: naming what differs.
    """
    card = files.read_json(workdir / "data.json")
    if card is None or card["fingerprint"] == run.source.fingerprint():
        return
    parts = {part: f"{card[part]} -> {len(getattr(run.source, part))}" for part in ("train", "validation", "test")}
    raise DataError(
        f"{workdir} was trained on other videos, labels or parts of {card['name']}"
        f" (videos: {', '.join(f'{part} {change}' for part, change in parts.items())}):"
        " restore the data, or train in another --workdir"
    )


def _check_choices(config: ConfigDict) -> None:
    choices = {"dtype": _DTYPES, "evaluate.average": AVERAGES, "data.cache": ("none", "memory")}
    optional = {
        "evaluate.weights": weights.WEIGHTS,
        "optimizer.scale_with_batch": recipe.BATCH_SCALINGS,
        "train.monitor": monitor.METRICS,
    }
    flat = configuration.flatten(config)
    for key, known in {**choices, **optional}.items():
        if flat[key] not in known and not (key in optional and flat[key] is None):
            raise ConfigError(
                f"{key}={flat[key]!r} is not one of {', '.join(known)}{options.nearest(flat[key], known)}"
            )
    for what, (holds, keys) in [*_RANGES.items(), *recipe.RANGES.items()]:
        for key in keys.split():
            if flat[key] is not None and not holds(flat[key]):
                raise ConfigError(f"{key}={flat[key]}: give {what}")
    clip = configuration.clip(config)
    for name, views in (
        ("clips", configuration.test_views(config)),
        ("validation_clips", configuration.validation_views(config)),
    ):
        if clip.is_fixed and views.clips > 1:
            key = "position" if clip.frame_number is None else "frame_number"
            raise ConfigError(f"data.{key}={config.data[key]} is one clip per video: set evaluate.{name}=1")


def _check_pairs(config: ConfigDict, form: parallel.Form) -> None:
    """Refuses mixup and cutmix where examples and their neighbours are not on the same device."""
    for key in ("mixup", "cutmix"):
        if not config.preprocessing[key]:
            continue
        multiple = 2 * len(form.devices) * (config.train.accumulate or 1)
        if config.train.batch_size % multiple:
            raise ConfigError(
                f"train.batch_size={config.train.batch_size}: preprocessing.{key} pairs neighbours,"
                f" so give a multiple of {multiple}, an even number for each device and accumulated part"
            )
        if jax.process_count() > 1:
            raise ConfigError(f"preprocessing.{key} is for one process: neighbours are on different hosts here")


def _check_input(run: Run) -> None:
    """Refuses a crop that does not fit, or an input that the network shrinks to nothing."""
    crop, host_crop = run.preprocessing.crop, run.clip.crop
    if crop is not None and crop > host_crop:
        raise ConfigError(f"preprocessing.crop={crop} is larger than data.crop={host_crop}, which it is cut from")
    name = run.config.model.factory or run.config.model.name
    try:
        counts = run.summary()
    except (ValueError, TypeError, ZeroDivisionError) as error:
        # A layer without filters, or one that nothing is left for, divides by zero when it is initialised.
        by_zero = isinstance(error, ZeroDivisionError)
        reason = "nothing is left of it, or model.width_multiplier leaves no filters" if by_zero else error
        raise ConfigError(
            f"model {name!r} does not take rgb {run.input_shape}: {str(reason).splitlines()[0]}"
        ) from error
    ignores_devices = run.form.axis_name is not None and not hasattr(run.model, "axis_name")
    if ignores_devices and jax.eval_shape(run.new_state).model_state:
        raise ConfigError(
            f"model {name!r} keeps batch statistics and takes no option 'axis_name', so they"
            " would differ between devices: take parallel=sharded"
        )
    if run.config.optimizer.multipliers or run.config.optimizer.freeze:
        recipe.check_groups(run.config, jax.eval_shape(run.new_state).params)
    if not all(math.prod(layer.output_shape) for layer in counts.layers):
        raise ConfigError(f"an input of {run.input_shape} is too small for model {name!r}")


def _check_crops(run: Run) -> None:
    """Refuses several test crops that would all be the same square, by the first test video."""
    views = configuration.test_views(run.config)
    if views.crops == "centre":
        return
    video = run.source.test[0]
    try:
        info = reading.probe(video)
    except VideoError:
        return  # the evaluation lists it
    height, width = run.clip.resizing(training=False)(info.height, info.width)
    if run.clip.resize == "letterbox":
        height = width = max(height, width)
    if height == width == views.side_of(run.clip):
        raise ConfigError(
            f"evaluate.crops={views.crops}: all crops would be the same, since the model sees all {height}x{width}"
            f" pixels of a frame ({video.path}); take evaluate.crops=centre or a smaller preprocessing.crop"
        )


def _model(config: ConfigDict, classes: int, form: parallel.Form) -> nn.Module:
    given = config.model.to_dict()
    name, factory = given.pop("name"), given.pop("factory")
    if config.dtype != "float32":
        given["dtype"] = _DTYPES[config.dtype]
    if form.axis_name is not None and "axis_name" in options.accepted(models.find(name, factory)):
        given["axis_name"] = form.axis_name
    return models.create(name, classes, factory=factory, **given)


def _preprocessing(config: ConfigDict, source: Source) -> Preprocessing:
    section = config.preprocessing
    return Preprocessing(
        crop=section.crop,
        flip=section.flip,
        mirror=source.mirror,
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


def _loss(config: ConfigDict) -> LossFunction:
    function = options.resolve("loss", losses.LOSSES, config.loss.name)
    given = {key: value for key, value in config.loss.items() if key != "name" and value is not None}
    options.check("loss", config.loss.name, function, given)
    return functools.partial(function, **given)


def _cache(config: ConfigDict) -> MemoryCache | None:
    return MemoryCache(int(config.data.cache_gigabytes * 1e9)) if config.data.cache == "memory" else None


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
