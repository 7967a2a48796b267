"""XLA compiler options for CPUs. XLA removes options without notice and rejects unknown ones."""

import functools
from collections.abc import Mapping

import jax

# XLA's fusion emitters for CPUs and LLVM's full optimization double the compile time of a step of a 3D network without
# making it faster. From jax 0.11 on the fusion emitters cannot be turned off.
CPU_OPTIONS: dict[str, bool | int] = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}


def accepted_options(options: Mapping[str, bool | int]) -> dict[str, bool | int]:
    """The options that the installed XLA accepts for CPUs.

    Each option is tried on an empty program once per process, which takes about 10 ms.

    Args:
      options: values by name, as `jax.jit(compiler_options=...)` takes them.
    """
    return {name: value for name, value in options.items() if _is_accepted(name, value)}


@functools.cache
def _is_accepted(name: str, value: bool | int) -> bool:
    cpu = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    nothing = jax.jit(lambda: (), out_shardings=cpu, compiler_options={name: value})
    try:
        nothing.lower().compile()
    except jax.errors.JaxRuntimeError:  # "No such compile option"
        return False
    return True
