"""Rules of the primitives that compute each element by itself.

Their inputs may lack the extent of an axis (1 in its place), since ONNX broadcasts by itself.
"""

from typing import Any

import numpy as np

from vidjax.inference.export.jaxpr_to_onnx.equation import Equation, Rule
from vidjax.inference.export.jaxpr_to_onnx.graph import Graph, Value


def _direct(op: str) -> Rule:
    return lambda graph, equation: graph.add(op, *equation.values)


def _logical(of_bool: str, of_numbers: str) -> Rule:
    def rule(graph: Graph, equation: Equation) -> Value:
        return graph.add(of_bool if equation.inputs[0].dtype == bool else of_numbers, *equation.values)

    return rule


def _same(graph: Graph, equation: Equation) -> Value:
    return equation.values[0]


def _number(equation: Equation, number: float) -> np.ndarray:
    return np.array(number, equation.inputs[0].dtype)


def _not_equal(graph: Graph, equation: Equation) -> Value:
    return graph.add("Not", graph.add("Equal", *equation.values))


def _square(graph: Graph, equation: Equation) -> Value:
    return graph.add("Mul", equation.values[0], equation.values[0])


def _rsqrt(graph: Graph, equation: Equation) -> Value:
    return graph.add("Reciprocal", graph.add("Sqrt", equation.values[0]))


def _integer_pow(graph: Graph, equation: Equation) -> Value:
    power = equation.parameters["y"]
    return _square(graph, equation) if power == 2 else graph.add("Pow", equation.values[0], _number(equation, power))


def _exp2(graph: Graph, equation: Equation) -> Value:
    return graph.add("Pow", _number(equation, 2), equation.values[0])


# XLA's log1p and expm1 are as exact near 0 as elsewhere, these lose relative precision there: the error is below 1e-7.
def _log1p(graph: Graph, equation: Equation) -> Value:
    return graph.add("Log", graph.add("Add", equation.values[0], _number(equation, 1)))


def _expm1(graph: Graph, equation: Equation) -> Value:
    return graph.add("Sub", graph.add("Exp", equation.values[0]), _number(equation, 1))


def _erfc(graph: Graph, equation: Equation) -> Value:
    return graph.add("Sub", _number(equation, 1), graph.add("Erf", equation.values[0]))


def _remainder(graph: Graph, equation: Equation) -> Value:
    return graph.add("Mod", *equation.values, fmod=1)  # the sign of the dividend


def _round(graph: Graph, equation: Equation) -> Value:
    if int(equation.parameters["rounding_method"]) != 1:
        equation.refuse(f"rounding_method={equation.parameters['rounding_method']}")
    return graph.add("Round", equation.values[0])  # halves to even numbers


def _clamp(graph: Graph, equation: Equation) -> Value:
    low, x, high = equation.values
    return graph.add("Min", graph.add("Max", x, low), high)


def _select(graph: Graph, equation: Equation) -> Value:
    if len(equation.values) != 3 or equation.inputs[0].dtype != bool:
        equation.refuse(f"{len(equation.values) - 1} cases")
    which, if_false, if_true = equation.values
    return graph.add("Where", which, if_true, if_false)


def _is_finite(graph: Graph, equation: Equation) -> Value:
    (x,) = equation.values
    return graph.add("Not", graph.add("Or", graph.add("IsNaN", x), graph.add("IsInf", x)))


def _not(graph: Graph, equation: Equation) -> Value:
    return graph.add("Not" if equation.inputs[0].dtype == bool else "BitwiseNot", equation.values[0])


def _convert(graph: Graph, equation: Equation) -> Value:
    (x,), before, after = equation.values, equation.inputs[0].dtype, equation.outputs[0].dtype
    if before == after:
        return x
    if np.issubdtype(before, np.floating) and after in (np.int8, np.uint8):  # XLA saturates, ONNX wraps around
        limits = np.iinfo(after)
        x = graph.add("Min", graph.add("Max", x, _number(equation, limits.min)), _number(equation, limits.max))
    return graph.cast(x, after)


ELEMENTWISE: dict[str, Any] = {
    "abs": _direct("Abs"),
    "add": _direct("Add"),
    "add_any": _direct("Add"),
    "and": _logical("And", "BitwiseAnd"),
    "ceil": _direct("Ceil"),
    "clamp": _clamp,
    "convert_element_type": _convert,
    "copy": _same,
    "copy_p": _same,
    "cos": _direct("Cos"),
    "div": _direct("Div"),
    "eq": _direct("Equal"),
    "erf": _direct("Erf"),
    "erfc": _erfc,
    "exp": _direct("Exp"),
    "exp2": _exp2,
    "expm1": _expm1,
    "floor": _direct("Floor"),
    "ge": _direct("GreaterOrEqual"),
    "gt": _direct("Greater"),
    "integer_pow": _integer_pow,
    "is_finite": _is_finite,
    "le": _direct("LessOrEqual"),
    "log": _direct("Log"),
    "log1p": _log1p,
    "logistic": _direct("Sigmoid"),
    "lt": _direct("Less"),
    "max": _logical("Or", "Max"),
    "min": _logical("And", "Min"),
    "mul": _direct("Mul"),
    "ne": _not_equal,
    "neg": _direct("Neg"),
    "not": _not,
    "or": _logical("Or", "BitwiseOr"),
    "pow": _direct("Pow"),
    "rem": _remainder,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "sign": _direct("Sign"),
    "sin": _direct("Sin"),
    "sqrt": _direct("Sqrt"),
    "square": _square,
    "stop_gradient": _same,
    "sub": _direct("Sub"),
    "tanh": _direct("Tanh"),
    "xor": _logical("Xor", "BitwiseXor"),
}
