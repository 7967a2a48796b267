"""The optimizer and the schedule that a config describes, and what else it says on how weights move."""

import math
from typing import Any

import optax
from ml_collections import ConfigDict

from vidjax import options, sections
from vidjax.errors import ConfigError, options_of
from vidjax.training import groups, optimizers, schedules
from vidjax.training.durations import options_in_steps, to_steps

# How the rate follows the batch size -> the factor for a batch that is r times the base one.
BATCH_SCALINGS = {"linear": lambda r: r, "sqrt": math.sqrt}  # Goyal et al. 2017; Krizhevsky 2014

_LENGTHS = {"schedule": ("warmup_steps", "warmup_epochs", "warmup_fraction"), "train": ("steps", "epochs")}


def peak_rate(config: ConfigDict) -> float:
    """The learning rate of the config, scaled with the batch size where it says so."""
    section = config.optimizer
    if section.scale_with_batch is None:
        if section.base_batch_size is not None:
            raise ConfigError("optimizer.base_batch_size is of no use without optimizer.scale_with_batch")
        return section.learning_rate
    ratio = config.train.batch_size / (section.base_batch_size or 256)
    return section.learning_rate * BATCH_SCALINGS[section.scale_with_batch](ratio)


def schedule(config: ConfigDict, total_steps: int, steps_per_epoch: float) -> optax.Schedule:
    """Builds step -> learning rate."""
    name, given = _schedule_options(config, total_steps, steps_per_epoch)
    rate = peak_rate(config)
    with options_of("schedule"):
        return schedules.create(name, rate, total_steps, **given)


def check_schedule(config: ConfigDict) -> None:
    """Refuses what `schedule` refuses, as far as that can be known without the data and a device.

    Raises:
      ConfigError: naming the key; also if the config does not give the length of the run, or twice.
    """
    total_steps, steps_per_epoch = _assumed_length(config)
    name, given = _schedule_options(config, total_steps, steps_per_epoch)
    if given.get("warmup_steps", 0) > total_steps:
        told = {f"{path}.{key}": config[path].get(key) for path, keys in _LENGTHS.items() for key in keys}
        raise ConfigError(
            f"{', '.join(f'{key}={value:g}' for key, value in told.items() if value is not None)}:"
            " the warm-up is longer than the run"
        )
    rate = peak_rate(config)
    with options_of("schedule"):
        schedules.check(name, rate, total_steps, **given)


def _schedule_options(config: ConfigDict, total_steps: int, steps_per_epoch: float) -> tuple[str, dict[str, Any]]:
    """The name of the schedule, and its options with durations in steps."""
    name = config.schedule.name
    function = options.resolve("schedule", schedules.SCHEDULES, name)
    given = options_in_steps(
        sections.of_choice("schedule", config.schedule),
        options.accepted(function),
        path="schedule",
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )
    return name, given


def _assumed_length(config: ConfigDict) -> tuple[int, float]:
    """Steps in all and steps per epoch, to compare durations with before the number of videos is known.

    What is in the unit of the run compares with it as it will; what is not is taken for short.
    """
    total_steps = to_steps(config.train, "", path="train", steps_per_epoch=1e9)
    in_epochs = any(value is not None for key, value in config.schedule.items() if key.endswith("_epochs"))
    if config.train.steps is not None and in_epochs:
        return 10**12, 1e3
    return total_steps, 1e9


def optimizer(config: ConfigDict, learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Builds the optimizer, with its multipliers and what is frozen."""
    section = config.optimizer
    return optimizers.create(
        section.name,
        learning_rate,
        multipliers=groups.read_multipliers(section.multipliers, "optimizer.multipliers"),
        freeze=frozen(config),
        clip_norm=section.clip_norm,
        **sections.of_choice("optimizer", section),
    )


def frozen(config: ConfigDict) -> tuple[str, ...]:
    """The patterns of what does not move."""
    return groups.read_patterns(config.optimizer.freeze, "optimizer.freeze")


def check_groups(config: ConfigDict, params: Any) -> None:
    """Refuses patterns that stand for no parameter, and a config that freezes them all.

    Args:
      config: resolved.
      params: of the model, or their shapes.

    Raises:
      ConfigError: naming the key.
    """
    multipliers = groups.read_multipliers(config.optimizer.multipliers, "optimizer.multipliers")
    groups.check(tuple(multipliers), params, "optimizer.multipliers", first_only=True)
    groups.check(frozen(config), params, "optimizer.freeze")
    if groups.all_frozen(frozen(config), params):
        raise ConfigError(f"optimizer.freeze={config.optimizer.freeze!r} leaves nothing to train")


def check_validation(config: ConfigDict, validation_videos: int) -> None:
    """Refuses what needs validations where there are none.

    Raises:
      ConfigError: naming the key.
    """
    regular = {
        f"schedule.name={config.schedule.name}": config.schedule.name == "plateau",
        f"train.stop_after={config.train.stop_after}": config.train.stop_after is not None,
    }
    for key in [key for key, used in regular.items() if used]:
        validates = config.train.validate_every or config.train.validate_every_fraction is not None
        if not validation_videos or not validates:
            raise ConfigError(f"{key} needs validation videos and train.validate_every above 0")
    if config.evaluate.weights == "best" and not validation_videos:
        raise ConfigError("evaluate.weights=best needs validation videos to choose by")
    if config.evaluate.weights == "ema" and config.train.ema is None:
        raise ConfigError("evaluate.weights=ema needs train.ema, e.g. 0.999")
