"""Filling the variables of a module from arrays in another layout, when the names of its parameters are known."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidjax.errors import ConfigError, DataError

# The name of a layer (without ".weight") for the path of a layer in the module, e.g. ("stem", "conv").
NameLayer = Callable[[tuple[str, ...]], str]
# The name and the axes of the counterpart of a variable, given its path, e.g. ("params", "stem", "conv", "kernel"), and
# its number of axes. The counterpart's axes are in the order of ours.
NameVariable = Callable[[tuple[str, ...], int], tuple[str, tuple[int, ...]]]

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Of PyTorch's array, in the order of ours: [O, I, T, H, W] to [T, H, W, I, O], [O, I] to [I, O].
_AXES = {5: (2, 3, 4, 1, 0), 4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


class Entry(NamedTuple):
    """One variable and its counterpart.

    Attributes:
      leaf: path of the variable, e.g. ("params", "stem", "conv", "kernel").
      name: of the parameter in the checkpoint, e.g. "s1.pathway0_stem.conv.weight".
      shape: in the checkpoint.
      axes: of the parameter, in the order of the variable.
      dtype: of the variable.
    """

    leaf: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    dtype: Any


def entries(module: nn.Module, name_variable: NameVariable, size: int = 32) -> list[Entry]:
    """The counterpart of every variable of a module that takes clips, of `size` pixels where that matters."""
    rgb = jnp.zeros((1, 2 * getattr(module, "alpha", 1), size, size, 3))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), rgb=rgb))
    result = []
    for leaf, variable in traverse_util.flatten_dict(shapes).items():
        name, axes = name_variable(leaf, variable.ndim)
        shape = tuple(variable.shape[axes.index(axis)] for axis in range(variable.ndim))
        result.append(Entry(leaf, name, shape, axes, variable.dtype))
    return result


def fill(module: nn.Module, weights: Mapping[str, np.ndarray], name_layer: NameLayer, size: int = 32) -> dict[str, Any]:
    """The variables of a module from a checkpoint of PyTorch.

    Args:
      module: SlowFast, for example.
      weights: all parameters and running statistics, by name, in PyTorch's layout. "num_batches_tracked" is ignored.
      name_layer: of the layout.
      size: of the frames, in pixels, where parameters depend on it.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      DataError: names the first parameter that is missing, of another shape or kind, or not the module's.
    """
    return fill_by_name(module, weights, in_pytorch(name_layer), size)


def in_pytorch(name_layer: NameLayer) -> NameVariable:
    """The names and axes of PyTorch, given those of its layers."""

    def name_variable(path: tuple[str, ...], ndim: int) -> tuple[str, tuple[int, ...]]:
        return f"{name_layer(path[1:-1])}.{_LEAVES[path[-1]]}", _AXES[ndim]

    return name_variable


def fill_by_name(
    module: nn.Module, weights: Mapping[str, np.ndarray], name_variable: NameVariable, size: int = 32
) -> dict[str, Any]:
    """As `fill`, for arrays in any layout.

    Args:
      module, weights, size: as there.
      name_variable: of the layout.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      DataError: as there.
    """
    table = entries(module, name_variable, size)
    missing = [entry.name for entry in table if entry.name not in weights]
    if missing:
        raise DataError(f"parameter {missing[0]!r} is missing from the checkpoint{_and_more(missing)}")
    expected = {entry.name for entry in table}
    unexpected = [n for n in weights if n not in expected and n.rpartition(".")[2] != "num_batches_tracked"]
    if unexpected:
        kind = type(module).__name__
        raise DataError(
            f"parameter {unexpected[0]!r} is unexpected: {kind} has no such parameter{_and_more(unexpected)}"
        )
    return traverse_util.unflatten_dict({entry.leaf: _variable(entry, weights[entry.name]) for entry in table})


def check_module(module: nn.Module, *kinds: type[nn.Module]) -> None:
    """Refuses a module that the layout has no names for.

    Raises:
      ConfigError: says which modules it has names for.
    """
    if not isinstance(module, kinds):
        known = " and ".join(kind.__name__ for kind in kinds)
        raise ConfigError(f"these checkpoints fit {known}, not {type(module).__name__}")


def _variable(entry: Entry, value: np.ndarray) -> np.ndarray:
    value = np.asarray(value)
    if value.shape != entry.shape:
        raise DataError(
            f"parameter {entry.name!r} has shape {value.shape} in the checkpoint, {entry.shape} in the model"
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise DataError(f"parameter {entry.name!r} holds {value.dtype}, not floating-point numbers")
    return np.array(value.transpose(entry.axes), entry.dtype, order="C")  # not a view of the whole file


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
