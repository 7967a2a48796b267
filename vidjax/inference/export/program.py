"""A network as one pure function with a free batch: what is exported."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.data.records import Batch
from vidjax.errors import ExportError
from vidjax.evaluation.scores import of_one_view
from vidjax.inference.network import TrainedNetwork
from vidjax.layers.convolution import native_operations

_PIXEL_VALUES = 256


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of weights and inputs.

    Attributes:
      function: (variables, {name: array [B, ...]}) -> array [B, ...], pure.
      variables: of the network.
      inputs: name -> shape and dtype of one example, without the batch.
    """

    function: Callable[[Any, Mapping[str, Any]], jax.Array]
    variables: Any
    inputs: Mapping[str, jax.ShapeDtypeStruct]

    def specs(self, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
        """The inputs with a batch of that size, which may be symbolic."""
        return {
            name: jax.ShapeDtypeStruct((batch, *spec.shape), spec.dtype) for name, spec in sorted(self.inputs.items())
        }

    def example(self, count: int) -> dict[str, np.ndarray]:
        """Generated inputs: random pixels, normally distributed values, and masks that are all True."""
        rng = np.random.default_rng(0)
        drawn: dict[str, np.ndarray] = {}
        for name, spec in self.specs(count).items():
            if spec.dtype == bool:
                drawn[name] = np.ones(spec.shape, bool)
            elif np.issubdtype(spec.dtype, np.integer):
                drawn[name] = rng.integers(0, _PIXEL_VALUES, spec.shape).astype(spec.dtype)
            else:
                drawn[name] = rng.normal(size=spec.shape).astype(spec.dtype)
        return drawn

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The result, as the network itself computes it."""
        with on_cpu():
            return np.asarray(jax.jit(self.function)(self.variables, dict(inputs)))


def with_preprocessing(network: TrainedNetwork) -> Program:
    """From what the host reads, e.g. uint8 [B, T, H, W, 3], to probabilities float [B, K].

    Center crop, normalization, network, mean over its N positions by the rule of the evaluation.
    """
    network = in_float32(network)
    inputs, side = {}, max(network.clip.crop, network.side)
    for each in network.inputs:
        shape = each.example_shape(network.clip.frames, side)
        inputs[each.name] = jax.ShapeDtypeStruct(shape, np.dtype(each.dtype))
        if each.is_masked:
            inputs[f"{each.name}_mask"] = jax.ShapeDtypeStruct(shape[:-1], np.dtype(bool))

    def function(variables: Any, inputs: Mapping[str, Any]) -> jax.Array:
        seen = network.preprocessing.evaluation(Batch(dict(inputs), None, None, None))
        return of_one_view(network.scores(variables, seen), network.average)

    return Program(function, network.variables, inputs)


def without_preprocessing(network: TrainedNetwork) -> Program:
    """From what the model takes, e.g. normalized float [B, T, H, W, 3], to its logits float [B, N, K]."""
    network = in_float32(network)
    inputs = {name: jax.ShapeDtypeStruct(spec.shape[1:], spec.dtype) for name, spec in network.specs().items()}

    def function(variables: Any, inputs: Mapping[str, Any]) -> jax.Array:
        return network.apply(variables, inputs).logits.astype(jnp.float32)

    return Program(function, network.variables, inputs)


def in_float32(network: TrainedNetwork) -> TrainedNetwork:
    """The network computing in float32 where it was trained in bfloat16 or float16; its weights are float32 anyway."""
    preprocessing = dataclasses.replace(network.preprocessing, dtype=jnp.float32)
    module: Any = network.module
    if getattr(module, "dtype", None) is not None:
        module = module.clone(dtype=jnp.float32)
    return dataclasses.replace(network, module=module, preprocessing=preprocessing)


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Context in which programs are traced for export, with a free batch and the native operations of XLA.

    Raises:
      ExportError: if a network needs to know the size of the batch.
    """
    unknown_size = (jax.errors.InconclusiveDimensionOperation, jax.errors.ConcretizationTypeError)
    try:
        with on_cpu(), native_operations():
            yield
    except unknown_size as error:
        reason = str(error).partition("\n")[0]
        raise ExportError(f"the network cannot be traced without knowing the size of the batch: {reason}") from error


def on_cpu() -> contextlib.AbstractContextManager[Any]:
    """Context in which JAX computes on the CPU, where float32 is exact, if the process has one."""
    try:
        return jax.default_device(jax.devices("cpu")[0])
    except RuntimeError:  # JAX_PLATFORMS names others alone
        return contextlib.nullcontext()
