"""Filling the variables of a network from given ones: by path, with nothing left out in silence."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from vidjax.errors import OptionError
from vidjax.options.suggestions import did_you_mean
from vidjax.pretrained.inflation import inflated

_MAX_LISTED = 3
_SKIP = "; if that is meant, name it in {skip}"


@dataclasses.dataclass(frozen=True)
class Filled:
    """Which variables were taken, and which were not.

    Attributes:
      values: path -> array of the target's shape and dtype, for every variable that is taken.
      inflated: paths of kernels that were inflated over time.
      initial: paths of the target that keep their initial values.
      unused: given paths that are not taken.
    """

    values: Mapping[str, np.ndarray]
    inflated: tuple[str, ...]
    initial: tuple[str, ...]
    unused: tuple[str, ...]


def fill(
    target: Mapping[str, Any],
    given: Mapping[str, np.ndarray],
    *,
    skip: Collection[str] = (),
    inflation: str = "repeat",
) -> Filled:
    """Takes every given variable for the target's of the same path.

    A kernel [H, W, I, O] where the target's is [T, H, W, I, O] is inflated.

    Args:
      target: path -> anything with `shape` and `dtype`, e.g. "params/trunk/stem/conv/kernel".
      given: path -> array.
      skip: paths, of either, that are not to be taken.
      inflation: one of `inflation.RULES`.

    Raises:
      OptionError: naming a given variable that is not used, one of the target that is not filled, or a shape that does
        not fit; unless it is skipped.
    """
    values, paths = {}, []
    for path, spec in target.items():
        if path in skip or path not in given:
            continue
        array, shape = given[path], tuple(spec.shape)
        if array.shape == shape:
            values[path] = np.ascontiguousarray(array, spec.dtype)
        elif array.ndim == 4 and array.shape == shape[1:]:
            values[path] = inflated(array, shape[0], inflation).astype(spec.dtype)
            paths.append(path)
        else:
            raise OptionError(
                f"parameter {path!r} has shape {array.shape} in the weights, {shape} in the network{_SKIP}", ["skip"]
            )
    initial = tuple(path for path in target if path not in values)
    unused = tuple(path for path in given if path not in values)
    _refuse([path for path in initial if path not in skip], given, "the network has it, the weights do not")
    _refuse([path for path in unused if path not in skip], target, "the weights have it, the network does not")
    if not values:
        raise OptionError("nothing is taken from the weights: {skip} leaves no parameter", ["skip"])
    return Filled(values, tuple(paths), initial, unused)


def _refuse(paths: Sequence[str], others: Collection[str], reason: str) -> None:
    if paths:
        more = f", and {len(paths) - _MAX_LISTED} more" if len(paths) > _MAX_LISTED else ""
        listed = ", ".join(map(repr, paths[:_MAX_LISTED]))
        raise OptionError(f"parameter {listed}{more}: {reason}{did_you_mean(paths[0], others)}{_SKIP}", ["skip"])
