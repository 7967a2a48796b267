"""Inflation: weights of a 3D network from those of a 2D network (Carreira & Zisserman 2017, section 2.4)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from vidjax.errors import DataError

Path = tuple[str, ...]
RULES = ("repeat", "center")


def inflate(
    params_2d: Mapping[str, Any], params_3d: Mapping[str, Any], name_of: Callable[[Path], Path] = lambda path: path
) -> dict[str, Any]:
    """Repeats kernels over time and divides them by their extent in time; takes other arrays as they are.

        kernel_3d[t, y, x, i, o] = kernel_2d[y, x, i, o] / T,   t = 0 .. T - 1

    So a video of equal frames gives the responses that the frame gives in the network for images, wherever the network
    for videos does not see its padding in time.

    Args:
      params_2d: of the network for images, nested names -> arrays; its kernels are [H, W, I, O]. All must be used:
        leave out layers that the 3D network does not have, such as a classifier of other classes.
      params_3d: the parameters to fill, nested names -> anything with `shape` and `dtype`, such as the parameters that
        `jax.eval_shape` gives of `module.init`; kernels [T, H, W, I, O]. Batch statistics are inflated in the same way.
      name_of: path in `params_3d` -> path in `params_2d`, e.g. ("stem", "conv", "kernel").

    Returns:
      NumPy arrays, nested as `params_3d`.

    Raises:
      DataError: names a parameter that is missing, not used or of a shape that does not fit.
    """
    flat, targets = traverse_util.flatten_dict(dict(params_2d)), traverse_util.flatten_dict(dict(params_3d))
    names = {path: name_of(path) for path in targets}
    filled = {}
    for path, target in targets.items():
        if names[path] not in flat:
            raise DataError(f"parameter {_text(path)}: the 2D network has no {_text(names[path])}")
        filled[path] = _inflated(path, np.asarray(flat[names[path]]), target)
    unused = flat.keys() - set(names.values())
    if unused:
        raise DataError(f"parameter {min(map(_text, unused))} of the 2D network is not used by the 3D one")
    return traverse_util.unflatten_dict(filled)


def inflated(kernel: np.ndarray, extent: int, rule: str = "repeat") -> np.ndarray:
    """A kernel over time, [T, H, W, I, O], from one of a 2D network, [H, W, I, O].

    Args:
      kernel: of the 2D network.
      extent: T.
      rule: one of `RULES`; "repeat": kernel / T at every time; "center": the kernel at T // 2, zero at all others.
    """
    if rule == "repeat":
        return np.broadcast_to(kernel / extent, (extent, *kernel.shape))
    wide = np.zeros((extent, *kernel.shape), kernel.dtype)
    wide[extent // 2] = kernel
    return wide


def _inflated(path: Path, array: np.ndarray, target: Any) -> np.ndarray:
    shape = tuple(target.shape)
    if array.shape == shape:
        return np.array(array, target.dtype)
    if array.ndim != 4 or len(shape) != 5 or array.shape != shape[1:]:
        raise DataError(f"parameter {_text(path)} has shape {array.shape} in the 2D network, {shape} in the 3D one")
    return inflated(array, shape[0]).astype(target.dtype)


def _text(path: Path) -> str:
    return repr("/".join(path))
