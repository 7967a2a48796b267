"""Capsule routing: compared with PyTorch, and its fraction of a training step; in float32 on a CPU.

  pip install -r requirements-bench.txt
  python -m benchmarks.routing
  python -m benchmarks.routing --out results/benchmarks/routing.json   for the docs

Routing by agreement at the size of CapsNet: 128 examples, from 1,152 capsules of 8 dimensions to 10 of 16. PyTorch is
measured in its usual form, with broadcast matrix products for the votes and sums of elementwise products, and in its
fastest form, with matrix products of contiguous votes only. Gradients are taken through all iterations, as in the
paper's code, and through the last one only with detached couplings, as in many other implementations. Fractions are
those of a loss and its gradients, without the optimizer. Each measurement is made in fresh processes, in rounds of
all implementations.
"""

import argparse
import dataclasses
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import processes, report, worker
from benchmarks.worker import StatusCallback

IMPLEMENTATIONS = {
    "vidjax": "vidjax",
    "torch_broadcast": "torch, broadcast products",
    "torch_matmul": "torch, matrix products",
}
TORCH = ("torch_broadcast", "torch_matmul")
ITERATIONS = {"1": 1, "3": 3}
PASSES = ("forward", "forward and gradients", "forward and gradients, detached")
NETWORKS = {
    "capsnet": "CapsNet, 128 digits, 3 iterations",
    "capsule_video": "capsule_video, 16 clips of 16 x 48 x 48, EM routing",
}


def _arrays(tiny: bool) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [B, I, P] and kernel [I, P, J, D]."""
    rng = np.random.default_rng(0)
    batch, inputs = (2, 16) if tiny else (128, 1152)
    shapes = (batch, inputs, 8), (inputs, 8, 10, 16)
    x, kernel = (0.1 * rng.standard_normal(shape, np.float32) for shape in shapes)
    return x, kernel


def passes(implementation: str, iterations: int, tiny: bool) -> dict[str, Callable[[], Any]]:
    """For each pass a blocking function that computes poses [B, J, D], or gradients of their sum."""
    of = _torch_passes if implementation in TORCH else _jax_passes
    return of(implementation, iterations, *_arrays(tiny))


def _jax_passes(
    implementation: str, iterations: int, x: np.ndarray, kernel: np.ndarray
) -> dict[str, Callable[[], Any]]:
    import jax

    from vidjax.layers.capsules import DenseCaps

    def forward(x: jax.Array, kernel: jax.Array, detach: bool = False) -> Any:
        _, _, capsules, dimension = kernel.shape
        return DenseCaps(capsules, dimension, iterations, detach).apply({"params": {"kernel": kernel}}, x)

    def gradients(detach: bool) -> Callable[..., Any]:
        return jax.grad(lambda x, kernel: forward(x, kernel, detach).sum(), argnums=(0, 1))

    arrays = jax.device_put((x, kernel))
    compiled = [jax.jit(function) for function in (forward, gradients(False), gradients(True))]

    def call(function: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(function(*arrays))

    return dict(zip(PASSES, map(call, compiled), strict=True))


def _torch_passes(
    implementation: str, iterations: int, x: np.ndarray, kernel: np.ndarray
) -> dict[str, Callable[[], Any]]:
    import torch

    torch.set_num_threads(worker.threads())
    # As in public implementations, a map [J, I, D, P] takes an input to a vote [B, J, I, D].
    maps = torch.from_numpy(np.ascontiguousarray(kernel.transpose(2, 0, 3, 1))).requires_grad_()
    inputs = torch.from_numpy(x).requires_grad_()

    def squash(s: torch.Tensor) -> torch.Tensor:
        squared = (s**2).sum(-1, keepdim=True)
        return squared / (1 + squared) * s / torch.sqrt(squared + 1e-8)

    def broadcast(detach: bool) -> torch.Tensor:
        votes = torch.matmul(maps, inputs[:, None, :, :, None]).squeeze(-1)
        still = votes.detach() if detach else votes
        logits = torch.zeros(*votes.shape[:3], 1)
        for left in reversed(range(iterations)):
            poses = squash((torch.softmax(logits, dim=1) * (still if left else votes)).sum(2))
            if left:
                logits = logits + (still * poses[:, :, None]).sum(-1, keepdim=True)
        return poses

    def products(detach: bool) -> torch.Tensor:
        votes = torch.einsum("jidp,bip->bjid", maps, inputs).contiguous()
        still = votes.detach() if detach else votes
        logits = torch.zeros(*votes.shape[:3])
        for left in reversed(range(iterations)):
            coupling = torch.softmax(logits, dim=1)[:, :, None]
            poses = squash((coupling @ (still if left else votes)).squeeze(2))
            if left:
                logits = logits + (still @ poses[..., None]).squeeze(-1)
        return poses

    function = broadcast if implementation == "torch_broadcast" else products

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return function(False)

    def gradients(detach: bool) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(function(detach).sum(), (inputs, maps))

    return dict(zip(PASSES, (forward, gradients(False), gradients(True)), strict=True))


def measure(
    mark: StatusCallback, *, implementation: str, iterations: str, seconds: float, tiny: bool
) -> dict[str, Any]:
    """Computes all passes again and again; in a process of its own.

    Args:
      mark: not used.
      implementation: of `IMPLEMENTATIONS`.
      iterations: of `ITERATIONS`.
      seconds: duration of the measurement of each pass.
      tiny: whether to use few capsules.
    """
    calls = passes(implementation, ITERATIONS[iterations], tiny)
    return {name: worker.timed(call, seconds, at_least=3) for name, call in calls.items()}


def measure_share(mark: StatusCallback, *, network: str, seconds: float, tiny: bool) -> dict[str, Any]:
    """Measures loss and gradients of a network, and the gradients of only its routed layers, in a separate process.

    Args:
      mark: not used.
      network: of `NETWORKS`.
      seconds: duration of each of the two measurements.
      tiny: whether to use a batch of one example.

    Returns:
      "whole" and "routing", as returned by `worker.timed`.
    """
    calls = whole_and_routing(network, tiny)
    return {name: worker.timed(call, seconds, at_least=3) for name, call in calls.items()}


def whole_and_routing(network: str, tiny: bool) -> dict[str, Callable[[], Any]]:
    """Blocking functions: "whole" computes a loss and its gradients, "routing" those of the routed layers."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    from vidjax import models
    from vidjax.layers.capsules import DenseCaps
    from vidjax.layers.matrix_capsules import ClassCaps, ConvCaps, EMRouting
    from vidjax.training import losses

    batch, *shape, classes = {"capsnet": (128, 1, 28, 28, 3, 10), "capsule_video": (16, 16, 48, 48, 3, 8)}[network]
    batch = 1 if tiny else batch
    rng = np.random.default_rng(0)
    pictures = jnp.asarray(rng.random((batch, *shape), np.float32))
    labels = jnp.asarray(rng.integers(0, classes, batch))
    model = models.create(network, classes)
    variables = jax.jit(model.init)(jax.random.key(0), pictures)

    def loss(params: Any) -> jax.Array:
        output, _ = model.apply({**variables, "params": params}, pictures, train=True, mutable=["batch_stats"])
        if network == "capsnet":
            return losses.margin(output, labels, reconstruction=5e-4).mean()
        return losses.spread(output, labels, step=jnp.zeros((), jnp.int32), margin_start=0.9, margin_end=0.9).mean()

    def primary() -> Any:
        _, seen = model.apply(
            variables, pictures, capture_intermediates=lambda module, _: module.name == "primary_caps"
        )
        return seen["intermediates"]["primary_caps"]["__call__"][0]

    capsules = jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.1, 0.9, a.shape), a.dtype), jax.eval_shape(primary))
    layers: list[nn.Module]
    if network == "capsnet":
        layers = [DenseCaps(classes, model.dimension, model.iterations)]
    else:
        form = EMRouting(model.iterations, model.inverse_temperature, model.relative_cost, model.least_variance)
        conv_form = dataclasses.replace(form, iterations=model.conv_iterations)
        layers = [
            ConvCaps(model.types, model.window, model.strides, model.pool, conv_form),
            ClassCaps(classes, form),
        ]
    maps, x = [], capsules
    for layer in layers:
        x, parameters = jax.jit(layer.init_with_output)(jax.random.key(0), x)  # type: ignore[assignment]
        maps.append(parameters)

    def of_routed(maps: Any, capsules: Any) -> jax.Array:
        for layer, parameters in zip(layers, maps, strict=True):
            capsules = layer.apply(parameters, capsules)
        return sum(a.sum() for a in jax.tree.leaves(capsules))

    whole = jax.jit(jax.value_and_grad(loss))
    routing = jax.jit(jax.grad(of_routed, argnums=(0, 1)))
    return {
        "whole": lambda: jax.block_until_ready(whole(variables["params"])),
        "routing": lambda: jax.block_until_ready(routing(maps, capsules)),
    }


def plan(implementations: Sequence[str], rounds: int, seconds: float, tiny: bool = False) -> Iterator[processes.Task]:
    """The processes of all rounds.

    Args:
      implementations: of `IMPLEMENTATIONS`.
      rounds: in which each takes its turns, in an order that changes.
      seconds: duration of the measurement of each pass.
      tiny: whether to use few capsules.
    """
    rng = random.Random(0)
    chosen = {"seconds": seconds, "tiny": tiny}
    for _ in range(rounds):
        for iterations in ITERATIONS:
            for implementation in rng.sample(implementations, len(implementations)):
                kind = f"{IMPLEMENTATIONS[implementation]}, iterations: {iterations}"
                arguments = {"implementation": implementation, "iterations": iterations, **chosen}
                yield processes.Task("benchmarks.routing:measure", arguments, kind, kind)
        for network, kind in NETWORKS.items():
            yield processes.Task("benchmarks.routing:measure_share", {"network": network, **chosen}, kind, kind)


def gather(outcomes: Iterator[tuple[processes.Task, dict[str, Any]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Iterations -> implementation -> what each round gave, and network -> the same."""
    routing: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    for task, outcome in outcomes:
        if "network" in task.arguments:
            shares.setdefault(task.arguments["network"], []).append(outcome)
        else:
            of_iterations = routing.setdefault(task.arguments["iterations"], {})
            of_this = of_iterations.setdefault(task.arguments["implementation"], [])
            if "error" not in outcome or not of_this:
                of_this.append(outcome)
    return routing, shares


def _medians(outcomes: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [statistics.median(outcome[name]["wall_ms"]) for outcome in outcomes if "error" not in outcome]


def routing_table(samples: dict[str, Any]) -> pd.DataFrame:
    """A row for each number of iterations and pass, a column for each implementation."""
    used = [name for name in IMPLEMENTATIONS if any(name in of for of in samples.values())]
    rows = []
    for iterations, implementations in samples.items():
        for kind in PASSES[: 2 if iterations == "1" else 3]:  # a single iteration has nothing to detach
            walls = {name: _medians(outcomes, kind) for name, outcomes in implementations.items()}
            times = [report.spread(walls[name]) or "failed" for name in used]
            ours = walls.get("vidjax", [])
            rows.append(
                (iterations, kind, *times, report.ratio(ours, report.better([walls.get(n, []) for n in TORCH])))
            )
    heads = ["iterations", "pass", *(f"{IMPLEMENTATIONS[name]}, ms" for name in used)]
    return pd.DataFrame(rows, columns=[*heads, "vidjax over the better torch (range)"])


def share_table(samples: dict[str, Any]) -> pd.DataFrame:
    """One row per network."""
    rows = []
    for network, outcomes in samples.items():
        whole, routing = (_medians(outcomes, name) for name in ("whole", "routing"))
        shares = [100 * part / all_ for part, all_ in zip(routing, whole)]
        rows.append((NETWORKS[network], report.spread(whole), report.spread(routing), report.spread(shares, 2)))
    return pd.DataFrame(rows, columns=["network", "loss and gradients, ms", "routed layers only, ms", "fraction, %"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments = report.read_arguments(parser, argv, IMPLEMENTATIONS, TORCH, seconds=5.0)
    tasks = plan(arguments.implementations, arguments.rounds, arguments.seconds, arguments.tiny)
    routing, shares = gather(processes.run_all(list(tasks)))
    tables = {
        "Routing by agreement on a CPU, float32, medians (range over processes)": routing_table(routing),
        "Routing in training": share_table(shares),
    }
    report.publish(arguments, tables, {"routing": routing, "shares": shares})


if __name__ == "__main__":
    main()
