"""Rules of the reductions of windows."""

import math
from typing import Any

import numpy as np
from jax import export

from vidjax.inference.export.jaxpr_to_onnx.equation import Equation
from vidjax.inference.export.jaxpr_to_onnx.graph import Graph, Value, product

_MOST_AXES = 3  # that ONNX pools over


def _window_max(graph: Graph, equation: Equation) -> Value:
    return _pooled(graph, equation, "MaxPool")


def _window_sum(graph: Graph, equation: Equation) -> Value:
    size = math.prod(equation.parameters["window_dimensions"])
    mean = _pooled(graph, equation, "AveragePool", count_include_pad=1)
    return graph.add("Mul", mean, np.array(size, equation.outputs[0].dtype))


def _pooled(graph: Graph, equation: Equation, op: str, **attributes: Any) -> Value:
    """Pools over those axes that have a window; of the others the last one becomes the channels, the rest the batch."""
    (x,), (y,) = equation.inputs, equation.outputs
    equation.require(base_dilation=(1,) * x.ndim, window_dilation=(1,) * x.ndim)
    windows, strides, padding = (
        equation.parameters[name] for name in ("window_dimensions", "window_strides", "padding")
    )
    if not np.issubdtype(x.dtype, np.floating):
        equation.refuse(f"values of {x.dtype}")
    axes = [axis for axis in range(x.ndim) if (windows[axis], strides[axis], *padding[axis]) != (1, 1, 0, 0)]
    if not axes:
        return equation.values[0]
    others = [axis for axis in range(x.ndim) if axis not in axes]
    is_padded_well = all(0 <= min(padding[axis]) <= max(padding[axis]) < windows[axis] for axis in axes)
    if len(axes) > _MOST_AXES or not is_padded_well:
        equation.refuse(f"window_dimensions={windows} and padding={padding}")
    order = [*others, *axes]
    value = graph.transpose(equation.values[0], order)
    sizes = [x.shape[axis] for axis in others]
    is_folded = len(others) != 2 or export.is_symbolic_dim(sizes[1])
    if is_folded:
        channels = sizes.pop() if others and not export.is_symbolic_dim(sizes[-1]) else 1
        value = graph.reshape(value, [product(sizes), channels, *(x.shape[axis] for axis in axes)])
    value = graph.add(
        op,
        value,
        kernel_shape=[windows[axis] for axis in axes],
        strides=[strides[axis] for axis in axes],
        pads=[padding[axis][0] for axis in axes] + [padding[axis][1] for axis in axes],
        **attributes,
    )
    if is_folded:
        value = graph.reshape(value, [y.shape[axis] for axis in order])
    return graph.transpose(value, np.argsort(order).tolist())


POOLING: dict[str, Any] = {"reduce_window_max": _window_max, "reduce_window_sum": _window_sum}
