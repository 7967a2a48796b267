"""What `benchmarks.accelerator` measures, in order of value; imports neither JAX nor PyTorch.

A row is one process. What it does is in `benchmarks.accelerator_jax` and `benchmarks.accelerator_torch`.
"""

import dataclasses
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# So low a rate that no network diverges on one batch: numbers that are not finite would tell nothing of speed.
LEARNING_RATE, MOMENTUM = 1e-5, 0.9
RECONSTRUCTION = 5e-4  # the weight of CapsNet's decoder in its loss
BLOCKS = 10  # of calls, each waited for at its end
IMPLEMENTATIONS = {"vidjax": "vidjax", "torch_eager": "torch eager", "torch_compile": "torch.compile"}
NATIVE = {"vidjax_native": "vidjax, traced with native operations alone"}
DTYPES = ("bfloat16", "float32")


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, its clips and what a step on one of them costs.

    Attributes:
      title: in tables.
      model: of `vidjax.models`.
      options: of the model.
      clip: T, H, W.
      classes: K.
      macs: multiply-accumulates of a forward pass of one clip (`vidjax.models.summary`; a test compares them);
        0: not given, of tiny ones.
      mean, std: a pixel value p becomes (p - mean) / std, on the device.
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
        """Whether its loss is the margin loss with a reconstruction; the others have the cross-entropy."""
        return self.model == "capsnet"


# Early fusion has batch normalisation in the place of the paper's local response normalisation, as its peer has.
_EARLY = {"normalization": "batch", "dropout": 0.0}
NETWORKS = {
    "slowfast": Network("SlowFast R50 8x8", "slowfast_r50_8x8", {"dropout": 0.0}, (32, 224, 224), 400, 50_308_583_424),
    "r2plus1d": Network("R(2+1)D-18", "r2plus1d_18", {}, (16, 112, 112), 400, 40_519_080_960),
    "i3d": Network("I3D", "i3d", {"dropout": 0.0}, (64, 224, 224), 400, 111_153_143_808),
    "c3d": Network("C3D", "c3d", {"dropout": 0.0}, (16, 112, 112), 400, 38_548_602_880),
    "early_fusion": Network("early fusion", "early_fusion", _EARLY, (10, 170, 170), 400, 2_140_790_016),
    "capsnet": Network("CapsNet", "capsnet", {}, (1, 28, 28), 10, 220_860_416, 0.0, 255.0),
}
# The smallest that each takes, to try the program with.
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
    """The same batch each time: clips uint8 [size, T, H, W, 3] and labels int32 [size]."""
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (size, *net.clip, 3), np.uint8)
    return clips, rng.integers(0, net.classes, size, np.int32)


@dataclasses.dataclass(frozen=True)
class Row:
    """A process to be.

    Attributes:
      name: in commands and in the file: network/dtype/batch/implementation, or what it is.
      target, arguments, environment: as in `processes.Task`.
      seconds: that it is expected to take on an H100.
      limit: after so many it is given up.
    """

    name: str
    target: str
    arguments: Mapping[str, Any]
    seconds: float
    limit: float
    environment: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


# Seconds, expected, of a row of vidjax, torch eager and torch.compile: mostly compilation and the choice of kernels.
_SECONDS = {
    "slowfast": (110, 50, 130),
    "r2plus1d": (70, 35, 70),
    "i3d": (110, 50, 110),
    "c3d": (45, 30, 45),
    "early_fusion": (35, 25, 40),
    "capsnet": (35, 25, 50),
}
# Network, dtype, clips in a batch; all three implementations of one after the other.
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
    """All rows, in order of value.

    Args:
      tiny: of networks and arrays that take a CPU seconds.
      seconds: for which a row's steps are measured.
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
    found.append(Row("initialisation", f"{_JAX}:initialisation", {"tiny": tiny}, 60, 240))
    return found


def _with_flag() -> dict[str, str | None]:
    return {"XLA_FLAGS": " ".join(filter(None, [os.environ.get("XLA_FLAGS"), DETERMINISTIC]))}


def blocks_of(tiny: bool) -> int:
    """Of `in_blocks`."""
    return 2 if tiny else BLOCKS


def quartiles(values: list[float]) -> dict[str, float]:
    """Of at least two values: "low", "median", "high"."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"low": _short(low), "median": _short(median), "high": _short(high)}


def in_blocks(
    enqueue: Callable[[], Any], wait: Callable[[], Any], seconds: float, blocks: int = BLOCKS
) -> dict[str, Any]:
    """Times a call that returns before the device is done, many times.

    The calls are made in blocks, each waited for at its end alone, so that the host runs ahead of the device as it
    does in training. Six calls or more, of which the last are a block, come before.

    Args:
      enqueue: the call.
      wait: returns when all that was enqueued is done.
      seconds: for which it is measured, about.
      blocks: at least 2.

    Returns:
      "calls" in all, "blocks", and milliseconds of a call: "low", "median", "high" (quartiles over the blocks) and
      "of_blocks".
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
    """Times transfers of clips, each waited for.

    Args:
      put: begins one.
      wait: returns when what `put` gave is there.
      seconds: for which it is measured.
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
    found = quartiles(taken[1:])  # the first makes room
    per_second = 1000 / found["median"]
    rates = {"gb_per_second": per_second * clips.nbytes / 1e9, "clips_per_second": per_second * len(clips)}
    return {"ms": found, **{name: _short(rate) for name, rate in rates.items()}}


def first_difference(
    one: Mapping[str, Mapping[str, str]], other: Mapping[str, Mapping[str, str]]
) -> dict[str, Any] | None:
    """The first step, and its first leaf, at which two runs differ: {"step", "leaf"}; None where none does.

    Args:
      one, other: step -> path -> digest.
    """
    for number, leaves in one.items():
        for path, digest in leaves.items():
            if other[number][path] != digest:
                return {"step": int(number), "leaf": path}
    return None


def finite(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


def _short(value: float) -> float:
    return float(f"{value:.4g}")
