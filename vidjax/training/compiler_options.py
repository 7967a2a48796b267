"""Options of XLA's compiler for CPUs. XLA drops them without notice, and refuses what it does not know."""

import functools
from collections.abc import Mapping

import jax

# XLA's newer way to write loops for CPUs, and all of LLVM's optimisation, double the time to compile a step of a 3D
# network and do not make it faster. From jax 0.11 on there is only the newer way.
CPU_OPTIONS: dict[str, bool | int] = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}


def accepted_options(options: Mapping[str, bool | int]) -> dict[str, bool | int]:
    """Those of the options that the installed XLA takes for CPUs.

    Each is tried once in a process, on an empty program; that takes about 10 ms.

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
