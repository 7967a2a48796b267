"""Durations: steps, epochs or a fraction of the run, through one converter."""

from collections.abc import Collection, Mapping
from typing import Any

from vidjax.errors import ConfigError

UNITS: dict[str, type] = {"steps": int, "epochs": float, "fraction": float}  # unit -> type of its numbers


def to_steps(
    section: Mapping[str, Any],
    name: str,
    *,
    path: str = "",
    steps_per_epoch: float,
    total_steps: int | None = None,
) -> int:
    """Reads a duration from a config section, in whichever unit it is given.

    Args:
      section: holds at most one of `{name}_steps`, `{name}_epochs` and `{name}_fraction` that is not
        None; where `name` is "" the keys are `steps` and `epochs`.
      name: what the duration is of, e.g. "warmup".
      path: of the section, as messages name it, e.g. "schedule".
      steps_per_epoch: training examples / global batch size; need not be whole.
      total_steps: length of the run, which a fraction is of.

    Returns:
      The duration in steps, rounded to the nearest.

    Raises:
      ConfigError: if two units are given, none, or the number is negative.

    Example:
      >>> to_steps({"warmup_epochs": 2.5}, "warmup", steps_per_epoch=10.0)
      25
    """
    keys = {unit: f"{name}_{unit}" if name else unit for unit in UNITS}
    shown = {unit: f"{path}.{key}" if path else key for unit, key in keys.items()}
    given = {unit: section[key] for unit, key in keys.items() if key in section and section[key] is not None}
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(shown[unit] for unit in given)} are both set: give one of them")
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
        raise ConfigError(f"{shown[unit]}: a fraction has no meaning here; give steps or epochs")
    return round(value * total_steps)


def options_in_steps(
    given: Mapping[str, Any], accepted: Collection[str], *, path: str, steps_per_epoch: float, total_steps: int
) -> dict[str, Any]:
    """Options of something that counts in steps, whatever units its durations are given in.

    Args:
      given: option -> value; those that are None are left out.
      accepted: names of the options that it takes; those called NAME_steps are durations.
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
