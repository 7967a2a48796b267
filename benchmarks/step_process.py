"""The measurement of `benchmarks.train_step` and `benchmarks.growth`."""

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks import worker
from benchmarks.networks import Network
from benchmarks.worker import StatusCallback

TORCH = ("torch_eager", "torch_compile")
_LATER_STEPS = 5  # at least, after the warmup


def measure(mark: StatusCallback, *, network: Mapping[str, Any], implementation: str, seconds: float) -> dict[str, Any]:
    """Measures training steps, in a separate process.

    Args:
      mark: called after the first step.
      network: fields of a `Network`.
      implementation: "jax_native", "vidjax", "vidjax_freed" or one of `TORCH`.
      seconds: duration of the measurement; 0: only two steps after the first.
    """
    # Import only one framework, so that the other one's imports do not count for the first step.
    measured = Network.of(network)
    if implementation in TORCH:
        from benchmarks import torch_step

        torch_step.use_threads()
        take = torch_step.prepare(measured, compiled=implementation == "torch_compile")
    else:
        from benchmarks import jax_step
        from vidjax.system import compilation_cache, memory

        if implementation != "jax_native":
            compilation_cache.enable()
        if implementation == "vidjax":
            memory.retain_freed_memory()
        take = jax_step.prepare(measured, native=implementation == "jax_native")
    first = worker.timed_once(take)
    mark("first_step_s")
    later = worker.timed(take, seconds, at_least=_LATER_STEPS if seconds else 1)
    compile_s = first - statistics.median(later["wall_ms"]) / 1000
    measurements = {**later, "compile_s": round(compile_s, 3), "peak_mb": round(worker.peak_megabytes(), 1)}
    if implementation.startswith("vidjax"):
        from vidjax.layers.cpu.onednn import choice

        measurements["convolutions"] = choice.describe()  # which may load it: the memory is measured before
    return measurements
