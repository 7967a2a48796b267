"""Rules of the primitives that arrange, join, split and reduce arrays."""

from typing import Any

import numpy as np

from vidjax.inference.export.jaxpr_to_onnx.equation import Equation, Rule
from vidjax.inference.export.jaxpr_to_onnx.graph import Graph, Value


def _reshape(graph: Graph, equation: Equation) -> Value:
    equation.require(dimensions=None)
    return _in_shape(graph, equation)


def _in_shape(graph: Graph, equation: Equation) -> Value:
    return graph.reshape(equation.values[0], equation.outputs[0].shape)


def _transpose(graph: Graph, equation: Equation) -> Value:
    return graph.transpose(equation.values[0], equation.parameters["permutation"])


def _concatenate(graph: Graph, equation: Equation) -> Value:
    return graph.add("Concat", *equation.values, axis=equation.parameters["dimension"])


def _stack(graph: Graph, equation: Equation) -> Value:
    axis = equation.parameters["axis"]
    parts = [graph.add("Unsqueeze", value, np.array([axis], np.int64)) for value in equation.values]
    return graph.add("Concat", *parts, axis=axis)


def _split(graph: Graph, equation: Equation) -> list[Value]:
    sizes = np.array(equation.parameters["sizes"], np.int64)
    axis = equation.parameters["axis"]
    return list(graph.add_many("Split", equation.values[0], sizes, outputs=len(sizes), axis=axis))


def _pad(graph: Graph, equation: Equation) -> Value:
    before, after, within = zip(*equation.parameters["padding_config"])
    if any(within) or min(before + after) < 0:
        equation.refuse(f"padding_config={equation.parameters['padding_config']}")
    value, filling = equation.values
    return graph.add("Pad", value, np.array(before + after, np.int64), filling)


def _reduction(op: str) -> Rule:
    def rule(graph: Graph, equation: Equation) -> Value:
        axes = np.array(equation.parameters["axes"], np.int64)
        if not axes.size:
            return equation.values[0]  # where ONNX would reduce all
        return graph.add(op, equation.values[0], axes, keepdims=0)

    return rule


def _reduction_of_bool(op: str) -> Rule:
    def rule(graph: Graph, equation: Equation) -> Value:
        if equation.inputs[0].dtype != bool:
            equation.refuse(f"values of {equation.inputs[0].dtype}")
        numbers = graph.cast(equation.values[0], np.int32)
        return graph.cast(_reduction(op)(graph, equation._replace(values=[numbers])), bool)  # type: ignore[arg-type]

    return rule


def _position_of(op: str) -> Rule:
    def rule(graph: Graph, equation: Equation) -> Value:
        (axis,) = equation.parameters["axes"]
        position = graph.add(op, equation.values[0], axis=axis, keepdims=0)
        return graph.cast(position, equation.outputs[0].dtype)

    return rule


def _cumsum(graph: Graph, equation: Equation) -> Value:
    axis = np.array(equation.parameters["axis"], np.int64)
    return graph.add("CumSum", equation.values[0], axis, reverse=int(equation.parameters["reverse"]))


LAYOUT: dict[str, Any] = {
    "argmax": _position_of("ArgMax"),
    "argmin": _position_of("ArgMin"),
    "concatenate": _concatenate,
    "cumsum": _cumsum,
    "expand_dims": _in_shape,
    "pad": _pad,
    "reduce_and": _reduction_of_bool("ReduceMin"),
    "reduce_max": _reduction("ReduceMax"),
    "reduce_min": _reduction("ReduceMin"),
    "reduce_or": _reduction_of_bool("ReduceMax"),
    "reduce_prod": _reduction("ReduceProd"),
    "reduce_sum": _reduction("ReduceSum"),
    "reshape": _reshape,
    "split": _split,
    "squeeze": _in_shape,
    "stack": _stack,
    "transpose": _transpose,
}
