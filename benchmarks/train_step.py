"""Compares training steps with PyTorch: forward, backward, SGD with momentum, in float32 on a CPU.

  pip install -r requirements-bench.txt
  python -m benchmarks.train_step                                       all networks, all implementations
  python -m benchmarks.train_step --models lstm --implementations vidjax torch_eager
  python -m benchmarks.train_step --batches 8 32                        besides, vidjax and PyTorch on other batches
  python -m benchmarks.train_step --out results/benchmarks/train_step.json   for the docs

Implementations: "JAX native" uses XLA's convolutions and pooling and flax's LSTM instead of vidjax's, and XLA's
default compiler options instead of `vidjax.training.compiler_options.CPU_OPTIONS`; "keep_memory off" returns freed
memory to the system (see `vidjax.system.memory`); "torch eager" and "torch.compile" use the channels-last memory
format and fused SGD. All train the same networks (a test checks this with transferred weights) on the same batch,
without dropout, with as many threads as the process has cores.

Each implementation is measured in fresh processes, in rounds of all implementations, so that slow drifts of the
machine affect all of them equally. A step is timed from its call until everything is computed. "first step" is the
time from the start of the process, including imports and initialization; cold without a compilation cache, warm with
a cache on disk filled by an earlier process (vidjax: `vidjax.system.compilation_cache`, as in training; JAX native:
JAX's cache for every program; torch.compile: Inductor's). "compile" is the difference between the first step and a
later one. "peak memory" is that of a cold process, without the compilers that it starts.

Each network has a batch of its own. On those of --batches only vidjax and PyTorch are measured: XLA's native operations
take minutes there.
"""

import argparse
import dataclasses
import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import networks, processes, report
from benchmarks.networks import Network
from benchmarks.processes import Task
from benchmarks.step_process import TORCH

# Name in commands -> in tables.
IMPLEMENTATIONS = {
    "jax_native": "JAX native",
    "vidjax": "vidjax",
    "vidjax_freed": "vidjax, keep_memory off",
    "torch_eager": "torch eager",
    "torch_compile": "torch.compile",
}
_ON_OTHER_BATCHES = ("vidjax", *TORCH)


def chosen_networks(models: Sequence[str], batches: Sequence[int] = (), tiny: bool = False) -> list[Network]:
    """The networks, each on its own batch and then on the others.

    Args:
      models: names, of `networks`.
      batches: other numbers of clips.
      tiny: whether to use the smallest version of the networks.
    """
    found = [(networks.TINY if tiny else networks.NETWORKS)[model] for model in models]
    others = [network.with_batch(batch) for network in found for batch in dict.fromkeys(batches)]
    return found + [network for network in others if network.has_other_batch]


def plan(
    measured: Sequence[Network], implementations: Sequence[str], rounds: int, seconds: float, folder: Path
) -> Iterator[Task]:
    """The processes of all rounds, preceded by processes that fill the caches, whose measurements are discarded.

    Args:
      measured: the networks.
      implementations: of `IMPLEMENTATIONS`.
      rounds: number of rounds, each in random order.
      seconds: duration of each measurement.
      folder: for the caches.
    """

    def task(number: int, network: Network, implementation: str, start: str) -> Task:
        stem = f"{network.key.replace('/', '-')}-{implementation}"
        cold, filled = folder / f"{stem}-{number}", folder / stem
        cache = str(cold if start == "cold" else filled)
        is_product = implementation.startswith("vidjax")
        environment = {
            "VIDJAX_CACHE": cache,
            "JAX_COMPILATION_CACHE_DIR": None if is_product or start == "cold" else cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": None if is_product else "0",
            "TORCHINDUCTOR_CACHE_DIR": cache,
        }
        return Task(
            "benchmarks.step_process:measure",
            {
                "network": dataclasses.asdict(network),
                "implementation": implementation,
                "seconds": seconds if start == "cold" else 0,
            },
            f"{network.key}, {IMPLEMENTATIONS[implementation]}, {start}",
            f"{network.key}, {implementation}",
            environment,
        )

    def of(network: Network) -> list[str]:
        return [name for name in implementations if not network.has_other_batch or name in _ON_OTHER_BATCHES]

    def is_cached(implementation: str) -> bool:
        return implementation != "torch_eager"

    for network in measured:
        yield from (task(0, network, name, "filling the cache") for name in of(network) if is_cached(name))
    rng = random.Random(0)
    for number in range(1, rounds + 1):
        for network in measured:
            for implementation in rng.sample(of(network), len(of(network))):
                yield task(number, network, implementation, "cold")
                if is_cached(implementation):
                    yield task(number, network, implementation, "warm")


Samples = dict[str, dict[str, dict[str, list[dict[str, Any]]]]]


def gather(outcomes: Iterator[tuple[Task, dict[str, Any]]]) -> Samples:
    """Key of a network -> implementation -> "cold" or "warm" -> what each round gave; a failure once, as "failed"."""
    samples: Samples = {}
    for task, outcome in outcomes:
        start = task.kind.rpartition(", ")[2]
        of_network = samples.setdefault(Network.of(task.arguments["network"]).key, {})
        of_this = of_network.setdefault(task.arguments["implementation"], {"cold": [], "warm": []})
        if "error" in outcome:
            of_this["failed"] = [outcome]
        elif start in of_this:
            of_this[start].append(outcome)
    return samples


def medians(processes_of_rounds: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """One number for each round: the value, or the median of the values."""
    found = [outcome[key] for outcome in processes_of_rounds]
    return [statistics.median(value) if isinstance(value, list) else value for value in found]


def step_table(samples: Samples, measured: Sequence[Network]) -> pd.DataFrame:
    """Step times: one row per network and implementation."""
    rows: list[tuple[str, ...]] = []
    for network in measured:
        implementations = samples.get(network.key, {})
        walls = {name: medians(of_this["cold"], "wall_ms") for name, of_this in implementations.items()}
        torch = report.better([walls.get(name, []) for name in TORCH])
        for name in (name for name in IMPLEMENTATIONS if name in implementations):
            cold = implementations[name]["cold"]
            steps = [ms for process in cold for ms in process["wall_ms"]]
            head = (f"{network.title}, {network.size}", IMPLEMENTATIONS[name])
            if not steps or "failed" in implementations[name]:
                rows.append((*head, f"failed: {implementations[name]['failed'][0]['error']}", "-", "-", "-", "-"))
                continue
            low, middle, high = statistics.quantiles(steps, n=4, method="inclusive")
            ratios = (report.ratio(walls[name], torch), report.ratio(walls[name], walls.get("jax_native", [])))
            cpu = [statistics.median(medians(cold, key)) for key in ("cpu_ms", "system_ms")]
            shown = [f"{ms:,.0f}" if ms >= 100 else f"{ms:.1f}" for ms in cpu]
            rows.append((*head, report.between(middle, low, high), *ratios, *shown))
    heads = ["network, batch", "implementation", "ms/step (quartiles)", "over the better torch (range)"]
    return pd.DataFrame(rows, columns=[*heads, "over JAX native (range)", "CPU ms/step", "kernel's ms/step"])


def start_table(samples: Samples, measured: Sequence[Network]) -> pd.DataFrame:
    """First steps and memory: one row per network and implementation."""
    rows = []
    for network in measured:
        implementations = samples.get(network.key, {})
        title = network.title if not network.has_other_batch else f"{network.title}, {network.size}"
        for name in (name for name in IMPLEMENTATIONS if name in implementations):
            cold, warm = (implementations[name][start] for start in ("cold", "warm"))
            if "failed" in implementations[name]:
                continue
            times = [report.spread(medians(of, "first_step_s")) for of in (cold, warm)]
            times += [report.spread(medians(of, "compile_s")) for of in (cold, warm)]
            peak = statistics.median(medians(cold, "peak_mb"))
            rows.append((title, IMPLEMENTATIONS[name], *times, f"{peak:,.0f}"))
    heads = ["network", "implementation", "first step s, cold (range)", "first step s, warm"]
    return pd.DataFrame(rows, columns=[*heads, "compile s, cold", "compile s, warm", "peak memory MB"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    report.add_choice(parser, "--models", networks.NETWORKS)
    help_ = "clips in a batch, besides each network's own"
    parser.add_argument("--batches", nargs="+", type=int, default=[], metavar="CLIPS", help=help_)
    arguments = report.read_arguments(parser, argv, IMPLEMENTATIONS, TORCH, seconds=5.0)
    if min(arguments.batches, default=1) < 1:
        parser.error("--batches must be above 0")
    measured = chosen_networks(arguments.models, arguments.batches, arguments.tiny)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tasks = plan(measured, arguments.implementations, arguments.rounds, arguments.seconds, Path(folder))
        samples = gather(processes.run_all(list(tasks)))
    cold = [outcome for of in samples.values() for of_this in of.values() for outcome in of_this["cold"]]
    tables = {
        f"Training steps on a CPU, float32{report.used(cold)}": step_table(samples, measured),
        "From the start of a process to the end of its first training step": start_table(samples, measured),
    }
    report.publish(arguments, tables, {"train_step": samples})


if __name__ == "__main__":
    main()
