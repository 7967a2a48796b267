"""Rules of the primitives that take elements by their positions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from vidjax.inference.export.jaxpr_to_onnx.equation import Equation
from vidjax.inference.export.jaxpr_to_onnx.graph import Graph, Size, Value

_END = np.iinfo(np.int64).max


def _slice(graph: Graph, equation: Equation) -> Value:
    (x,) = equation.inputs
    starts, limits = equation.parameters["start_indices"], equation.parameters["limit_indices"]
    strides = equation.parameters["strides"] or (1,) * x.ndim
    cut = [axis for axis in range(x.ndim) if (starts[axis], strides[axis]) != (0, 1) or limits[axis] != x.shape[axis]]
    if not cut:
        return equation.values[0]
    bounds = [graph.sizes([each[axis] for axis in cut]) for each in (starts, limits)]
    return graph.add("Slice", equation.values[0], *bounds, _axes(cut), _axes(strides[axis] for axis in cut))


def _reverse(graph: Graph, equation: Equation) -> Value:
    axes = _axes(equation.parameters["dimensions"])
    return graph.add(
        "Slice", equation.values[0], -np.ones_like(axes), -np.full_like(axes, _END), axes, -np.ones_like(axes)
    )


def _dynamic_slice(graph: Graph, equation: Equation) -> Value:
    starts = dict(enumerate(equation.values[1:]))
    return _window(graph, equation, starts, equation.parameters["slice_sizes"], is_clipped=True)


def _gather(graph: Graph, equation: Equation) -> Value:
    numbers, sizes = equation.parameters["dimension_numbers"], equation.parameters["slice_sizes"]
    if numbers.operand_batching_dims:
        equation.refuse(f"operand_batching_dims={numbers.operand_batching_dims}")
    mode = GatherScatterMode.from_any(equation.parameters["mode"])
    x, indices = equation.inputs
    if indices.ndim == 1:  # one window of x
        positions = equation.values[1]
        starts: dict[int, Value] = {}
        for number, axis in enumerate(numbers.start_index_map):
            place = np.array(number, np.int64)
            known = isinstance(positions, np.ndarray)
            starts[axis] = positions[number] if known else graph.add("Gather", positions, place, axis=0)
        cut = _window(graph, equation, starts, sizes, mode != GatherScatterMode.FILL_OR_DROP)
        return graph.reshape(cut, equation.outputs[0].shape)
    (axis, *others), collapsed = numbers.start_index_map, numbers.collapsed_slice_dims
    whole = all(size == extent for place, (size, extent) in enumerate(zip(sizes, x.shape)) if place != axis)
    if others or collapsed != (axis,) or not whole:
        equation.refuse(f"dimension_numbers={numbers}")
    positions = graph.reshape(equation.values[1], indices.shape[:-1])
    if isinstance(positions, np.ndarray):
        inside = np.clip(positions, 0, x.shape[axis] - 1)
        if mode == GatherScatterMode.FILL_OR_DROP and not np.array_equal(inside, positions):
            equation.refuse("positions outside of the array")
        positions = inside.astype(np.int64)
    elif mode == GatherScatterMode.FILL_OR_DROP:
        equation.refuse("computed positions and mode=fill")
    elif mode == GatherScatterMode.CLIP:
        positions = _clipped(graph, graph.cast(positions, np.int64), x.shape[axis] - 1)
    taken = graph.add("Gather", equation.values[0], positions, axis=axis)
    # ONNX puts the axes of the positions where the axis of x was, and the others keep their places.
    rank = indices.ndim - 1
    of_x = iter([*range(axis), *range(axis + rank, x.ndim - 1 + rank)])
    of_positions = iter(range(axis, axis + rank))
    order = [next(of_x if place in numbers.offset_dims else of_positions) for place in range(x.ndim - 1 + rank)]
    return graph.transpose(taken, order)


def _window(
    graph: Graph, equation: Equation, starts: Mapping[int, Value], sizes: tuple[Size, ...], is_clipped: bool
) -> Value:
    """Cuts a window of those sizes out of the first input, moved inside where its start would leave it outside."""
    x = equation.inputs[0]
    value = equation.values[0]
    for axis, start in starts.items():
        if sizes[axis] == x.shape[axis]:
            continue
        last = x.shape[axis] - sizes[axis]
        if isinstance(start, np.ndarray | np.integer):
            begin: Value = np.array([np.clip(int(start), 0, last)], np.int64)
            if not is_clipped and int(begin[0]) != int(start):
                equation.refuse("a window outside of the array")
            end: Value = begin + sizes[axis]
        elif is_clipped:
            begin = graph.reshape(_clipped(graph, graph.cast(start, np.int64), last), (1,))
            end = graph.add("Add", begin, np.array([sizes[axis]], np.int64))
        else:
            equation.refuse("a computed start and mode=fill")
        value = graph.add("Slice", value, begin, end, _axes([axis]))
    return value


def _clipped(graph: Graph, positions: Value, last: int) -> Value:
    return graph.add("Min", graph.add("Max", positions, np.array(0, np.int64)), np.array(last, np.int64))


def _axes(numbers: Any) -> np.ndarray:
    return np.array([int(number) for number in numbers], np.int64)


INDEXING: dict[str, Any] = {
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "rev": _reverse,
    "slice": _slice,
}
