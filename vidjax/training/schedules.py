"""Learning-rate schedules, by name: functions of the step number."""

import math

import optax

from vidjax import options as _options
from vidjax.errors import ConfigError


def constant(learning_rate: float, total_steps: int, *, warmup_steps: int = 0) -> optax.Schedule:
    """The rate itself, after a linear warm-up from 0."""
    del total_steps
    return _with_warmup(optax.constant_schedule(learning_rate), learning_rate, warmup_steps, 0.0)


def cosine(
    learning_rate: float,
    total_steps: int,
    *,
    warmup_steps: int = 0,
    warmup_from: float = 0.0,
    final_fraction: float = 0.0,
) -> optax.Schedule:
    """Half a cosine from the rate to `final_fraction` of it, after a linear warm-up.

    rate(s) = peak * (f + (1 - f) * (1 + cos(pi * (s - w) / (S - w))) / 2), w = warm-up, S = total steps.

    Args:
      learning_rate: at the end of the warm-up.
      total_steps: S, where the cosine ends.
      warmup_steps: w.
      warmup_from: rate at step 0 of the warm-up.
      final_fraction: f.

    References:
      Loshchilov & Hutter 2017, "SGDR", equation 5, one cycle.
    """
    decay = optax.cosine_decay_schedule(learning_rate, max(1, total_steps - warmup_steps), alpha=final_fraction)
    return _with_warmup(decay, learning_rate, warmup_steps, warmup_from)


def _with_warmup(after: optax.Schedule, peak: float, warmup_steps: int, start: float) -> optax.Schedule:
    if warmup_steps == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(start, peak, warmup_steps), after], [warmup_steps])


SCHEDULES = {"constant": constant, "cosine": cosine}


def create(name: str, learning_rate: float, total_steps: int, **options: float | None) -> optax.Schedule:
    """Builds the schedule `name`: step -> learning rate.

    Raises:
      ConfigError: for an unknown name, an option that it does not take, a rate that is
        negative or no number, or a warm-up longer than the run.
    """
    if not (math.isfinite(learning_rate) and learning_rate >= 0):
        raise ConfigError(f"optimizer.learning_rate is {learning_rate}: give a finite number >= 0")
    warmup = options.get("warmup_steps") or 0
    if warmup > total_steps:
        raise ConfigError(f"schedule: the warm-up ({warmup} steps) is longer than the run ({total_steps} steps)")
    return _options.build("schedule", SCHEDULES, name, learning_rate, total_steps, options=options)
