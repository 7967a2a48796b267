"""Compares single convolutions and their gradients with PyTorch, in float32 on a CPU.

  pip install -r requirements-bench.txt
  python -m benchmarks.convolutions                                  all operations, all implementations
  python -m benchmarks.convolutions --operations 3x3x3 stem_5x7x7
  python -m benchmarks.convolutions --out results/benchmarks/convolutions.json   for the docs

Measures the forward pass, the input gradient and the kernel gradient. PyTorch is measured with channels last and with
channels first in memory; ratios are relative to the better of the two. vidjax is compiled as in training, with oneDNN
where it is used and without it ("own forms"), JAX native with the default options of `jax.jit`. Each operation of each
implementation is measured in fresh processes, in rounds of all implementations.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks import processes, report, worker
from benchmarks.worker import StatusCallback

IMPLEMENTATIONS = {
    "jax_native": "JAX native",
    "vidjax": "vidjax",
    "vidjax_own": "vidjax, own forms",
    "torch_last": "torch, channels last",
    "torch_first": "torch, channels first",
}
TORCH = ("torch_last", "torch_first")
PASSES = ("forward", "input gradient", "kernel gradient")


class Operation(NamedTuple):
    """A convolution, padded by half the kernel.

    Attributes:
      shape: of the input, channels last.
      kernel: extents, input channels of a group, output channels.
      strides: along each axis.
      groups: of channels.
    """

    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    groups: int = 1

    @property
    def padding(self) -> tuple[int, ...]:
        """Padding on both sides of each axis."""
        return tuple(extent // 2 for extent in self.kernel[:-2])

    @property
    def output(self) -> tuple[int, ...]:
        """Shape of the output, channels last."""
        sizes = zip(self.shape[1:-1], self.kernel, self.padding, self.strides)
        return (self.shape[0], *((n + 2 * p - k) // s + 1 for n, k, p, s in sizes), self.kernel[-1])

    def shrunk(self) -> "Operation":
        """The same operation on one small clip, to try the program with."""
        return self._replace(shape=(1, *(min(n, 8) for n in self.shape[1:-1]), self.shape[-1]))

    def describe(self) -> str:
        """Description for tables."""
        extents, channels = "x".join(map(str, self.kernel[:-2])), f"{self.shape[-1]} to {self.kernel[-1]}"
        strided = "" if set(self.strides) == {1} else f", stride {'x'.join(map(str, self.strides))}"
        depthwise = ", depthwise" if self.groups > 1 else ""
        return f"{extents}{strided}{depthwise}, {channels} channels, of {'x'.join(map(str, self.shape[:-1]))}"


OPERATIONS = {
    "3x3": Operation((16, 28, 28, 128), (3, 3, 128, 128), (1, 1)),
    "1x1": Operation((16, 56, 56, 24), (1, 1, 24, 144), (1, 1)),
    "depthwise_3x3": Operation((16, 56, 56, 144), (3, 3, 1, 144), (1, 1), 144),
    "3x3x3": Operation((2, 8, 28, 28, 64), (3, 3, 3, 64, 128), (1, 1, 1)),
    "1x3x3": Operation((2, 8, 56, 56, 64), (1, 3, 3, 64, 64), (1, 1, 1)),
    "1x3x3_strided": Operation((2, 8, 56, 56, 64), (1, 3, 3, 64, 128), (1, 2, 2)),
    "3x1x1": Operation((2, 8, 56, 56, 64), (3, 1, 1, 64, 64), (1, 1, 1)),
    "depthwise_3x3x3": Operation((2, 8, 28, 28, 64), (3, 3, 3, 1, 64), (1, 1, 1), 64),
    "stem_1x7x7": Operation((2, 8, 112, 112, 3), (1, 7, 7, 3, 64), (1, 2, 2)),
    "stem_5x7x7": Operation((2, 32, 112, 112, 3), (5, 7, 7, 3, 8), (1, 2, 2)),
    "c3d_conv1": Operation((4, 16, 112, 112, 3), (3, 3, 3, 3, 16), (1, 1, 1)),
    "c3d_conv2": Operation((4, 16, 56, 56, 16), (3, 3, 3, 16, 32), (1, 1, 1)),
}


def passes(operation: Operation, implementation: str) -> dict[str, Callable[[], Any]]:
    """For each pass a blocking function that computes it; PyTorch arrays are channels first."""
    rng = np.random.default_rng(0)
    x, kernel, gradient = (
        rng.standard_normal(shape, np.float32) for shape in (operation.shape, operation.kernel, operation.output)
    )
    of = _torch_passes if implementation in TORCH else _jax_passes
    return of(operation, implementation, x, kernel, gradient)


def _jax_passes(
    operation: Operation, implementation: str, x: np.ndarray, kernel: np.ndarray, gradient: np.ndarray
) -> dict[str, Callable[[], Any]]:
    import jax

    from vidjax.layers import convolution
    from vidjax.layers.cpu.onednn import choice
    from vidjax.training.compiler_options import CPU_OPTIONS, accepted_options

    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        with convolution.native_operations(implementation == "jax_native"):
            padding = [(p, p) for p in operation.padding]
            strides, groups = operation.strides, operation.groups
            return convolution.convolution(x, kernel, strides, padding, feature_group_count=groups)

    def of_input(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        with convolution.native_operations(implementation == "jax_native"):
            return jax.vjp(lambda x: forward(x, kernel), x)[1](gradient)[0]

    def of_kernel(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        with convolution.native_operations(implementation == "jax_native"):
            return jax.vjp(lambda kernel: forward(x, kernel), kernel)[1](gradient)[0]

    if implementation == "vidjax_own":
        choice.forbid()
    arrays = [jax.device_put(array) for array in (x, kernel, gradient)]

    def call(function: Callable[..., jax.Array], count: int) -> Callable[[], jax.Array]:
        options = None if implementation == "jax_native" else accepted_options(CPU_OPTIONS)
        compiled = jax.jit(function, compiler_options=options)
        return lambda: jax.block_until_ready(compiled(*arrays[:count]))

    return dict(zip(PASSES, (call(forward, 2), call(of_input, 3), call(of_kernel, 3))))


def _torch_passes(
    operation: Operation, implementation: str, x: np.ndarray, kernel: np.ndarray, gradient: np.ndarray
) -> dict[str, Callable[[], Any]]:
    import torch

    torch.set_num_threads(worker.threads())
    order: Any = torch.contiguous_format
    if implementation == "torch_last":
        order = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    kernel = np.moveaxis(kernel, (-1, -2), (0, 1))
    x, gradient = np.moveaxis(x, -1, 1), np.moveaxis(gradient, -1, 1)
    xs, kernels, gradients = (torch.from_numpy(a).contiguous(memory_format=order) for a in (x, kernel, gradient))
    no = [0] * len(operation.strides)
    dilation = [1] * len(operation.strides)
    options = (operation.strides, operation.padding, dilation, False, no, operation.groups)

    def of(number: int) -> Callable[[], torch.Tensor]:
        wanted = [place == number for place in range(3)]
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(gradients, xs, kernels, None, *options, wanted)[number]

    return dict(zip(PASSES, (lambda: torch.convolution(xs, kernels, None, *options), of(0), of(1))))


def measure(mark: StatusCallback, *, operation: str, implementation: str, seconds: float, tiny: bool) -> dict[str, Any]:
    """Computes the passes of an operation again and again; in a process of its own.

    Args:
      mark: not used.
      operation: of `OPERATIONS`.
      implementation: of `IMPLEMENTATIONS`.
      seconds: for each pass.
      tiny: the operation of one small clip.
    """
    chosen = OPERATIONS[operation].shrunk() if tiny else OPERATIONS[operation]
    calls = passes(chosen, implementation)
    return {name: worker.timed(call, seconds, at_least=3) for name, call in calls.items()} | _used(implementation)


def _used(implementation: str) -> dict[str, str]:
    """What computed vidjax's convolutions."""
    if not implementation.startswith("vidjax"):
        return {}
    from vidjax.layers.cpu.onednn import choice

    return {"convolutions": choice.describe()}


def plan(
    operations: Sequence[str], implementations: Sequence[str], rounds: int, seconds: float, tiny: bool = False
) -> Iterator[processes.Task]:
    """The processes of all rounds.

    Args:
      operations: of `OPERATIONS`.
      implementations: of `IMPLEMENTATIONS`.
      rounds: in which each takes its turns, in an order that changes.
      seconds: for each pass.
      tiny: the operations of one small clip.
    """
    rng = random.Random(0)
    for _ in range(rounds):
        for operation in operations:
            for implementation in rng.sample(implementations, len(implementations)):
                chosen = {"operation": operation, "implementation": implementation}
                kind = f"{operation}, {IMPLEMENTATIONS[implementation]}"
                arguments = {**chosen, "seconds": seconds, "tiny": tiny}
                yield processes.Task("benchmarks.convolutions:measure", arguments, kind, kind)


def gather(outcomes: Iterator[tuple[processes.Task, dict[str, Any]]]) -> dict[str, Any]:
    """Operation -> implementation -> what each round gave, or {"error": ...} once."""
    samples: dict[str, Any] = {}
    for task, outcome in outcomes:
        of_operation = samples.setdefault(task.arguments["operation"], {})
        of_this = of_operation.setdefault(task.arguments["implementation"], [])
        if "error" not in outcome or not of_this:
            of_this.append(outcome)
    return samples


def table(samples: dict[str, Any], tiny: bool = False) -> pd.DataFrame:
    """A row for each operation and pass, a column for each implementation."""
    used = [name for name in IMPLEMENTATIONS if any(name in of for of in samples.values())]
    rows = []
    for operation, implementations in samples.items():
        chosen = OPERATIONS[operation].shrunk() if tiny else OPERATIONS[operation]
        for kind in PASSES:
            walls = {
                name: [statistics.median(outcome[kind]["wall_ms"]) for outcome in outcomes if "error" not in outcome]
                for name, outcomes in implementations.items()
            }
            ours = walls.get("vidjax", [])
            ratios = (
                report.ratio(ours, report.better([walls.get(name, []) for name in TORCH])),
                report.ratio(ours, walls.get("jax_native", [])),
            )
            failed = {name for name, outcomes in implementations.items() if "error" in outcomes[0]}
            times = ["failed" if name in failed else report.spread(walls.get(name, [])) for name in used]
            rows.append((chosen.describe(), kind, *times, *ratios))
    heads = ["convolution", "pass", *(f"{IMPLEMENTATIONS[name]}, ms" for name in used)]
    return pd.DataFrame(rows, columns=[*heads, "vidjax over the better torch (range)", "vidjax over JAX native"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    report.add_choice(parser, "--operations", OPERATIONS)
    arguments = report.read_arguments(parser, argv, IMPLEMENTATIONS, TORCH, seconds=1.0)
    tasks = plan(arguments.operations, arguments.implementations, arguments.rounds, arguments.seconds, arguments.tiny)
    samples = gather(processes.run_all(list(tasks)))
    used = report.used(outcome for of in samples.values() for outcomes in of.values() for outcome in outcomes)
    tables = {f"Convolutions on a CPU, float32, medians (range over processes){used}": table(samples, arguments.tiny)}
    report.publish(arguments, tables, {"convolutions": samples})


if __name__ == "__main__":
    main()
