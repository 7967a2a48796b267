"""The JAX rows of `benchmarks.accelerator`, each run in a separate process."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jax.sharding import SingleDeviceSharding

from benchmarks.accelerator_rows import (
    LEARNING_RATE,
    MOMENTUM,
    RECONSTRUCTION,
    Network,
    batch,
    blocks_of,
    finite,
    first_difference,
    in_blocks,
    network,
    transfers,
)
from benchmarks.worker import StatusCallback
from vidjax.data.records import Batch
from vidjax.layers import pooling as layer
from vidjax.layers.convolution import native_operations
from vidjax.models import create
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.training import losses, optimizers
from vidjax.training.parallel import JitStrategy
from vidjax.training.state import Metrics, TrainState, make_init
from vidjax.training.step import make_train_step

_PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "flax", "optax", "numpy")
_CHECK_EVERY = 10  # steps between comparisons of parameters


def _device(tiny: bool) -> jax.Device:
    found = jax.devices()[0]
    if found.platform == "cpu" and not tiny:
        raise RuntimeError("JAX sees no accelerator, only a CPU: install its plug-in, or try the program with --tiny")
    return found


def _about(device: jax.Device) -> dict[str, Any]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"device": device.device_kind, "versions": versions}


def _peak_megabytes(device: jax.Device) -> float | None:
    stats = device.memory_stats()
    return round(stats["peak_bytes_in_use"] / 1e6, 1) if stats and "peak_bytes_in_use" in stats else None


def device(mark: StatusCallback, *, tiny: bool) -> dict[str, Any]:
    """TFLOP/s of a large matrix product of normally distributed numbers, by dtype."""
    found, size = _device(tiny), 256 if tiny else 8192
    reached = {}
    for dtype in ("bfloat16", "float32"):
        operands = [jax.random.normal(jax.random.key(seed), (size, size), dtype) for seed in (0, 1)]
        _, timed = _timed(jnp.matmul, operands, 0.05 if tiny else 1.0, blocks_of(tiny))
        reached[dtype] = float(f"{2 * size**3 / timed['median'] / 1e9:.4g}")
        mark(f"{dtype}_s")
    return {**_about(found), "matmul_tflops": reached, "matmul_size": size}


def _timed(function: Callable[..., Any], arguments: Sequence[jax.Array], seconds: float, blocks: int) -> tuple:
    """The result of the compiled function, and how long it takes."""
    compiled = jax.jit(function)
    result = compiled(*arguments)

    def call() -> None:
        nonlocal result
        result = compiled(*arguments)

    return result, in_blocks(call, lambda: jax.block_until_ready(result), seconds, blocks)


@dataclasses.dataclass
class Training:
    """The training step of vidjax on one batch that stays on the device.

    Attributes:
      net, dtype: the network, and the type that it computes in; parameters are float32.
      device: the device.
      compiled: the step, compiled once `compile` has been called.
      state, batch: arguments of the step.
      metrics: of the last step.
    """

    net: Network
    dtype: str
    device: jax.Device
    compiled: Any
    state: TrainState
    batch: Batch
    metrics: Metrics | None = None

    def compile(self, native: bool = False) -> None:
        """Traces and compiles the step; with `native`, only native operations are traced."""
        with native_operations(native):
            lowered = self.compiled.lower(self.state, self.batch)
        self.compiled = lowered.compile()

    def take(self) -> None:
        """Enqueues a step."""
        self.state, self.metrics = self.compiled(self.state, self.batch)

    def wait(self) -> None:
        """Blocks until all steps are done."""
        jax.block_until_ready((self.state, self.metrics))

    def loss(self) -> float:
        """The loss before the last step; blocks until it is done."""
        assert self.metrics is not None
        total, count = self.metrics["loss"]
        return float(total) / float(count)


def prepare(
    net: Network,
    dtype: str,
    size: int,
    device: jax.Device,
    *,
    variables: Any = None,
    learning_rate: float = LEARNING_RATE,
) -> Training:
    """Builds a step as `vidjax.config.run` does.

    Args:
      net: the network.
      dtype: "bfloat16" or "float32".
      size: clips per batch.
      device: the device.
      variables: initial variables; by default random ones, drawn on the host to avoid compilation.
      learning_rate: of SGD with momentum.
    """
    model_dtype = None if dtype == "float32" else jnp.dtype(dtype)
    model = create(net.model, net.classes, dtype=model_dtype, **net.options)
    optimizer = optimizers.create("momentum", learning_rate, momentum=MOMENTUM)
    preprocessing = Preprocessing(mean=net.mean, std=net.std, dtype=jnp.dtype(dtype))
    loss: Any = losses.cross_entropy
    if net.is_capsnet:
        loss = functools.partial(losses.margin, reconstruction=RECONSTRUCTION)
    inputs = {"rgb": jax.ShapeDtypeStruct((1, *net.clip, 3), preprocessing.dtype)}
    state = _initial(make_init(model, optimizer, inputs, 0).shapes, optimizer, variables)
    clips, label = batch(net, size)
    strategy = JitStrategy([device])
    data = Batch({"rgb": clips}, label, np.arange(size, dtype=np.int32), np.ones(size, bool))
    step = strategy.compile_train(make_train_step(model, optimizer, loss, preprocessing, seed=0))
    return Training(net, dtype, device, step, strategy.put_state(state), strategy.put_batch(data))


def _initial(state: TrainState, optimizer: optax.GradientTransformation, variables: Any) -> TrainState:
    """A state of these shapes; without given variables, kernels are initialized as in He et al. 2015."""
    rng = np.random.default_rng(0)

    def draw(path: tuple[str, ...], like: Any) -> np.ndarray:
        if path[-1] in ("scale", "var"):
            return np.ones(like.shape, like.dtype)
        if path[-1] == "kernel":
            deviation = math.sqrt(2 / math.prod(like.shape[:-1]))
            return (deviation * rng.standard_normal(like.shape, np.float32)).astype(like.dtype)
        return np.zeros(like.shape, like.dtype)

    if variables is None:
        shapes = {"params": state.params, **state.model_state}
        drawn = {path: draw(path, like) for path, like in traverse_util.flatten_dict(shapes).items()}
        variables = traverse_util.unflatten_dict(drawn)
    rest = dict(variables)
    params = rest.pop("params")
    of_optimizer = jax.eval_shape(optimizer.init, params)
    zeros = jax.tree.map(lambda like: np.zeros(like.shape, like.dtype), (state.step, of_optimizer))
    return TrainState(zeros[0], params, rest, zeros[1])


def step(
    mark: StatusCallback, *, name: str, dtype: str, size: int, seconds: float, tiny: bool, native: bool = False
) -> dict[str, Any]:
    """Times training steps.

    Args:
      mark: called when the network is built, when the step is compiled and when the first step is done.
      name: of the network.
      dtype: that it computes in.
      size: clips per batch.
      seconds: duration of the measurement.
      tiny: whether to use the smallest version of the network.
      native: whether to trace only native operations, which are what is compiled for a GPU in any case.
    """
    found, net = _device(tiny), network(name, tiny)
    training = prepare(net, dtype, size, found)
    training.wait()
    mark("built_s")
    started = time.perf_counter()
    training.compile(native)
    mark("compiled_s")
    training.take()
    training.wait()
    first = time.perf_counter() - started
    mark("first_step_done_s")
    loss = training.loss()
    timed = in_blocks(training.take, training.wait, seconds, blocks_of(tiny))
    return {
        **_about(found),
        "shape": [size, *net.clip, 3],
        "ms": timed,
        "clips_per_second": float(f"{1000 * size / timed['median']:.4g}"),
        "first_step_s": round(first, 3),
        "step_mb": _step_megabytes(training.compiled) if found.platform != "cpu" else None,
        "peak_mb": _peak_megabytes(found),
        "first_loss": finite(loss),
        "last_loss": finite(training.loss()),
    }


def _step_megabytes(compiled: Any) -> float | None:
    """Memory of the running program for arguments, results and temporaries; None if XLA does not report it."""
    try:
        sizes = compiled.memory_analysis()
        held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        return round((held + sizes.temp_size_in_bytes) / 1e6, 1)
    except (AttributeError, RuntimeError):
        return None


# A pooling layer of a network: shape of its input without the batch, window, strides, padding.
_POOLS: tuple[tuple[str, tuple[int, ...], tuple[int, int, int], tuple[int, int, int], Any], ...] = (
    ("SlowFast, slow stem", (8, 112, 112, 64), (1, 3, 3), (1, 2, 2), [(0, 0), (1, 1), (1, 1)]),
    ("SlowFast, fast stem", (32, 112, 112, 8), (1, 3, 3), (1, 2, 2), [(0, 0), (1, 1), (1, 1)]),
    ("C3D, pool 1", (16, 112, 112, 64), (1, 2, 2), (1, 2, 2), "SAME"),
    ("C3D, pool 2", (16, 56, 56, 128), (2, 2, 2), (2, 2, 2), "SAME"),
    ("C3D, pool 5", (2, 7, 7, 512), (2, 2, 2), (2, 2, 2), "SAME"),
    ("I3D, within Mixed_3b", (32, 28, 28, 192), (3, 3, 3), (1, 1, 1), "SAME"),
)


def pooling(mark: StatusCallback, *, seconds: float, tiny: bool) -> dict[str, Any]:
    """Max pooling and its gradient: the native operation and vidjax's implementation for CPUs; batch 16, bfloat16."""
    found = _device(tiny)
    cases = []
    for title, shape, window, strides, padding in _POOLS[::3] if tiny else _POOLS:
        size = 1 if tiny else 16
        space = [min(side, 8) for side in shape[:3]] if tiny else shape[:3]
        x = jax.nn.relu(jax.random.normal(jax.random.key(0), (size, *space, shape[3]), jnp.bfloat16))
        pads = jax.lax.padtype_to_pads(x.shape[1:4], window, strides, padding) if isinstance(padding, str) else padding
        by_axis, native = layer.implementations(window, strides, tuple((int(a), int(b)) for a, b in pads))
        g = jax.random.normal(jax.random.key(1), jax.eval_shape(native, x).shape, jnp.bfloat16)
        case: dict[str, Any] = {"pool": title, "shape": list(x.shape), "window": list(window), "strides": list(strides)}
        outcomes = {}
        for name, pool in (("native", native), ("by_axis", by_axis)):
            outcomes[name], case[name] = _timed(_with_gradient(pool), (x, g), seconds, blocks_of(tiny))
        differences = [
            float(jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).max())
            for a, b in zip(outcomes["native"], outcomes["by_axis"], strict=True)
        ]
        case["largest_difference"] = {"value": differences[0], "gradient": differences[1]}
        cases.append(case)
        mark(f"{title}_s")
    return {**_about(found), "dtype": "bfloat16", "cases": cases}


def _with_gradient(pool: Callable[[jax.Array], jax.Array]) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """A function (x, gradient of the value) -> (value, gradient of x)."""

    def both(x: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, transposed = jax.vjp(pool, x)
        return value, transposed(g)[0]

    return both


def determinism(mark: StatusCallback, *, steps: int, tiny: bool) -> dict[str, Any]:
    """Trains a small SlowFast (BatchNorm, dropout, 3D convolutions, overlapping max pools) twice from the same state.

    Returns:
      "repeat": the first difference between the two runs, {"step", "leaf"}, or None; "digests": of the first run, every
      `_CHECK_EVERY` steps, leaf -> digest, to compare with another process.
    """
    found = _device(tiny)
    net, size = Network("SlowFast small", "slowfast_r18_small", {"dropout": 0.5}, (16, 112, 112), 101, 0), 8
    if tiny:  # compiles faster
        net, size = Network("C3D small", "c3d_small", {"dropout": 0.5}, (8, 16, 16), 5, 0), 2
    training = prepare(net, "float32", size, found, learning_rate=1e-2)
    start = jax.tree.map(np.array, training.state)  # copies: a step donates its buffers
    training.compile()
    mark("compiled_s")
    runs = []
    for _ in range(2):
        training.state = jax.device_put(start, found)
        digests: dict[str, dict[str, str]] = {}
        for number in range(1, steps + 1):
            index = np.arange((number - 1) * size, number * size, dtype=np.int32)
            training.batch = training.batch._replace(index=jax.device_put(index, found))
            training.take()
            if number % _CHECK_EVERY == 0:
                digests[str(number)] = _digests(training.state)
        runs.append(digests)
        mark(f"run{len(runs)}_s")
    return {
        **_about(found),
        "steps": steps,
        "repeat": first_difference(*runs),
        "digests": runs[0],
        "last_loss": finite(training.loss()),
    }


def _digests(state: TrainState) -> dict[str, str]:
    """Path -> digest of the bits of each parameter and running statistic."""
    leaves = traverse_util.flatten_dict({"params": state.params, **state.model_state}, sep="/")
    return {path: hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()[:8] for path, leaf in leaves.items()}


def transfer(mark: StatusCallback, *, seconds: float, tiny: bool) -> dict[str, Any]:
    """Host-to-device transfer of a batch of SlowFast's uint8 clips, as in training, and from pinned memory."""
    found, net = _device(tiny), network("slowfast", tiny)
    size = 2 if tiny else 16
    clips, label = batch(net, size)
    strategy = JitStrategy([found])
    data = Batch({"rgb": clips}, label, np.arange(size, dtype=np.int32), np.ones(size, bool))
    result: dict[str, Any] = {**_about(found), "shape": list(clips.shape)}
    result["pageable"] = transfers(lambda: strategy.put_batch(data), jax.block_until_ready, seconds, clips)
    mark("pageable_s")
    if found.platform == "cpu":
        return {**result, "pinned": None}
    try:
        on_host = jax.device_put(clips, SingleDeviceSharding(found, memory_kind="pinned_host"))
        there = SingleDeviceSharding(found, memory_kind="device")
        put = functools.partial(jax.device_put, jax.block_until_ready(on_host), there)
        return {**result, "pinned": transfers(put, jax.block_until_ready, seconds, clips)}
    except (ValueError, RuntimeError) as error:  # the back end lacks that kind of memory
        return {**result, "pinned": None, "pinned_error": str(error).splitlines()[0]}


def initialization(mark: StatusCallback, *, tiny: bool) -> dict[str, Any]:
    """SlowFast's initial state as in training: compiled and computed on the device."""
    found, net = _device(tiny), network("slowfast", tiny)
    model = create(net.model, net.classes, dtype=jnp.bfloat16, **net.options)
    inputs = {"rgb": jax.ShapeDtypeStruct((1, *net.clip, 3), jnp.bfloat16)}
    init = make_init(model, optimizers.create("momentum", LEARNING_RATE), inputs, 0)
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        jax.block_until_ready(init())
        taken.append(round(time.perf_counter() - started, 3))
        mark(f"state{len(taken)}_s")
    return {**_about(found), "first_s": taken[0], "again_s": taken[1]}
