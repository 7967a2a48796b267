"""The rows of `benchmarks.accelerator`, most important first; imports neither JAX nor PyTorch.

A row is one process, which runs a function of `benchmarks.accelerator_jax` or `benchmarks.accelerator_torch`.
"""

import dataclasses
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# So low that no network diverges on one batch, since non-finite numbers would distort the speed.
LEARNING_RATE, MOMENTUM = 1e-5, 0.9
RECONSTRUCTION = 5e-4  # weight of CapsNet's reconstruction loss
BLOCKS = 10  # of calls; the host waits at the end of each block
IMPLEMENTATIONS = {"vidjax": "vidjax", "torch_eager": "torch eager", "torch_compile": "torch.compile"}
NATIVE = {"vidjax_native": "vidjax, native operations only"}
DTYPES = ("bfloat16", "float32")


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, its clips and its computational cost.

    Attributes:
      title: in tables.
      model: of `vidjax.models`.
      options: of the model.
      clip: T, H, W.
      classes: K.
      macs: multiply-accumulates of a forward pass on one clip (a test compares it with `vidjax.models.summary`); 0
        for tiny networks.
      mean, std: pixels are normalized to (p - mean) / std on the device.
    """

    title: str
    model: str
    options: Mapping[str, Any]
    clip: tuple[int, int, int]
    classes: int
    macs: int
    mean: float = 114.75
    std: float = 57.375

    @property
    def is_capsnet(self) -> bool:
        """Whether the loss is the margin loss with reconstruction instead of the cross-entropy."""
        return self.model == "capsnet"


# With batch normalization instead of the paper's local response normalization, as in the PyTorch version.
_EARLY = {"normalization": "batch", "dropout": 0.0}
NETWORKS = {
    "slowfast": Network("SlowFast R50 8x8", "slowfast_r50_8x8", {"dropout": 0.0}, (32, 224, 224), 400, 50_308_583_424),
    "r2plus1d": Network("R(2+1)D-18", "r2plus1d_18", {}, (16, 112, 112), 400, 40_519_080_960),
    "i3d": Network("I3D", "i3d", {"dropout": 0.0}, (64, 224, 224), 400, 111_153_143_808),
    "c3d": Network("C3D", "c3d", {"dropout": 0.0}, (16, 112, 112), 400, 38_548_602_880),
    "early_fusion": Network("early fusion", "early_fusion", _EARLY, (10, 170, 170), 400, 2_140_790_016),
    "capsnet": Network("CapsNet", "capsnet", {}, (1, 28, 28), 10, 220_860_416, 0.0, 255.0),
}
# The smallest input of each network, to try the program with.
TINY = {
    "slowfast": dataclasses.replace(
        NETWORKS["slowfast"], model="slowfast_r18_small", clip=(8, 32, 32), classes=5, macs=0
    ),
    "r2plus1d": dataclasses.replace(
        NETWORKS["r2plus1d"], options={"width_multiplier": 0.125}, clip=(8, 32, 32), classes=5, macs=0
    ),
    "i3d": dataclasses.replace(NETWORKS["i3d"], clip=(16, 64, 64), classes=5, macs=0),
    "c3d": dataclasses.replace(
        NETWORKS["c3d"],
        options={"dropout": 0.0, "width_multiplier": 0.0625, "normalization": "none"},
        clip=(8, 16, 16),
        classes=5,
        macs=0,
    ),
    "early_fusion": dataclasses.replace(
        NETWORKS["early_fusion"],
        options={**_EARLY, "width_multiplier": 0.0625},
        clip=(2, 35, 35),
        classes=5,
        macs=0,
    ),
    "capsnet": dataclasses.replace(
        NETWORKS["capsnet"], options={"width": 8, "types": 2}, clip=(1, 20, 20), classes=3, macs=0
    ),
}
TINY_BATCH = 2


def network(name: str, tiny: bool) -> Network:
    """The network of that name."""
    return (TINY if tiny else NETWORKS)[name]


def batch(net: Network, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A fixed batch: clips uint8 [size, T, H, W, 3] and labels int32 [size]."""
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (size, *net.clip, 3), np.uint8)
    return clips, rng.integers(0, net.classes, size, np.int32)


@dataclasses.dataclass(frozen=True)
class Row:
    """A process to run.

    Attributes:
      name: in commands and in the file, e.g. network/dtype/batch/implementation.
      target, arguments, environment: as in `processes.Task`.
      seconds: expected duration on an H100.
      limit: timeout in seconds.
    """

    name: str
    target: str
    arguments: Mapping[str, Any]
    seconds: float
    limit: float
    environment: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


# Expected seconds of a row of vidjax, torch eager and torch.compile: mostly compilation and autotuning.
_SECONDS = {
    "slowfast": (110, 50, 130),
    "r2plus1d": (70, 35, 70),
    "i3d": (110, 50, 110),
    "c3d": (45, 30, 45),
    "early_fusion": (35, 25, 40),
    "capsnet": (35, 25, 50),
}
# Network, dtype, clips per batch; each with all three implementations in turn.
_STEPS = (
    ("slowfast", "bfloat16", 16),
    ("r2plus1d", "bfloat16", 16),
    ("i3d", "bfloat16", 16),
    ("c3d", "bfloat16", 32),
    ("early_fusion", "bfloat16", 64),
    ("capsnet", "bfloat16", 128),
    ("slowfast", "float32", 16),
    ("r2plus1d", "float32", 16),
    ("slowfast", "bfloat16", 8),
    ("slowfast", "bfloat16", 32),
    ("r2plus1d", "bfloat16", 8),
    ("r2plus1d", "bfloat16", 32),
)
_JAX, _TORCH = "benchmarks.accelerator_jax", "benchmarks.accelerator_torch"
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def rows(tiny: bool, seconds: float) -> list[Row]:
    """All rows, most important first.

    Args:
      tiny: whether to use networks and arrays that take only seconds on a CPU.
      seconds: duration of each measurement of steps.
    """
    found = [Row("device", f"{_JAX}:device", {"tiny": tiny}, 25, 120)]
    for name, dtype, size in _STEPS:
        for implementation, expected in zip(IMPLEMENTATIONS, _SECONDS[name], strict=True):
            arguments = {"name": name, "dtype": dtype, "size": TINY_BATCH if tiny else size}
            arguments |= {"seconds": seconds, "tiny": tiny}
            if implementation != "vidjax":
                arguments["compiled"] = implementation == "torch_compile"
            target = f"{_JAX if implementation == 'vidjax' else _TORCH}:step"
            found.append(
                Row(f"{name}/{dtype}/{size}/{implementation}", target, arguments, expected, max(120, 2.2 * expected))
            )
    found.append(Row("pooling", f"{_JAX}:pooling", {"seconds": seconds / 8, "tiny": tiny}, 50, 150))
    arguments = {"name": "slowfast", "dtype": "bfloat16", "size": TINY_BATCH if tiny else 16, "native": True}
    arguments |= {"seconds": seconds, "tiny": tiny}
    found.append(Row("slowfast/bfloat16/16/vidjax_native", f"{_JAX}:step", arguments, _SECONDS["slowfast"][0], 240))
    for flag, environment in (("flag", _with_flag()), ("default", {})):
        for number in (1, 2):
            name, arguments = f"determinism/{flag}/{number}", {"steps": 20 if tiny else 100, "tiny": tiny}
            found.append(Row(name, f"{_JAX}:determinism", arguments, 50, 150, environment))
    for framework, module in (("jax", _JAX), ("torch", _TORCH)):
        arguments = {"seconds": seconds / 2, "tiny": tiny}
        found.append(Row(f"transfer/{framework}", f"{module}:transfer", arguments, 20, 90))
    found.append(Row("initialization", f"{_JAX}:initialization", {"tiny": tiny}, 60, 240))
    return found


def _with_flag() -> dict[str, str | None]:
    return {"XLA_FLAGS": " ".join(filter(None, [os.environ.get("XLA_FLAGS"), DETERMINISTIC]))}


def blocks_of(tiny: bool) -> int:
    """The number of blocks of `in_blocks`."""
    return 2 if tiny else BLOCKS


def quartiles(values: list[float]) -> dict[str, float]:
    """Quartiles of at least two values: "low", "median", "high"."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"low": _short(low), "median": _short(median), "high": _short(high)}


def in_blocks(
    enqueue: Callable[[], Any], wait: Callable[[], Any], seconds: float, blocks: int = BLOCKS
) -> dict[str, Any]:
    """Times an asynchronous call.

    Calls are made in blocks, and the host waits only at the end of each block, so that it runs ahead of the device as
    in training. At least six warmup calls come first, the last ones as a block.

    Args:
      enqueue: the call.
      wait: blocks until all enqueued calls are done.
      seconds: approximate duration of the measurement.
      blocks: at least 2.

    Returns:
      The total number of "calls", "blocks", and the milliseconds per call: "low", "median", "high" (quartiles over the
      blocks) and "of_blocks".
    """

    def block(calls: int) -> float:
        started = time.perf_counter()
        for _ in range(calls):
            enqueue()
        wait()
        return (time.perf_counter() - started) / calls

    block(3)
    calls = max(1, round(seconds / blocks / max(block(2), 1e-6)))
    block(calls)
    of_blocks = [1000 * block(calls) for _ in range(blocks)]
    return {
        "calls": calls * blocks,
        "blocks": blocks,
        **quartiles(of_blocks),
        "of_blocks": [_short(ms) for ms in of_blocks],
    }


def transfers(put: Callable[[], Any], wait: Callable[[Any], Any], seconds: float, clips: np.ndarray) -> dict[str, Any]:
    """Times transfers of clips, one at a time.

    Args:
      put: starts a transfer.
      wait: blocks until the result of `put` has arrived.
      seconds: duration of the measurement.
      clips: uint8 [B, ...].

    Returns:
      "ms" (quartiles), and at the median "gb_per_second" and "clips_per_second".
    """
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while len(taken) < 6 or time.perf_counter() < until:
        started = time.perf_counter()
        wait(put())
        taken.append(1000 * (time.perf_counter() - started))
    found = quartiles(taken[1:])  # the first one allocates memory
    per_second = 1000 / found["median"]
    rates = {"gb_per_second": per_second * clips.nbytes / 1e9, "clips_per_second": per_second * len(clips)}
    return {"ms": found, **{name: _short(rate) for name, rate in rates.items()}}


def first_difference(
    one: Mapping[str, Mapping[str, str]], other: Mapping[str, Mapping[str, str]]
) -> dict[str, Any] | None:
    """The first step and leaf at which two runs differ: {"step", "leaf"}; None if they are equal.

    Args:
      one, other: step -> path -> digest.
    """
    for number, leaves in one.items():
        for path, digest in leaves.items():
            if other[number][path] != digest:
                return {"step": int(number), "leaf": path}
    return None


def finite(value: float) -> float | None:
    """The value, or None if it is not finite, which JSON cannot represent."""
    return value if math.isfinite(value) else None


def _short(value: float) -> float:
    return float(f"{value:.4g}")
