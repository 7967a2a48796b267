"""Rules of matrix products and convolutions."""

from typing import Any

import numpy as np

from vidjax.inference.export.jaxpr_to_onnx.equation import Equation
from vidjax.inference.export.jaxpr_to_onnx.graph import Graph, Value, product


def _dot_general(graph: Graph, equation: Equation) -> Value:
    """MatMul: [*batch, m, k] with [*batch, k, n]."""
    (left_sum, right_sum), (left_batch, right_batch) = equation.parameters["dimension_numbers"]
    left, right = equation.inputs
    left_own = [axis for axis in range(left.ndim) if axis not in (*left_sum, *left_batch)]
    right_own = [axis for axis in range(right.ndim) if axis not in (*right_sum, *right_batch)]
    kind, result = equation.outputs[0].dtype, equation.outputs[0].shape
    first, second = (
        value if aval.dtype == kind else graph.cast(value, kind) for value, aval in zip(equation.values, (left, right))
    )
    first = graph.transpose(first, [*left_batch, *left_own, *left_sum])
    second = graph.transpose(second, [*right_batch, *right_sum, *right_own])
    batch = [left.shape[axis] for axis in left_batch]
    length = product(left.shape[axis] for axis in left_sum)
    if len(left_own) != 1 or len(left_sum) != 1:
        first = graph.reshape(first, [*batch, product(left.shape[axis] for axis in left_own), length])
    if len(right_own) != 1 or len(right_sum) != 1:
        second = graph.reshape(second, [*batch, length, product(right.shape[axis] for axis in right_own)])
    multiplied = graph.add("MatMul", first, second)
    return multiplied if len(left_own) == len(right_own) == 1 else graph.reshape(multiplied, result)


def _convolution(graph: Graph, equation: Equation) -> Value:
    parameters, (x, _) = equation.parameters, equation.inputs
    equation.require(batch_group_count=1, lhs_dilation=(1,) * (x.ndim - 2))
    before, after = zip(*parameters["padding"])
    if min(before + after) < 0:
        equation.refuse(f"padding={parameters['padding']}")
    kind = equation.outputs[0].dtype
    if any(aval.dtype != kind for aval in equation.inputs):
        equation.refuse(f"inputs of other types than {kind}")
    numbers = parameters["dimension_numbers"]
    images = graph.transpose(equation.values[0], numbers.lhs_spec)
    kernel = graph.transpose(equation.values[1], numbers.rhs_spec)
    convolved = graph.add(
        "Conv",
        images,
        kernel,
        strides=list(parameters["window_strides"]),
        dilations=list(parameters["rhs_dilation"]),
        group=parameters["feature_group_count"],
        pads=[*before, *after],
    )
    return graph.transpose(convolved, np.argsort(numbers.out_spec).tolist())


CONTRACTIONS: dict[str, Any] = {"conv_general_dilated": _convolution, "dot_general": _dot_general}
