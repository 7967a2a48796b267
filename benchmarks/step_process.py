"""What a process of `benchmarks.train_step` does."""

import statistics
from typing import Any

from benchmarks import child, networks
from benchmarks.child import StatusCallback

TORCH = ("torch_eager", "torch_compile")
_LATER_STEPS = 5  # at least, after those that warm up


def measure(mark: StatusCallback, *, model: str, implementation: str, seconds: float, tiny: bool) -> dict[str, Any]:
    """Takes training steps; in a process of its own.

    Args:
      mark: called after the first step.
      model: of `networks`.
      implementation: "jax_native", "vidjax", "vidjax_freed" or one of `TORCH`.
      seconds: how long steps are measured; 0: only two after the first.
      tiny: the network at its smallest.
    """
    # Each framework alone: the imports of one are no part of the other's first step.
    network = (networks.TINY if tiny else networks.NETWORKS)[model]
    if implementation in TORCH:
        from benchmarks import torch_step

        torch_step.use_threads()
        take = torch_step.prepare(network, compiled=implementation == "torch_compile")
    else:
        from benchmarks import jax_step
        from vidjax.system import compilation_cache, memory

        if implementation != "jax_native":
            compilation_cache.enable()
        if implementation == "vidjax":
            memory.retain_freed_memory()
        take = jax_step.prepare(network, native=implementation == "jax_native")
    first = child.timed_once(take)
    mark("first_step_s")
    later = child.timed(take, seconds, at_least=_LATER_STEPS if seconds else 1)
    compile_s = first - statistics.median(later["wall_ms"]) / 1000
    return {**later, "compile_s": round(compile_s, 3), "peak_mb": round(child.peak_megabytes(), 1)}
