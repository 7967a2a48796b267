"""The parallel forms of a step: `jit` on one device, `pmap` or `jit` with shardings over several.

The form is chosen here and nowhere else; all give the same numbers.
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
    """One way to run a step.

    Attributes:
      name: "jit", "pmap" or "sharded".
      devices: over which the batch is split, in all processes.
      axis_name: that the step must average over, or None.
    """

    name: str
    axis_name: str | None = None

    def __init__(self, devices: list[jax.Device]):
        self.devices = devices
        self._options = accepted_options(CPU_OPTIONS) if devices[0].platform == "cpu" else None

    @property
    def steps_ahead(self) -> int:
        """Steps that may be under way while the host prepares the next.

        None on virtual CPU devices, whose collectives deadlock when steps overlap.
        """
        return 0 if len(self.devices) > 1 and self.devices[0].platform == "cpu" else _MAX_INFLIGHT_STEPS

    @property
    @abc.abstractmethod
    def placement(self) -> Sharding:
        """Of the state, on the devices."""

    def put_state(self, state: TrainState) -> TrainState:
        """Places a state on the devices."""
        return jax.device_put(state, self.placement)

    def like(self, state: TrainState) -> TrainState:
        """The shapes, dtypes and placement of a state that is given by shapes and dtypes: what is to be restored."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.placement), state)

    @abc.abstractmethod
    def put_batch(self, batch: Batch) -> Batch:
        """Places this process's part of a global batch on its devices."""

    @abc.abstractmethod
    def compile_train(self, step: TrainStep) -> Callable[[TrainState, Batch], Any]:
        """Compiles a training step."""

    @abc.abstractmethod
    def compile_eval(self, step: EvalStep) -> Callable[[TrainState, Batch], Any]:
        """Compiles an evaluation step; its result is the whole global batch's, on every process."""

    def check_batch_size(self, batch_size: int, key: str, *, parts: int = 1) -> None:
        """Refuses a global batch that does not divide among the devices and their accumulated parts.

        Raises:
          ConfigError: naming the config key.
        """
        if parts > 1 and batch_size % (parts * len(self.devices)):
            raise ConfigError(
                f"{key}={batch_size} does not divide into {parts} accumulated parts for each of"
                f" {len(self.devices)} device(s)"
            )
        if batch_size % len(self.devices):
            raise ConfigError(f"{key}={batch_size} does not divide among {len(self.devices)} devices")


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
    """One program per device; the state has no device axis, gradients and statistics are averaged by name."""

    name = "pmap"
    axis_name = _AXIS

    @property
    def placement(self) -> Sharding:
        # As `pmap` itself returns it with `out_axes=None`, so that the second step is not compiled again.
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
        # Over several processes `pmap` must choose them itself.
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
    # Auto axes: with Explicit ones random draws inside layers fail on sharding.
    return NamedSharding(Mesh(np.array(devices), (_AXIS,), axis_types=(AxisType.Auto,)), PartitionSpec())


PARALLEL_STRATEGIES: dict[str, type[ParallelStrategy]] = {
    "jit": JitStrategy,
    "pmap": PmapStrategy,
    "sharded": ShardedStrategy,
}


def choose(name: str, devices: list[jax.Device] | None = None) -> ParallelStrategy:
    """Chooses the form of the step.

    Args:
      name: "auto" (jit on one device, pmap over several), "jit", "pmap" or "sharded".
      devices: default: all; `jit` uses the first.

    Raises:
      ConfigError: for an unknown name, `jit` in a run of several processes, or a device that is not there.
    """
    devices = devices if devices is not None else available()
    if name == "auto":
        name = "jit" if len(devices) == 1 else "pmap"
    if name not in PARALLEL_STRATEGIES:
        raise ConfigError(f"parallel={name!r} is not one of auto, {', '.join(PARALLEL_STRATEGIES)}")
    if name == "jit":
        if jax.process_count() > 1:
            raise ConfigError("parallel='jit' runs on one device; over several processes take pmap or sharded")
        devices = devices[:1]
    return PARALLEL_STRATEGIES[name](devices)
