"""The optimizer and the schedule that the sections of a config describe."""

import math
from typing import Any

import optax
from ml_collections import ConfigDict

from vidjax.config import sections
from vidjax.errors import ConfigError, options_of
from vidjax.options import choosing, signatures
from vidjax.training import optimizers, parameter_groups, schedules
from vidjax.training.durations import options_in_steps

# Rule of learning rate scaling -> factor for a batch that is r times the base batch size.
BATCH_SCALINGS = {"linear": lambda r: r, "sqrt": math.sqrt}  # Goyal et al. 2017; Krizhevsky 2014


def peak_rate(section: ConfigDict, batch_size: int) -> float:
    """Returns the peak learning rate of `config.optimizer`, scaled with the batch size if configured."""
    if section.scale_with_batch is None:
        if section.base_batch_size is not None:
            raise ConfigError("optimizer.base_batch_size has no effect without optimizer.scale_with_batch")
        return section.learning_rate
    ratio = batch_size / (section.base_batch_size or 256)
    return section.learning_rate * BATCH_SCALINGS[section.scale_with_batch](ratio)


def schedule(section: ConfigDict, rate: float, total_steps: int, steps_per_epoch: float) -> optax.Schedule:
    """Builds step -> learning rate from `config.schedule` and the peak rate."""
    given = schedule_options(section, total_steps, steps_per_epoch)
    with options_of("schedule"):
        return schedules.create(section.name, rate, total_steps, **given)


def schedule_options(section: ConfigDict, total_steps: int, steps_per_epoch: float) -> dict[str, Any]:
    """Returns the options of the schedule, with durations in steps."""
    function = choosing.resolve("schedule", schedules.SCHEDULES, section.name)
    return options_in_steps(
        sections.of_choice("schedule", section),
        signatures.accepted(function),
        path="schedule",
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )


def optimizer(section: ConfigDict, learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Builds the optimizer of `config.optimizer`, with learning rate multipliers and frozen parameters."""
    return optimizers.create(
        section.name,
        learning_rate,
        multipliers=parameter_groups.read_multipliers(section.multipliers, "optimizer.multipliers"),
        freeze=frozen(section),
        clip_norm=section.clip_norm,
        **sections.of_choice("optimizer", section),
    )


def frozen(section: ConfigDict) -> parameter_groups.Frozen:
    """Returns which parameters `config.optimizer` freezes."""
    return parameter_groups.Frozen(
        parameter_groups.read_patterns(section.freeze, "optimizer.freeze"),
        parameter_groups.read_patterns(section.train_only, "optimizer.train_only"),
    )


def check_groups(section: ConfigDict, params: Any) -> None:
    """Refuses patterns that match no parameter, and a config that freezes all parameters.

    Args:
      section: `config.optimizer`.
      params: of the model, or their shapes.

    Raises:
      ConfigError: naming the key.
    """
    multipliers = parameter_groups.read_multipliers(section.multipliers, "optimizer.multipliers")
    parameter_groups.check(tuple(multipliers), params, "optimizer.multipliers", first_only=True)
    chosen = frozen(section)
    parameter_groups.check(chosen.patterns, params, "optimizer.freeze")
    parameter_groups.check(chosen.train_only, params, "optimizer.train_only")
    if chosen.selects_all(params):
        only = f" and optimizer.train_only={section.train_only!r}" if section.train_only else ""
        raise ConfigError(f"optimizer.freeze={section.freeze!r}{only} freezes every parameter")
