"""Parallel strategies: `jit` on one device, `pmap` or `jit` with shardings on several.

The strategy is chosen only here; all of them compute the same numbers.
"""

import abc
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from vidjax.data.records import Batch
from vidjax.errors import ConfigError
from vidjax.system.devices import available
from vidjax.training.compiler_options import CPU_OPTIONS, accepted_options
from vidjax.training.state import TrainState
from vidjax.training.step import EvalStep, TrainStep

_AXIS = "devices"
_MAX_INFLIGHT_STEPS = 2


class ParallelStrategy(abc.ABC):
    """How steps are compiled and how their inputs are placed on devices.

    Attributes:
      name: "jit", "pmap" or "sharded".
      devices: that the batch is split over, of all processes.
      axis_name: mapped axis name for collectives, or None.
    """

    name: str
    axis_name: str | None = None

    def __init__(self, devices: list[jax.Device]):
        self.devices = devices
        self._options = accepted_options(CPU_OPTIONS) if devices[0].platform == "cpu" else None

    @property
    def max_inflight_steps(self) -> int:
        """How many steps may be in flight while the host prepares the next one.

        0 on virtual CPU devices, whose collectives deadlock when steps overlap.
        """
        return 0 if len(self.devices) > 1 and self.devices[0].platform == "cpu" else _MAX_INFLIGHT_STEPS

    @property
    @abc.abstractmethod
    def placement(self) -> Sharding:
        """Sharding of the state."""

    def put_state(self, state: TrainState) -> TrainState:
        """Places a state on the devices."""
        return jax.device_put(state, self.placement)

    def abstract_state(self, state: TrainState) -> TrainState:
        """Adds the placement to a state of shapes and dtypes: the target of a restore."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.placement), state)

    @abc.abstractmethod
    def put_batch(self, batch: Batch) -> Batch:
        """Places this process's part of a global batch on its devices."""

    @abc.abstractmethod
    def compile_train(self, step: TrainStep) -> Callable[[TrainState, Batch], Any]:
        """Compiles a training step."""

    @abc.abstractmethod
    def compile_eval(self, step: EvalStep) -> Callable[[TrainState, Batch], Any]:
        """Compiles an evaluation step; every process gets the result for the whole global batch."""

    def check_batch_size(self, batch_size: int, key: str, *, num_microbatches: int = 1) -> None:
        """Checks that a global batch is divisible by the number of devices times microbatches.

        Raises:
          ConfigError: naming the config key.
        """
        if num_microbatches > 1 and batch_size % (num_microbatches * len(self.devices)):
            raise ConfigError(
                f"{key}={batch_size} is not divisible by {num_microbatches} microbatches x"
                f" {len(self.devices)} device(s)"
            )
        if batch_size % len(self.devices):
            raise ConfigError(f"{key}={batch_size} is not divisible by {len(self.devices)} devices")


class JitStrategy(ParallelStrategy):
    """One device."""

    name = "jit"

    @property
    def placement(self) -> Sharding:
        return SingleDeviceSharding(self.devices[0])

    def put_batch(self, batch: Batch) -> Batch:
        return jax.device_put(batch, self.devices[0])

    def compile_train(self, step: TrainStep) -> Callable[[TrainState, Batch], Any]:
        return jax.jit(step, donate_argnums=0, compiler_options=self._options)

    def compile_eval(self, step: EvalStep) -> Callable[[TrainState, Batch], Any]:
        return jax.jit(step, compiler_options=self._options)


class PmapStrategy(ParallelStrategy):
    """One program per device; the state has no device axis, gradients and statistics are averaged across devices."""

    name = "pmap"
    axis_name = _AXIS

    @property
    def placement(self) -> Sharding:
        # What `pmap` returns with `out_axes=None`: the second step is not recompiled.
        return _replicated(self.devices)

    def put_batch(self, batch: Batch) -> Batch:
        local = [device for device in self.devices if device.process_index == jax.process_index()]
        return jax.tree.map(lambda x: x.reshape(len(local), x.shape[0] // len(local), *x.shape[1:]), batch)

    def compile_train(self, step: TrainStep) -> Callable[[TrainState, Batch], Any]:
        return jax.pmap(
            step, _AXIS, in_axes=(None, 0), out_axes=(None, None), devices=self._pmap_devices(), donate_argnums=0
        )

    def compile_eval(self, step: EvalStep) -> Callable[[TrainState, Batch], Any]:
        return jax.pmap(step, _AXIS, in_axes=(None, 0), out_axes=None, devices=self._pmap_devices())

    def _pmap_devices(self) -> list[jax.Device] | None:
        # In a multi-process run `pmap` must choose the devices itself.
        return self.devices if jax.process_count() == 1 else None


class ShardedStrategy(ParallelStrategy):
    """One global program; the compiler splits the batch and inserts the reductions."""

    name = "sharded"

    def __init__(self, devices: list[jax.Device]):
        super().__init__(devices)
        self._replicated = _replicated(devices)
        self._split = NamedSharding(self._replicated.mesh, PartitionSpec(_AXIS))

    @property
    def placement(self) -> Sharding:
        return self._replicated

    def put_batch(self, batch: Batch) -> Batch:
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self._split, x), batch)

    def compile_train(self, step: TrainStep) -> Callable[[TrainState, Batch], Any]:
        return jax.jit(step, donate_argnums=0, out_shardings=self._replicated, compiler_options=self._options)

    def compile_eval(self, step: EvalStep) -> Callable[[TrainState, Batch], Any]:
        return jax.jit(step, out_shardings=self._replicated, compiler_options=self._options)


def _replicated(devices: list[jax.Device]) -> NamedSharding:
    # Auto axes: with explicit ones, random draws inside layers raise sharding errors.
    return NamedSharding(Mesh(np.array(devices), (_AXIS,), axis_types=(AxisType.Auto,)), PartitionSpec())


PARALLEL_STRATEGIES: dict[str, type[ParallelStrategy]] = {
    "jit": JitStrategy,
    "pmap": PmapStrategy,
    "sharded": ShardedStrategy,
}


def choose(name: str, devices: list[jax.Device] | None = None) -> ParallelStrategy:
    """Creates the parallel strategy `name`.

    Args:
      name: "auto" (jit on one device, pmap over several), "jit", "pmap" or "sharded".
      devices: all by default; `jit` uses the first.

    Raises:
      ConfigError: for an unknown name, `jit` in a run of several processes, or a device that is not available.
    """
    devices = devices if devices is not None else available()
    if name == "auto":
        name = "jit" if len(devices) == 1 else "pmap"
    if name not in PARALLEL_STRATEGIES:
        raise ConfigError(f"parallel={name!r} is not one of auto, {', '.join(PARALLEL_STRATEGIES)}")
    if name == "jit":
        if jax.process_count() > 1:
            raise ConfigError("parallel='jit' runs on one device; with several processes use pmap or sharded")
        devices = devices[:1]
    return PARALLEL_STRATEGIES[name](devices)
