"""Walks a jaxpr: what does not depend on the inputs is computed at once, the rest becomes nodes.

Calls are inlined, and a scan is unrolled, since its length is known. A constant that is broadcast, such as the scale of
a normalization, is not written out: `Operand.short` says along which axes it has 1 in the place of the full extent, and
the rules of elementwise primitives take it as it is.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from vidjax.inference.export.jaxpr_to_onnx.contractions import CONTRACTIONS
from vidjax.inference.export.jaxpr_to_onnx.elementwise import ELEMENTWISE
from vidjax.inference.export.jaxpr_to_onnx.equation import Equation, Rule
from vidjax.inference.export.jaxpr_to_onnx.graph import DTYPES, Graph, Value
from vidjax.inference.export.jaxpr_to_onnx.indexing import INDEXING
from vidjax.inference.export.jaxpr_to_onnx.layout import LAYOUT
from vidjax.inference.export.jaxpr_to_onnx.pooling import POOLING

_WHOLE: dict[str, Rule] = {**LAYOUT, **INDEXING, **CONTRACTIONS, **POOLING}
# Primitives that call a jaxpr -> the parameter that holds it.
_CALLS = {
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "remat2": "jaxpr",
}


class Operand(NamedTuple):
    """A value of a jaxpr.

    Attributes:
      value: of the full shape, but for the axes in `short`.
      short: axes of extent 1 in the place of a larger one.
    """

    value: Value
    short: frozenset[int] = frozenset()


def convert(graph: Graph, closed: ClosedJaxpr, inputs: Sequence[Value]) -> list[str]:
    """Adds the nodes of a jaxpr to a graph; returns the names of its outputs.

    Args:
      graph: that they are added to.
      closed: a function, traced.
      inputs: of the function: known arrays, such as weights, and names of the graph's inputs.

    Raises:
      ExportError: naming a primitive, or a parameter of one, that has no rule.
    """
    outputs = _run(graph, closed.jaxpr, closed.consts, [Operand(value) for value in inputs])
    return [
        graph.name_of(_in_full(graph, operand, variable.aval))
        for operand, variable in zip(outputs, closed.jaxpr.outvars, strict=True)
    ]


def _run(
    graph: Graph, jaxpr: Jaxpr, constants: Sequence[Any], inputs: Sequence[Operand], place: str = ""
) -> list[Operand]:
    """The values of a jaxpr's outputs; `place` names the modules that call it."""
    known: dict[Any, Operand] = dict(zip(jaxpr.invars, inputs, strict=True))
    known |= {variable: Operand(np.asarray(constant)) for variable, constant in zip(jaxpr.constvars, constants)}

    def read(variable: Any) -> Operand:
        if isinstance(variable, Literal):
            aval: Any = variable.aval
            return Operand(np.asarray(variable.val, aval.dtype))
        return known[variable]

    for equation in _needed(jaxpr):
        operands = [read(variable) for variable in equation.invars]
        known.update(zip(equation.outvars, _converted(graph, equation, operands, place)))
    return [read(variable) for variable in jaxpr.outvars]


def _needed(jaxpr: Jaxpr) -> list[Any]:
    """The equations that an output depends on."""
    wanted, equations = {id(variable) for variable in jaxpr.outvars}, []
    for equation in reversed(jaxpr.eqns):
        if any(id(variable) in wanted for variable in equation.outvars):
            wanted.update(map(id, equation.invars))
            equations.append(equation)
    return equations[::-1]


def _converted(graph: Graph, equation: Any, operands: list[Operand], place: str) -> list[Operand]:
    name = equation.primitive.name
    place = "/".join(filter(None, [place, str(equation.source_info.name_stack)]))
    if name in _CALLS:
        body = equation.params[_CALLS[name]]
        jaxpr, constants = (body.jaxpr, body.consts) if isinstance(body, ClosedJaxpr) else (body, ())
        return _run(graph, jaxpr, constants, operands, place)
    if name == "broadcast_in_dim":
        return [_broadcast(graph, equation, operands[0])]
    inputs, outputs = ([variable.aval for variable in side] for side in (equation.invars, equation.outvars))
    short: frozenset[int] = frozenset()
    if name in ELEMENTWISE:
        short = _short_of_all(outputs[0].shape, inputs, operands)
    else:
        operands = [Operand(_in_full(graph, operand, aval)) for operand, aval in zip(operands, inputs, strict=True)]
    values = [operand.value for operand in operands]
    described = Equation(name, values, inputs, outputs, equation.params, place)
    for aval in (*inputs, *outputs):
        if str(aval.dtype) not in DTYPES:
            described.refuse(f"values of {aval.dtype}")
    if name == "scan":
        return [Operand(value) for value in _unrolled(graph, described)]
    if name == "iota":
        return [_iota(graph, described)]
    if name == "dim_as_value":
        size = graph.reshape(graph.sizes([equation.params["dim"]]), ())
        return [Operand(graph.cast(size, outputs[0].dtype))]
    if all(map(_is_static, outputs)) and all(isinstance(value, np.ndarray) for value in values):
        return [Operand(value, short) for value in _computed(equation, values, name in ELEMENTWISE)]
    rule = ELEMENTWISE.get(name) or _WHOLE.get(name)
    if rule is None:
        described.refuse()
    result = rule(graph, described)
    return [Operand(value, short) for value in (result if isinstance(result, list) else [result])]


def _computed(equation: Any, values: Sequence[Any], is_elementwise: bool) -> list[np.ndarray]:
    """The result of known inputs."""
    if is_elementwise:
        shape = np.broadcast_shapes(*(value.shape for value in values))
        values = [value if value.ndim == 0 else np.broadcast_to(value, shape) for value in values]
    result = equation.primitive.bind(*map(jnp.asarray, values), **equation.params)
    return [np.asarray(each) for each in (result if equation.primitive.multiple_results else [result])]


def _is_static(aval: Any) -> bool:
    return not any(map(export.is_symbolic_dim, aval.shape))


def _short_of_all(shape: Sequence[Any], inputs: Sequence[Any], operands: Sequence[Operand]) -> frozenset[int]:
    """The axes along which no operand of an elementwise primitive has its full extent."""
    short = frozenset(axis for axis, size in enumerate(shape) if _is_many(size))
    for aval, operand in zip(inputs, operands, strict=True):
        if aval.shape:  # a scalar is broadcast, and so is an axis of 1
            short &= operand.short | {axis for axis, size in enumerate(aval.shape) if not _is_many(size)}
    return short


def _is_many(size: Any) -> bool:
    return export.is_symbolic_dim(size) or size != 1


def _in_full(graph: Graph, operand: Operand, aval: Any) -> Value:
    """The value with all axes at their full extent."""
    if not operand.short:
        return operand.value
    if isinstance(operand.value, np.ndarray) and _is_static(aval):
        return np.ascontiguousarray(np.broadcast_to(operand.value, aval.shape))
    sizes = [size if axis in operand.short else 1 for axis, size in enumerate(aval.shape)]
    return graph.add("Expand", operand.value, graph.sizes(sizes))


def _broadcast(graph: Graph, equation: Any, operand: Operand) -> Operand:
    """Gives a value its new axes, of extent 1."""
    aval, shape = equation.invars[0].aval, equation.params["shape"]
    sizes, short = [1] * len(shape), {axis for axis, size in enumerate(shape) if _is_many(size)}
    for axis, target in enumerate(equation.params["broadcast_dimensions"]):
        if axis not in operand.short and _is_many(aval.shape[axis]):
            sizes[target] = aval.shape[axis]
            short.discard(target)
    return Operand(graph.reshape(operand.value, sizes), frozenset(short))


def _iota(graph: Graph, equation: Equation) -> Operand:
    parameters, (result,) = equation.parameters, equation.outputs
    axis = parameters["dimension"]
    size, sizes = result.shape[axis], [1] * len(result.shape)
    if export.is_symbolic_dim(size):
        count = graph.reshape(graph.sizes([size]), ())
        numbers: Value = graph.cast(graph.add("Range", np.array(0), count, np.array(1)), result.dtype)
    else:
        numbers = np.arange(size, dtype=result.dtype)
    sizes[axis] = size
    short = frozenset(other for other, extent in enumerate(result.shape) if other != axis and _is_many(extent))
    return Operand(graph.reshape(numbers, sizes), short)


def _unrolled(graph: Graph, equation: Equation) -> list[Value]:
    """A scan, step by step: the carry at the end, and the outputs of all steps."""
    parameters = equation.parameters
    if "num_consts" in parameters:  # until jax 0.10
        fixed, carried = parameters["num_consts"], parameters["num_carry"]
    else:
        fixed, carried, _ = map(len, parameters["ft_in"].unpack())
    if export.is_symbolic_dim(parameters["length"]):
        equation.refuse(f"length={parameters['length']}")
    body, values = parameters["jaxpr"], list(equation.values)
    constants, carry, sequences = values[:fixed], values[fixed : fixed + carried], values[fixed + carried :]
    steps: list[list[Value]] = []
    order = range(parameters["length"])
    for number in reversed(order) if parameters["reverse"] else order:
        now = [_step_of(graph, sequence, number) for sequence in sequences]
        operands = [Operand(value) for value in (*constants, *carry, *now)]
        results = [
            _in_full(graph, operand, variable.aval)
            for operand, variable in zip(
                _run(graph, body.jaxpr, body.consts, operands, equation.place), body.jaxpr.outvars, strict=True
            )
        ]
        carry = results[:carried]
        steps.append(results[carried:])
    if parameters["reverse"]:
        steps.reverse()
    return [*carry, *(_joined(graph, each) for each in zip(*steps, strict=True))]


def _step_of(graph: Graph, sequence: Value, number: int) -> Value:
    if isinstance(sequence, np.ndarray):
        return sequence[number]
    return graph.add("Gather", sequence, np.array(number, np.int64), axis=0)


def _joined(graph: Graph, steps: Sequence[Value]) -> Value:
    parts = [graph.add("Unsqueeze", step, np.array([0], np.int64)) for step in steps]
    return graph.add("Concat", *parts, axis=0)
