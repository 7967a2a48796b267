"""Measures how the time of a training step grows with the length and the side of clips, against what is computed.

  python -m benchmarks.growth                                           all networks
  python -m benchmarks.growth --models c3d_small --implementations vidjax torch_eager
  python -m benchmarks.growth --out results/benchmarks/growth.json      for the docs

Each network trains on clips of one, two and four times the frames, and of one, two and four times the side. "Over
MACs" is how many times the time of a step has grown, divided by how many times the multiply-accumulates have: 1.00 if
time is in proportion, less where a small step has costs of its own (calls of operations, the optimizer), more where a
larger one is less efficient. Steps are those of `benchmarks.train_step`, each measured in fresh processes, in rounds.
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
from benchmarks.train_step import IMPLEMENTATIONS, medians

FACTORS = (1, 2, 4)
# The smallest clips.
BASES = {
    "early_fusion": (8, 10, 112, 112, 3),
    "c3d_small": (4, 16, 56, 56, 3),
    "slowfast_r18_small": (2, 32, 64, 64, 3),
    "i3d": (1, 16, 56, 56, 3),
    "mobilenet_v2": (16, 56, 56, 3),
    "lstm": (32, 16, 512),
}
_PEER = "torch_eager"  # torch.compile takes a minute for each shape
_FRAMES, _SIDE = "frames", "side"


def grown(network: Network, axis: str, factor: int) -> Network:
    """The network on clips of so many times the frames or side; sequences have no side, images no frames."""
    batch, *rest = network.shape
    if axis == _FRAMES:
        rest[0] *= factor
    else:
        rest[-3:-1] = [factor * side for side in rest[-3:-1]]
    return dataclasses.replace(network, shape=(batch, *rest))


def sizes(models: Sequence[str], tiny: bool = False) -> dict[str, dict[str, list[Network]]]:
    """Name -> "frames" or "side" -> the network on clips of each of `FACTORS`."""
    found: dict[str, dict[str, list[Network]]] = {}
    for name in models:
        base = networks.TINY[name] if tiny else dataclasses.replace(networks.NETWORKS[name], shape=BASES[name])
        axes = {5: (_FRAMES, _SIDE), 4: (_SIDE,), 3: (_FRAMES,)}[len(base.shape)]
        found[name] = {axis: [grown(base, axis, factor) for factor in FACTORS] for axis in axes}
    return found


def plan(
    measured: Mapping[str, Mapping[str, Sequence[Network]]],
    implementations: Sequence[str],
    rounds: int,
    seconds: float,
    folder: Path,
) -> Iterator[Task]:
    """The processes of all rounds, each in random order; every shape once.

    Args:
      measured: of `sizes`.
      implementations: of `IMPLEMENTATIONS`.
      rounds: number of rounds.
      seconds: duration of each measurement.
      folder: for the caches.
    """
    rng = random.Random(0)
    every = dict.fromkeys(each for axes in measured.values() for of_axis in axes.values() for each in of_axis)
    pairs = [(network, implementation) for network in every for implementation in implementations]
    for _ in range(rounds):
        for network, implementation in rng.sample(pairs, len(pairs)):
            subject = f"{network.name} {network.size}, {implementation}"
            yield Task(
                "benchmarks.step_process:measure",
                {"network": dataclasses.asdict(network), "implementation": implementation, "seconds": seconds},
                subject,
                subject,
                {"VIDJAX_CACHE": str(folder)},
            )


Samples = dict[str, dict[str, dict[str, list[dict[str, Any]]]]]


def gather(outcomes: Iterator[tuple[Task, dict[str, Any]]]) -> Samples:
    """Name -> implementation -> size -> what each round gave; nothing where a process failed."""
    samples: Samples = {}
    for task, outcome in outcomes:
        network = Network.of(task.arguments["network"])
        of_this = samples.setdefault(network.name, {}).setdefault(task.arguments["implementation"], {})
        of_size = of_this.setdefault(network.size, [])
        if "error" not in outcome:
            of_size.append(outcome)
    return samples


def macs(network: Network) -> int:
    """Multiply-accumulates of a clip, forward."""
    from benchmarks import jax_step
    from vidjax import models

    module = jax_step.build(network, native=False)
    (name,) = models.input_names(module)
    return models.summary(module, **{name: (1, *network.shape[1:])}).macs


def table(samples: Samples, measured: Mapping[str, Mapping[str, Sequence[Network]]]) -> pd.DataFrame:
    """One row per implementation, network and clip."""
    rows = []
    for name, axes in measured.items():
        counts = {network: macs(network) for of_axis in axes.values() for network in of_axis}
        for implementation, of_sizes in samples.get(name, {}).items():
            for axis, of_axis in axes.items():
                base = medians(of_sizes[of_axis[0].size], "wall_ms")
                for factor, network in zip(FACTORS, of_axis, strict=True):
                    rounds = medians(of_sizes[network.size], "wall_ms")
                    growth = counts[network] / counts[of_axis[0]]
                    clips = [ms / network.shape[0] for ms in rounds]
                    ratios = [ms / first / growth for ms, first in zip(rounds, base)]
                    over = (
                        report.between(
                            statistics.median(rounds) / statistics.median(base) / growth, min(ratios), max(ratios)
                        )
                        if ratios
                        else "failed"
                    )
                    head = (f"{network.title}, {network.size}", f"{factor}x {axis}", IMPLEMENTATIONS[implementation])
                    rows.append((*head, f"{counts[network] / 1e9:.3g}", report.spread(clips), over))
    heads = ["network, batch", "clips", "implementation", "GMACs/clip", "ms/clip (range)", "over MACs (range)"]
    return pd.DataFrame(rows, columns=heads)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    report.add_choice(parser, "--models", networks.NETWORKS)
    known = {name: IMPLEMENTATIONS[name] for name in ("vidjax", _PEER)}
    arguments = report.read_arguments(parser, argv, known, [_PEER], seconds=5.0)
    measured = sizes(arguments.models, arguments.tiny)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tasks = list(plan(measured, arguments.implementations, arguments.rounds, arguments.seconds, Path(folder)))
        samples = gather(processes.run_all(tasks))
    tables = {"Growth of training steps on a CPU, float32": table(samples, measured)}
    report.publish(arguments, tables, {"growth": samples})


if __name__ == "__main__":
    main()
