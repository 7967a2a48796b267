"""The devices that JAX computes on, or why there are none; also as `python -m vidjax.system.devices`."""

import os
import re
import sys

import jax
from jax.extend import backend

from vidjax.errors import ConfigError

_PLUGINS = {"cuda": "an NVIDIA GPU", "tpu": "a TPU"}  # of JAX, in requirements-NAME.txt


def available() -> list[jax.Device]:
    """Returns all devices, those of other processes of a run, too; starts JAX's back end.

    Raises:
      ConfigError: if what JAX_PLATFORMS asks for is not there or cannot be used; says what is.
    """
    try:
        return jax.devices()
    except (AssertionError, RuntimeError) as error:
        asked, reason = jax.config.values["jax_platforms"], _reason(error)
        if not asked:
            raise ConfigError(f"JAX finds no device that it can use: {reason}") from error
        names = {"cuda" if name == "gpu" else name for name in asked.split(",")}
        plugins = [f", or install requirements-{name}.txt for {_PLUGINS[name]}" for name in _PLUGINS if name in names]
        raise ConfigError(
            f"JAX_PLATFORMS={asked} asks for a device that is not available ({reason}); there:"
            f" {', '.join(_others())}; unset JAX_PLATFORMS to use what is there{''.join(plugins)}"
        ) from error


def description() -> str:
    """Names the hardware that JAX computes on, e.g. "8 x TPU v5e" or "cpu, 2 cores"."""
    devices = jax.devices()
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return f"CPU, {cores} core{'s' * (cores != 1)}" + (
            f", {len(devices)} virtual devices" if len(devices) > 1 else ""
        )
    return f"{len(devices)} x {kind}"


def _reason(error: Exception) -> str:
    """Returns JAX's error message in one line, without its advice."""
    said = re.sub(r"^Unable to initialize backend '\w*': | \((set JAX_PLATFORMS|you may need).*", "", str(error))
    if not said:  # an assertion without a message
        return "no GPU is visible"
    return "JAX has no such back end as installed" if "list of known backends" in said else said.splitlines()[0]


def _others() -> list[str]:
    """Returns the platforms that JAX would use by default; resets its back ends afterward."""
    asked = jax.config.values["jax_platforms"]
    try:
        jax.config.update("jax_platforms", "")
        return sorted({device.platform for device in jax.devices()})
    except (AssertionError, RuntimeError):
        return ["none"]
    finally:
        jax.config.update("jax_platforms", asked)
        backend.clear_backends()


if __name__ == "__main__":
    try:
        print(*available(), sep="\n")
    except ConfigError as problem:
        sys.exit(f"{problem}")
