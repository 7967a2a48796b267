"""Learning rate schedules by name: functions of the step number, which is 0 at the first step.

In the equations S is the total number of steps and w the length of the linear warmup, from `warmup_from` at step 0 to
the value of the schedule at step w, where the decay starts.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import optax

from vidjax.errors import ConfigError, OptionError
from vidjax.options import choosing as _options
from vidjax.options.declaring import Option

WarmupSteps = Annotated[int, Option("linear warmup: set one of the three units", at_least=0)]
WarmupFrom = Annotated[float, Option("learning rate at step 0", at_least=0)]
FinalFraction = Annotated[float, Option("final learning rate / peak; plateau: the minimum", at_least=0, at_most=1)]
DecayEvery = Annotated[int, Option("length of one decay: set one of the three units", at_least=1)]
DecayRate = Annotated[float, Option("factor of one decay", above=0)]


def constant(
    learning_rate: float, total_steps: int, *, warmup_steps: WarmupSteps = 0, warmup_from: WarmupFrom = 0.0
) -> optax.Schedule:
    """A constant rate."""
    del total_steps
    return _with_warmup(optax.constant_schedule(learning_rate), learning_rate, warmup_steps, warmup_from)


def step(
    learning_rate: float,
    total_steps: int,
    *,
    boundaries: Annotated[
        Sequence[float] | None, Option("fractions of the run at which the rate drops, e.g. '(0.5,0.75)'")
    ] = None,
    decay_every_steps: DecayEvery | None = None,
    decay_rate: DecayRate = 0.1,
    warmup_steps: WarmupSteps = 0,
    warmup_from: WarmupFrom = 0.0,
) -> optax.Schedule:
    """Multiplies the rate by `decay_rate` at each boundary, from that step on.

    Args:
      learning_rate: initial rate.
      total_steps: S.
      boundaries: fractions of the run, e.g. (0.625, 0.875): Simonyan & Zisserman 2014 divide the rate by 10
        after 50k and 70k of 80k iterations. The first step always has the initial rate.
      decay_every_steps: alternatively, the distance between boundaries (Tran et al. 2015: 4 epochs).
      decay_rate: factor at each boundary.
      warmup_steps: w; boundaries are counted from step 0 and must come after the warmup.
      warmup_from: rate at step 0.

    Raises:
      OptionError: unless exactly one of boundaries and decay_every_steps is given and the boundaries are valid.
    """
    _check_boundaries(boundaries, decay_every_steps)
    if boundaries is not None:
        steps = [max(1, round(fraction * total_steps)) for fraction in boundaries]
    else:
        assert decay_every_steps is not None
        steps = list(range(_positive_steps(decay_every_steps), total_steps, decay_every_steps))
    if warmup_steps and steps and min(steps) <= warmup_steps:
        raise OptionError(
            f"{{warmup_*}}: the warmup ({warmup_steps} steps) must end before the first boundary (step {min(steps)})",
            ["warmup_*"],
        )
    factors: dict[int, float] = {}
    for boundary in steps:  # two boundaries at one step both count
        factors[boundary] = factors.get(boundary, 1.0) * decay_rate
    pieces = optax.piecewise_constant_schedule(learning_rate, factors)
    return _warmup_within(pieces, warmup_steps, warmup_from)


def exponential(
    learning_rate: float,
    total_steps: int,
    *,
    decay_rate: DecayRate = 0.1,
    decay_every_steps: DecayEvery | None = None,
    warmup_steps: WarmupSteps = 0,
    warmup_from: WarmupFrom = 0.0,
) -> optax.Schedule:
    """rate(s) = peak * decay_rate^((s - w) / n), n = decay_every_steps, by default S - w."""
    n = _positive_steps(decay_every_steps) if decay_every_steps is not None else max(1, total_steps - warmup_steps)
    decay = optax.exponential_decay(learning_rate, n, decay_rate)
    return _with_warmup(decay, learning_rate, warmup_steps, warmup_from)


def polynomial(
    learning_rate: float,
    total_steps: int,
    *,
    power: Annotated[float, Option("exponent", above=0)] = 1.0,
    final_fraction: FinalFraction = 0.0,
    warmup_steps: WarmupSteps = 0,
    warmup_from: WarmupFrom = 0.0,
) -> optax.Schedule:
    """rate(s) = peak * (f + (1 - f) * (1 - (s - w) / (S - w))^power), f = final_fraction; power 1 is a line."""
    duration = max(1, total_steps - warmup_steps)
    decay = optax.polynomial_schedule(learning_rate, final_fraction * learning_rate, power, duration)
    return _with_warmup(decay, learning_rate, warmup_steps, warmup_from)


def cosine(
    learning_rate: float,
    total_steps: int,
    *,
    warmup_steps: WarmupSteps = 0,
    warmup_from: WarmupFrom = 0.0,
    final_fraction: FinalFraction = 0.0,
) -> optax.Schedule:
    """Half a cosine from the rate to `final_fraction` of it, after a linear warmup.

    rate(s) = peak * (f + (1 - f) * (1 + cos(pi * (s - w) / (S - w))) / 2), f = final_fraction.

    References:
      Loshchilov & Hutter 2017, "SGDR", equation 5, one cycle.
    """
    decay = optax.cosine_decay_schedule(learning_rate, max(1, total_steps - warmup_steps), alpha=final_fraction)
    return _with_warmup(decay, learning_rate, warmup_steps, warmup_from)


def half_cosine(
    learning_rate: float,
    total_steps: int,
    *,
    warmup_steps: WarmupSteps = 0,
    warmup_from: WarmupFrom = 0.0,
    final_fraction: FinalFraction = 0.0,
) -> optax.Schedule:
    """The cosine of SlowFast: it spans the whole run, and the warmup replaces its beginning.

    rate(s) = peak * (f + (1 - f) * (1 + cos(pi * s / S)) / 2) from step w on; the peak is never reached.

    References:
      Feichtenhofer et al. 2019, "SlowFast Networks", section 4: 0.5 * (cos(pi * n / n_max) + 1), with a linear
      warmup over the first 8k iterations.
    """
    whole = optax.cosine_decay_schedule(learning_rate, total_steps, alpha=final_fraction)
    return _warmup_within(whole, warmup_steps, warmup_from)


def one_cycle(
    learning_rate: float,
    total_steps: int,
    *,
    pct_start: Annotated[float, Option("fraction of the run before the peak", above=0, below=1)] = 0.3,
    div_factor: Annotated[float, Option("peak / rate at step 0", above=0)] = 25.0,
    final_div_factor: Annotated[float, Option("rate at step 0 / final rate", above=0)] = 1e4,
) -> optax.Schedule:
    """One cycle: peak / div_factor -> peak -> peak / (div_factor * final_div_factor), along cosines.

    The peak is at step floor(pct_start * S), the end at step S. Names and defaults are those of PyTorch's
    OneCycleLR, where both are one step earlier and the momentum changes, too; here it is constant.

    References:
      Smith & Topin 2018, "Super-Convergence".
    """
    return optax.cosine_onecycle_schedule(total_steps, learning_rate, pct_start, div_factor, final_div_factor)


@dataclasses.dataclass(frozen=True)
class Plateau:
    """A schedule whose rate is multiplied by a factor that validations may lower.

    Attributes:
      rate: step -> rate without that factor.
      controller: tracks the factor; call `update({}, state, value=loss)` after each validation.
    """

    rate: optax.Schedule
    controller: optax.GradientTransformationExtraArgs

    def __call__(self, count: Any) -> Any:
        return self.rate(count)


def plateau(
    learning_rate: float,
    total_steps: int,
    *,
    factor: Annotated[
        float, Option("learning rate factor when the validation loss stops improving", above=0, below=1)
    ] = 0.1,
    patience: Annotated[int, Option("validations without improvement before a reduction", at_least=1)] = 10,
    cooldown: Annotated[int, Option("validations to ignore after a reduction", at_least=0)] = 0,
    threshold: Annotated[float, Option("minimum relative improvement", above=0, below=1)] = 1e-4,
    final_fraction: FinalFraction = 0.0,
    warmup_steps: WarmupSteps = 0,
    warmup_from: WarmupFrom = 0.0,
) -> Plateau:
    """Reduces the rate when the validation loss stops improving.

    Args:
      learning_rate: initial rate.
      total_steps: not used.
      factor: of each reduction.
      patience: consecutive validations without improvement before a reduction (PyTorch: one more).
      cooldown: validations to ignore after a reduction.
      threshold: an improvement is a loss below (1 - threshold) * the best so far.
      final_fraction: minimum rate / initial rate.
      warmup_steps: w.
      warmup_from: rate at step 0.
    """
    controller = optax.contrib.reduce_on_plateau(
        factor, patience, rtol=threshold, cooldown=cooldown, min_scale=final_fraction
    )
    rate = constant(learning_rate, total_steps, warmup_steps=warmup_steps, warmup_from=warmup_from)
    return Plateau(rate, controller)


def _with_warmup(after: optax.Schedule, peak: float, warmup_steps: int, start: float) -> optax.Schedule:
    """A linear warmup from `start` to `peak`, followed by `after` from its step 0 on."""
    if warmup_steps == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(start, peak, warmup_steps), after], [warmup_steps])


def _warmup_within(whole: optax.Schedule, warmup_steps: int, start: float) -> optax.Schedule:
    """Replaces the beginning of `whole`, a function of the step of the run, by a linear warmup."""

    def after(count: Any) -> Any:
        return whole(count + warmup_steps)

    if warmup_steps == 0:
        return whole
    return _with_warmup(after, float(whole(warmup_steps)), warmup_steps, start)


def _check_boundaries(boundaries: Sequence[float] | None, decay_every_steps: int | None) -> None:
    if (boundaries is None) == (decay_every_steps is None):
        raise OptionError(
            "schedule 'step': set either {boundaries} or {decay_every_steps} (or _epochs, _fraction)",
            ["boundaries", "decay_every_steps"],
        )
    if boundaries is not None and not all(0 < fraction < 1 for fraction in boundaries):
        raise OptionError(
            f"{{boundaries}}={tuple(boundaries)} must be fractions of the run between 0 and 1", ["boundaries"]
        )


def _positive_steps(steps: int) -> int:
    if steps < 1:
        raise OptionError(f"{{decay_every_*}}: {steps} steps, but at least 1 is required", ["decay_every_*"])
    return steps


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "step": step,
    "exponential": exponential,
    "polynomial": polynomial,
    "cosine": cosine,
    "half_cosine": half_cosine,
    "one_cycle": one_cycle,
    "plateau": plateau,
}


def check(name: str, learning_rate: float, total_steps: int, **options: Any) -> None:
    """Makes the checks of `create` that do not require building the schedule on a device.

    Raises:
      ConfigError: as `create`.
    """
    if not (math.isfinite(learning_rate) and learning_rate >= 0):
        raise ConfigError(f"the learning rate is {learning_rate}, but must be a finite number >= 0")
    warmup = options.get("warmup_steps") or 0
    if warmup > total_steps:
        raise OptionError(
            f"{{warmup_*}}: the warmup ({warmup} steps) is longer than the run ({total_steps} steps)", ["warmup_*"]
        )
    if options.get("warmup_from") is not None and not warmup:
        raise OptionError(
            f"{{warmup_from}}={options['warmup_from']} has no effect without a warmup: set {{warmup_steps}},"
            " warmup_epochs or warmup_fraction",
            ["warmup_from", "warmup_steps"],
        )
    given = {key: value for key, value in options.items() if value is not None}
    function = _options.resolve("schedule", SCHEDULES, name)
    if function in (step, exponential) and "decay_every_steps" in given:  # it may have been set in another unit
        _positive_steps(given["decay_every_steps"])
    _options.check("schedule", SCHEDULES, name, function, given)
    if function is step:
        _check_boundaries(given.get("boundaries"), given.get("decay_every_steps"))


def create(name: str, learning_rate: float, total_steps: int, **options: Any) -> optax.Schedule:
    """Builds the schedule `name`: step -> learning rate.

    Raises:
      ConfigError: for an unknown name, an option that the schedule does not take, a rate that is negative or not
        finite, or a warmup longer than the run.
    """
    check(name, learning_rate, total_steps, **options)
    return _options.build("schedule", SCHEDULES, name, learning_rate, total_steps, options=options)
