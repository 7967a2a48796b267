"""Checks before a run begins: values in range, and keys that fit each other, the devices and the data.

`vidjax.config.run_validation` has the checks that need a network or the files of the data;
`vidjax.config.preparation.prepare` calls all of them, the cheapest first.
"""

import jax
from ml_collections import ConfigDict

from vidjax.config import building, data, declarations, initial_weights, recipe
from vidjax.config.flat import flatten
from vidjax.data.flip_rule import why_flip_not_allowed
from vidjax.data.inputs import Input
from vidjax.data.records import Source
from vidjax.errors import ConfigError, options_of
from vidjax.training import losses, parallel, schedules
from vidjax.training.durations import to_steps

_CAPSULE_LOSSES = ("margin", "spread")
_LENGTHS = {"schedule": ("warmup_steps", "warmup_epochs", "warmup_fraction"), "train": ("steps", "epochs")}


def check_config(config: ConfigDict) -> None:
    """Refuses what is wrong with a config by itself, before its data, devices or an earlier run are touched.

    Gives it the options of what it chooses (None where they are not given). Starts no back end of JAX.

    Raises:
      ConfigError: for values out of range, keys that do not fit each other, unknown names, and options not taken.
    """
    declarations.declare_all(config)
    _check_values(config)
    initial_weights.check_section(config.weights)
    data.check_source_options(config)
    building.model(config, 2)
    recipe.optimizer(config.optimizer, 0.0)
    building.preprocessing(config.preprocessing, "invariant", (), config.evaluate.crop)
    _check_validation(config, validation_videos=1)
    _check_schedule(config)
    with options_of("loss"):
        losses.check(building.loss(config.loss, total_steps=1000, steps_per_epoch=1.0))


def check_devices(config: ConfigDict, strategy: parallel.ParallelStrategy) -> None:
    """Refuses batch sizes that are not divisible by the number of devices.

    Raises:
      ConfigError: naming the key.
    """
    strategy.check_batch_size(
        config.train.batch_size, "train.batch_size", num_microbatches=config.train.grad_accum_steps or 1
    )
    strategy.check_batch_size(config.evaluate.batch_size, "evaluate.batch_size")
    _check_pairs(config, strategy)


def check_data(config: ConfigDict, source: Source) -> None:
    """Refuses runs shorter than one step, missing validation videos, and flips that the source's rule does not allow.

    Raises:
      ConfigError: naming the key.
    """
    steps_per_epoch = len(source.train) / config.train.batch_size
    if to_steps(config.train, "", path="train", steps_per_epoch=steps_per_epoch) < 1:
        raise ConfigError(
            f"train.steps={config.train.steps}, train.epochs={config.train.epochs}: a run has at least 1 step"
            f" (an epoch has {steps_per_epoch:g})"
        )
    _check_validation(config, len(source.validation))
    check_flip(config, source, ())
    if config.data.fps is not None and all(spec.reader != "video" for spec in source.inputs):
        names = ", ".join(spec.stream_name for spec in source.inputs)
        raise ConfigError(f"data.fps={config.data.fps:g}: {names} in arrays states no frame rate: use data.stride")


def _check_values(config: ConfigDict) -> None:
    """Refuses values that are out of range, not among the known words, or do not fit each other.

    Args:
      config: with the options of what it chooses.

    Raises:
      ConfigError: naming the key, its value and what to give.
    """
    declarations.check_values(config)
    flat = flatten(config)
    clip = data.clip(config)
    for name, views in (
        ("clips", data.test_views(config)),
        ("validation_clips", data.validation_views(config)),
    ):
        if clip.is_fixed and views.clips > 1:
            key = "position" if clip.frame_number is None else "frame_number"
            raise ConfigError(f"data.{key}={config.data[key]} is one clip per video: set evaluate.{name}=1")
    for key in ("preprocessing.crop", "evaluate.crop"):
        if flat[key] is not None and flat[key] > clip.crop:
            raise ConfigError(f"{key}={flat[key]} is larger than data.crop={clip.crop}, which it is cut from")
    if config.train.batch_size % (config.train.grad_accum_steps or 1):
        raise ConfigError(
            f"train.batch_size={config.train.batch_size} is not divisible by"
            f" train.grad_accum_steps={config.train.grad_accum_steps}"
        )
    if config.batch_norm.frozen is not None and not recipe.frozen(config.optimizer):
        raise ConfigError(
            f"batch_norm.frozen={config.batch_norm.frozen} has no effect without optimizer.freeze or train_only"
        )
    if config.batch_norm.frozen == "running" and config.batch_norm.precise_batches:
        raise ConfigError(
            f"batch_norm.precise_batches={config.batch_norm.precise_batches} recomputes what batch_norm.frozen=running"
            " keeps: leave one of them out (None)"
        )
    if config.loss.factory is None and (config.loss.name in _CAPSULE_LOSSES) != (config.evaluate.average == "lengths"):
        raise ConfigError(
            f"loss.name={config.loss.name} and evaluate.average={config.evaluate.average} do not fit: the losses"
            f" {' and '.join(_CAPSULE_LOSSES)} go with evaluate.average=lengths, and only they do"
        )


def _check_schedule(config: ConfigDict) -> None:
    """Refuses what `recipe.schedule` refuses, as far as that can be known without the data and a device.

    Raises:
      ConfigError: naming the key; also if the config does not give the length of the run, or twice.
    """
    total_steps, steps_per_epoch = _nominal_steps(config)
    given = recipe.schedule_options(config.schedule, total_steps, steps_per_epoch)
    if given.get("warmup_steps", 0) > total_steps:
        told = {f"{path}.{key}": config[path].get(key) for path, keys in _LENGTHS.items() for key in keys}
        raise ConfigError(
            f"{', '.join(f'{key}={value:g}' for key, value in told.items() if value is not None)}:"
            " the warm-up is longer than the run"
        )
    rate = recipe.peak_rate(config.optimizer, config.train.batch_size)
    with options_of("schedule"):
        schedules.check(config.schedule.name, rate, total_steps, **given)


def _nominal_steps(config: ConfigDict) -> tuple[int, float]:
    """Nominal total steps and steps per epoch, for comparing durations before the number of videos is known.

    What is in the unit of the run compares with it as it will; what is not is taken for short.
    """
    total_steps = to_steps(config.train, "", path="train", steps_per_epoch=1e9)
    in_epochs = any(value is not None for key, value in config.schedule.items() if key.endswith("_epochs"))
    if config.train.steps is not None and in_epochs:
        return 10**12, 1e3
    return total_steps, 1e9


def _check_validation(config: ConfigDict, validation_videos: int) -> None:
    """Refuses options that need validations if there are none.

    Raises:
      ConfigError: naming the key.
    """
    patience = config.train.early_stopping_patience
    regular = {
        f"schedule.name={config.schedule.name}": config.schedule.name == "plateau",
        f"train.early_stopping_patience={patience}": patience is not None,
    }
    for key in [key for key, used in regular.items() if used]:
        validates = config.train.validate_every or config.train.validate_every_fraction is not None
        if not validation_videos or not validates:
            raise ConfigError(f"{key} needs validation videos and train.validate_every above 0")
    if config.evaluate.weights == "best" and not validation_videos:
        raise ConfigError("evaluate.weights=best needs validation videos to choose by")
    if config.evaluate.all_parts and not validation_videos:
        raise ConfigError("evaluate.all_parts=True needs validation videos, by which an SVM is chosen: leave it out")
    if config.evaluate.weights == "ema" and config.train.ema_decay is None:
        raise ConfigError("evaluate.weights=ema needs train.ema_decay, e.g. 0.999")


def _check_pairs(config: ConfigDict, strategy: parallel.ParallelStrategy) -> None:
    """Refuses mixup, cutmix and normalization in groups where examples that belong together are on several devices.

    A group may also be shared by whole devices.
    """
    size, devices = config.batch_norm.group_size, len(strategy.devices)
    microbatches = config.train.grad_accum_steps or 1
    if size is not None:
        each = config.train.batch_size // (devices * microbatches)
        if each % size and (size % each or devices % (size // each)):
            raise ConfigError(
                f"batch_norm.group_size={size} does not fit train.batch_size={config.train.batch_size} on {devices}"
                f" device(s) in {microbatches} microbatch(es): {each} examples each"
            )
    for key in ("mixup", "cutmix"):
        if not config.preprocessing[key]:
            continue
        multiple = 2 * devices * microbatches
        if config.train.batch_size % multiple:
            raise ConfigError(
                f"train.batch_size={config.train.batch_size}: preprocessing.{key} pairs neighbors,"
                f" so give a multiple of {multiple}, an even number for each device and microbatch"
            )
        if jax.process_count() > 1:
            raise ConfigError(f"preprocessing.{key} is not supported with several processes")


def check_flip(config: ConfigDict, source: Source, inputs: tuple[Input, ...]) -> None:
    """Refuses flips that the source, or an input, does not allow."""
    refusal = why_flip_not_allowed(source.mirror, inputs)
    flips = {
        "preprocessing.flip=True": config.preprocessing.flip,
        "evaluate.flip=True": config.evaluate.flip,
        "evaluate.crops=ten": config.evaluate.crops == "ten",
    }
    can_be_told = "mirror" in declarations.options_of_choice("data", config.data)
    rule = "set data.mirror=invariant" if can_be_told else "give its Source mirror='invariant'"
    hint = f" {rule} if a mirrored clip keeps its class, or" if source.mirror is None else ""
    for key in [key for key, is_used in flips.items() if is_used and refusal]:
        raise ConfigError(f"{key}, but {refusal}:{hint} turn the flip off")
