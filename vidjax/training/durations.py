"""Durations in steps, epochs or fractions of the run, converted to steps."""

from collections.abc import Collection, Mapping
from typing import Any

from vidjax.errors import ConfigError

UNITS: dict[str, type] = {"steps": int, "epochs": float, "fraction": float}  # unit -> type of its values


def to_steps(
    section: Mapping[str, Any],
    name: str,
    *,
    path: str = "",
    steps_per_epoch: float,
    total_steps: int | None = None,
) -> int:
    """Reads a duration from a config section, in any unit.

    Args:
      section: at most one of `{name}_steps`, `{name}_epochs` and `{name}_fraction` is not None; if `name` is "", the
        keys are `steps` and `epochs`.
      name: of the duration, e.g. "warmup".
      path: of the section in error messages, e.g. "schedule".
      steps_per_epoch: training examples / global batch size; may be fractional.
      total_steps: length of the run, needed for fractions.

    Returns:
      The duration in steps, rounded to the nearest integer.

    Raises:
      ConfigError: if no unit or more than one is given, or the value is negative.

    Example:
      >>> to_steps({"warmup_epochs": 2.5}, "warmup", steps_per_epoch=10.0)
      25
    """
    keys = {unit: f"{name}_{unit}" if name else unit for unit in UNITS}
    shown = {unit: f"{path}.{key}" if path else key for unit, key in keys.items()}
    given = {unit: section[key] for unit, key in keys.items() if key in section and section[key] is not None}
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(shown[unit] for unit in given)} are both set; set only one")
    if not given:
        raise ConfigError(f"set one of {', '.join(shown[unit] for unit, key in keys.items() if key in section)}")
    ((unit, value),) = given.items()
    if value < 0:
        raise ConfigError(f"{shown[unit]}={value}: a duration cannot be negative")
    if unit == "steps":
        return int(value)
    if unit == "epochs":
        return round(value * steps_per_epoch)
    if total_steps is None:
        raise ConfigError(f"{shown[unit]}: fractions are not supported here; use steps or epochs")
    return round(value * total_steps)


def options_in_steps(
    given: Mapping[str, Any], accepted: Collection[str], *, path: str, steps_per_epoch: float, total_steps: int
) -> dict[str, Any]:
    """Converts the durations among the options of a loss or schedule to steps.

    Args:
      given: option -> value; options that are None are dropped.
      accepted: names of the options that the function takes; options called NAME_steps are durations.
      path, steps_per_epoch, total_steps: as in `to_steps`.

    Raises:
      ConfigError: as `to_steps`.

    Example:
      >>> given = {"warmup_epochs": 2.0, "power": 1.0}
      >>> options_in_steps(given, ["warmup_steps"], path="schedule", steps_per_epoch=10.0, total_steps=50)
      {'power': 1.0, 'warmup_steps': 20}
    """
    rest = {key: value for key, value in given.items() if value is not None}
    for name in [option.removesuffix("_steps") for option in accepted if option.endswith("_steps")]:
        units = {key: rest.pop(key) for key in [f"{name}_{unit}" for unit in UNITS] if key in rest}
        if units:
            rest[f"{name}_steps"] = to_steps(
                units, name, path=path, steps_per_epoch=steps_per_epoch, total_steps=total_steps
            )
    return rest
