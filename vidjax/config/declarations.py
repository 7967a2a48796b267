"""The keys of a config: those of its sections, and the options of the components it chooses.

The model, the data source, the loss, the optimizer and the schedule declare their options themselves. These are looked
up only where a config is about to be used, or one of them is typed: the networks take a second to import.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from vidjax.config import sections
from vidjax.data.sources import SOURCES
from vidjax.errors import ConfigError, UnknownKeyError
from vidjax.options import choosing, declaring, signatures
from vidjax.options.declaring import Option, OptionSpec
from vidjax.training.durations import UNITS

# Section that chooses a component by name -> what the component is called in messages.
NAMED_SECTIONS = {
    "model": "model",
    "data": "data source",
    "loss": "loss",
    "optimizer": "optimizer",
    "schedule": "schedule",
}
_WITH_DURATIONS = ("loss", "schedule")  # whose options NAME_steps may be given in any unit
# Section -> parameters of what is chosen that come from other sections, the data, the machine or the loop.
_RUN_PROVIDED = {
    "model": ("num_classes", "dtype", "param_dtype", "axis_name", "group_size"),
    "loss": ("step", "class_counts"),
}
# How many arguments what is chosen is given by position, which are no options.
_POSITIONAL = {"model": 1, "data": 0, "loss": 2, "optimizer": 1, "schedule": 2}


def table(section: str) -> Mapping[str, Callable[..., Any]]:
    """Returns name -> component for a section; all tables but that of `data` import JAX."""
    if section == "data":
        return SOURCES
    if section == "model":
        from vidjax.models import MODELS

        return MODELS
    from vidjax.training import losses, optimizers, schedules

    return {"loss": losses.LOSSES, "optimizer": optimizers.OPTIMIZERS, "schedule": schedules.SCHEDULES}[section]


def label(part: ConfigDict) -> str:
    """Returns the name of the chosen component, for messages."""
    return str(part.get("factory") or part.name)


def chosen(section: str, part: ConfigDict) -> Callable[..., Any]:
    """Returns the component that a section chooses.

    Raises:
      ConfigError: if there is no such thing.
    """
    return choosing.resolve(NAMED_SECTIONS[section], table(section), part.name, part.get("factory"))


def options_of_callable(
    section: str, function: Callable[..., Any], *, is_custom: bool = False
) -> dict[str, OptionSpec]:
    """Returns the options of a component, as keys of the config.

    Args:
      section: in which it is chosen.
      function: it.
      is_custom: a factory of the user's.

    Raises:
      ConfigError: if it needs an option that is a key of the section already.
    """
    found = {}
    for name, key in declaring.declared_options(function, is_custom=is_custom, positional=_POSITIONAL[section]).items():
        if is_run_provided(section, name):
            continue
        if name in sections.KEYS[section]:
            if key.required:
                raise ConfigError(f"the factory needs an option {name!r}, which is a key of config.{section} already")
            continue
        found[name] = key
        duration = name.removesuffix("_steps")
        if section in _WITH_DURATIONS and duration != name:
            for unit, kind in UNITS.items():
                option = key.option if unit == "steps" else _in_other_units(key.option)
                found[f"{duration}_{unit}"] = OptionSpec(f"{duration}_{unit}", (kind,), None, option)
    return found


def is_run_provided(section: str, name: str) -> bool:
    """Whether a parameter of a component is set by the run, so that it is no key of the section."""
    return name in _RUN_PROVIDED.get(section, ())


def duration_keys(key: str) -> tuple[str, ...]:
    """Returns the keys of the same duration in all units; () for a dotted key that is no duration.

    Example:
      >>> duration_keys("schedule.warmup_epochs")
      ('schedule.warmup_steps', 'schedule.warmup_epochs', 'schedule.warmup_fraction')
    """
    duration, _, unit = key.rpartition("_")
    if key.partition(".")[0] not in _WITH_DURATIONS or unit not in UNITS:
        return ()
    return tuple(f"{duration}_{unit}" for unit in UNITS)


def _in_other_units(option: Option) -> Option:
    """Converts the range of a duration in steps to other units: only whether it may be 0 carries over."""
    if option.above is not None or (option.at_least or 0) > 0:
        return Option(option.help, above=0)
    return Option(option.help, at_least=0)


def options_of_choice(section: str, part: ConfigDict) -> dict[str, OptionSpec]:
    """Returns the options of the component that a section chooses.

    Raises:
      ConfigError: if there is no such thing.
    """
    return options_of_callable(section, chosen(section, part), is_custom=bool(part.get("factory")))


def all_options(section: str) -> dict[str, dict[str, OptionSpec]]:
    """Returns option -> name of each component that takes it -> its declaration."""
    found: dict[str, dict[str, OptionSpec]] = {}
    for name, function in table(section).items():
        for key, option in options_of_callable(section, function).items():
            found.setdefault(key, {})[name] = option
    return found


def known_keys() -> list[str]:
    """Returns all dotted keys of configs that use built-in components."""
    return sorted(
        f"{section}.{name}" if section else name
        for section, keys in sections.KEYS.items()
        for name in {*keys, *(all_options(section) if section in NAMED_SECTIONS else ())}
    )


def keys_of(config: ConfigDict) -> dict[str, OptionSpec]:
    """Returns dotted key -> declaration, for every key of a config with the components it chooses.

    Raises:
      ConfigError: if something that it chooses is not there.
    """
    found = {}
    for section, keys in sections.KEYS.items():
        chosen_keys = options_of_choice(section, config[section]) if section in NAMED_SECTIONS else {}
        for name, key in {**keys, **chosen_keys}.items():
            found[f"{section}.{name}" if section else name] = key
    return found


def unsupported_option_message(section: str, part: ConfigDict, key: str) -> UnknownKeyError:
    """The error for an option that the chosen component does not take: names others that do, or what it takes."""
    others = [] if part.get("factory") else list(all_options(section).get(key, ()))
    kind, name, taken = NAMED_SECTIONS[section], label(part), options_of_choice(section, part)
    return choosing.not_taken(kind, name, key, taken, others, section)


def declare(config: ConfigDict, section: str, *, dropped: Collection[str] = (), typed: Collection[str] = ()) -> None:
    """Adds the options of the chosen component to its section; those that are not set yet are None.

    Args:
      config: modified in place.
      section: one of `NAMED_SECTIONS`.
      dropped: options to drop if the chosen component does not declare them; any others are an error, unless
        it is a factory that takes any.
      typed: dotted keys that the command line sets later.

    Raises:
      ConfigError: for what is chosen and is not there, an option that it does not take, or a value of a wrong type.
    """
    part, function = config[section], chosen(section, config[section])
    keys = options_of_choice(section, part)
    takes_any = signatures.accepts_any_option(function)
    typed_here = {key.removeprefix(f"{section}.") for key in typed if key.startswith(f"{section}.")}
    if takes_any:
        keys |= {
            name: OptionSpec(name, (object,))
            for name in sorted(typed_here)
            if name.isidentifier()
            and name not in (*keys, *sections.KEYS[section])
            and not is_run_provided(section, name)
        }
    for name, value in sections.of_choice(section, part).items():
        is_any = takes_any and value is not None and not is_run_provided(section, name)
        if name in keys or (is_any and name not in dropped):
            continue
        if value is not None and name not in dropped:
            raise unsupported_option_message(section, part, name)
        del part[name]
    for name, key in keys.items():
        try:
            sections.set_field(part, key, part.get(name))
        except ValueError as error:
            if name not in typed_here:
                raise ConfigError(f"{section}.{name}: {error}") from error


def declare_all(config: ConfigDict) -> None:
    """Adds the options of all chosen components to a config; those that were not given are None.

    Raises:
      ConfigError: as `declare`.
    """
    with config.unlocked():
        for section in NAMED_SECTIONS:
            declare(config, section)


def check_required(section: str, part: ConfigDict) -> None:
    """Refuses a section that lacks a required option of its component.

    Raises:
      ConfigError: naming those that are missing.
    """
    missing = [
        name for name, key in options_of_choice(section, part).items() if key.required and part.get(name) is None
    ]
    if missing:
        keys = ", ".join(f"--config.{section}.{name}=..." for name in missing)
        raise ConfigError(f"{NAMED_SECTIONS[section]} {label(part)!r} needs {keys}")


def check_values(config: ConfigDict) -> None:
    """Refuses values that are missing, out of range or not among the known words.

    Args:
      config: with all its keys.

    Raises:
      ConfigError: naming the key, its value and what to give.
    """
    for section in NAMED_SECTIONS:
        check_required(section, config[section])
    for name, key in keys_of(config).items():
        section, _, last = name.rpartition(".")
        value = (config[section] if section else config).get(last)
        if value is not None:
            key.option.check(name, value)
