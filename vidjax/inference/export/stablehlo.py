"""A network as StableHLO, which JAX and XLA read: the format of `jax.export`, one file for CPU, GPU and TPU."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from vidjax.errors import ConfigError
from vidjax.inference.export.program import Program, on_cpu, tracing

PLATFORMS = ("cpu", "cuda", "tpu")


class Serialized(NamedTuple):
    """A program as it is stored.

    Attributes:
      content: for `jax.export.deserialize`.
      calling_convention: version of the format.
    """

    content: bytes
    calling_convention: int


def check_packages() -> None:
    """Refuses to go on without the package with which JAX serializes.

    Raises:
      ConfigError: saying what to install.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ConfigError("StableHLO files need a package that is not installed: pip install flatbuffers")


def serialize(program: Program) -> Serialized:
    """Traces, lowers and serializes a program; its weights become constants of it.

    The function takes the inputs one after the other, by the order of their names, and returns one array.

    Raises:
      ExportError: if the network needs to know the size of the batch.
    """
    (batch,) = export.symbolic_shape("batch")
    specs = program.specs(batch)
    names = list(specs)

    def function(*arrays: jax.Array) -> jax.Array:
        return program.function(program.variables, dict(zip(names, arrays, strict=True)))

    with tracing():
        exported = export.export(jax.jit(function), platforms=PLATFORMS)(*specs.values())
    return Serialized(bytes(exported.serialize()), exported.calling_convention_version)


def load(path: Path) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """The function in a file: of arrays by name."""
    exported = export.deserialize(bytearray(path.read_bytes()))

    def function(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        with on_cpu():
            return np.asarray(exported.call(*(inputs[name] for name in sorted(inputs))))

    return function


def snippet(path: Path, inputs: Mapping[str, Any]) -> str:
    """Lines of Python that run the file with JAX alone."""
    arrays = ", ".join(sorted(inputs))
    return "\n".join(
        [
            "import jax, json",
            "from jax import export",
            f'network = export.deserialize(bytearray(open("{path.name}", "rb").read()))',
            f'classes = json.load(open("{path.name}.json"))["classes"]',
            f"output = jax.jit(network.call)({arrays})",
        ]
    )
