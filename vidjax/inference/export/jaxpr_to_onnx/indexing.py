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
    """One window of x, or elements of one axis by their positions within a window of the other axes."""
    numbers, sizes = equation.parameters["dimension_numbers"], equation.parameters["slice_sizes"]
    if numbers.operand_batching_dims:
        equation.refuse(f"operand_batching_dims={numbers.operand_batching_dims}")
    is_clipped = GatherScatterMode.from_any(equation.parameters["mode"]) != GatherScatterMode.FILL_OR_DROP
    x, indices = equation.inputs
    rank = indices.ndim - 1
    positions = {
        axis: _column(graph, equation.values[1], number, rank) for number, axis in enumerate(numbers.start_index_map)
    }
    moving = [axis for axis, column in positions.items() if rank and not _is_one(column, x.shape[axis], sizes[axis])]
    if rank and not moving:  # positions that all are the same
        moving = [axis for axis in numbers.collapsed_slice_dims if axis in positions][:1]
    if len(moving) != (rank > 0) or any(axis not in numbers.collapsed_slice_dims for axis in moving):
        equation.refuse(f"dimension_numbers={numbers}")
    starts = {axis: _first(column) for axis, column in positions.items() if axis not in moving}
    value = _window(graph, equation, starts, sizes, is_clipped)
    if not moving:
        return graph.reshape(value, equation.outputs[0].shape)
    (axis,) = moving
    inside = _inside(graph, equation, positions[axis], x.shape[axis] - 1, is_clipped)
    value = graph.add("Gather", value, inside, axis=axis)
    # ONNX puts the axes of the positions where the axis of x was; those of x of which one element is left go.
    left = [other for other in range(x.ndim) if other not in numbers.collapsed_slice_dims]
    gone = [other if other < axis else other + rank - 1 for other in numbers.collapsed_slice_dims if other != axis]
    if gone:
        value = graph.add("Squeeze", value, _axes(gone))
    before = sum(other < axis for other in left)
    of_x = iter([*range(before), *range(before + rank, len(left) + rank)])
    of_positions = iter(range(before, before + rank))
    order = [next(of_x if place in numbers.offset_dims else of_positions) for place in range(len(left) + rank)]
    return graph.transpose(value, order)


def _column(graph: Graph, positions: Value, number: int, rank: int) -> Value:
    """Of positions [..., m] those along one of the m axes."""
    if isinstance(positions, np.ndarray):
        return positions[..., number]
    return graph.add("Gather", positions, np.array(number, np.int64), axis=rank)


def _is_one(column: Value, extent: Size, size: Size) -> bool:
    """Whether all positions along an axis are known to be the same."""
    return extent == size or (isinstance(column, np.ndarray) and column.size > 0 and np.ptp(column) == 0)


def _first(column: Value) -> Value:
    return column.ravel()[:1].reshape(()) if isinstance(column, np.ndarray) else column


def _inside(graph: Graph, equation: Equation, positions: Value, last: Size, is_clipped: bool) -> Value:
    """Positions within 0..last."""
    if isinstance(positions, np.ndarray):
        if positions.min() >= 0 and positions.max() <= last:  # which may be batch - 1
            return positions.astype(np.int64)
        if not is_clipped:
            equation.refuse("positions outside of the array")
        return np.clip(positions, 0, last).astype(np.int64)
    if not is_clipped:
        equation.refuse("computed positions and mode=fill")
    return _clipped(graph, graph.cast(positions, np.int64), last)


def _window(
    graph: Graph, equation: Equation, starts: Mapping[int, Value], sizes: tuple[Size, ...], is_clipped: bool
) -> Value:
    """Cuts a window of those sizes out of the first input, moved inside where its start would leave it outside."""
    x = equation.inputs[0]
    value = equation.values[0]
    for axis, start in starts.items():
        if sizes[axis] == x.shape[axis]:
            continue
        begin = graph.reshape(_inside(graph, equation, start, x.shape[axis] - sizes[axis], is_clipped), (1,))
        length = graph.sizes([sizes[axis]])
        known = isinstance(begin, np.ndarray)
        end = np.add(begin, length) if known else graph.add("Add", begin, length)
        value = graph.add("Slice", value, begin, end, _axes([axis]))
    return value


def _clipped(graph: Graph, positions: Value, last: Size) -> Value:
    return graph.add("Min", graph.add("Max", positions, np.array(0, np.int64)), graph.reshape(graph.sizes([last]), ()))


def _axes(numbers: Any) -> np.ndarray:
    return np.array([int(number) for number in numbers], np.int64)


INDEXING: dict[str, Any] = {
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "rev": _reverse,
    "slice": _slice,
}
