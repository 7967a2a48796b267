"""An ONNX graph as plain records, while it is built."""

import functools
import hashlib
import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import export

from vidjax.errors import ExportError

# An array whose content is known at export, or the name of one that a node computes.
Value = np.ndarray | str
# An extent: a number, or a multiple of the free batch.
Size = Any

# What ONNX Runtime computes with.
DTYPES = ("bool", "int8", "int32", "int64", "uint8", "uint32", "float16", "float32", "float64")


def product(sizes: Iterable[Size]) -> Size:
    """Of numbers and multiples of the batch."""
    return functools.reduce(operator.mul, sizes, 1)


class Node(NamedTuple):
    """A node.

    Attributes:
      op: of ONNX's default domain.
      inputs, outputs: names of arrays.
      attributes: by name; a NumPy dtype stands for ONNX's number of it.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class Graph:
    """Nodes in the order of computation, and the constants that they read.

    Args:
      batch: the symbolic size of the batch.
      source: an input of the graph whose first axis has that size.

    Attributes:
      nodes: so far.
      constants: name -> array.
    """

    def __init__(self, batch: Size, source: str):
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self._batch, self._source = batch, source
        self._numbers = itertools.count(1)
        self._shared: dict[Any, str] = {}
        self._sizes: dict[tuple[int, int], str] = {}

    def add(self, op: str, *inputs: Value, **attributes: Any) -> str:
        """Adds a node with one output; returns the output's name."""
        return self.add_many(op, *inputs, outputs=1, **attributes)[0]

    def add_many(self, op: str, *inputs: Value, outputs: int, **attributes: Any) -> list[str]:
        """Adds a node; returns the names of its outputs."""
        names = [f"{op.lower()}_{next(self._numbers)}" for _ in range(outputs)]
        self.nodes.append(Node(op, tuple(map(self.name_of, inputs)), tuple(names), attributes))
        return names

    def name_of(self, value: Value) -> str:
        """The name of an array, which becomes a constant of the graph if it is known."""
        if isinstance(value, str):
            return value
        # Of equal constants, such as those that each step of a scan makes anew, one is stored.
        digest = hashlib.blake2b(np.ascontiguousarray(value).data).digest() if value.size else b""
        key = (value.dtype.str, value.shape, digest)
        if key not in self._shared:
            self._shared[key] = f"constant_{next(self._numbers)}"
            self.constants[self._shared[key]] = value
        return self._shared[key]

    def sizes(self, shape: Sequence[Size]) -> Value:
        """A shape as int64 [rank], computed when the graph runs if it depends on the batch."""
        parts = [self._size(size) for size in shape]
        known = [part for part in parts if isinstance(part, np.ndarray)]
        if len(known) == len(parts):
            return np.concatenate([np.empty(0, np.int64), *known])
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0)

    def reshape(self, value: Value, shape: Sequence[Size]) -> Value:
        """The same elements in another shape."""
        free = [size for size in shape if export.is_symbolic_dim(size)]
        if isinstance(value, np.ndarray) and not free:
            return value.reshape(shape)
        if len(free) == 1 and product(size for size in shape if not export.is_symbolic_dim(size)):
            shape = [-1 if export.is_symbolic_dim(size) else size for size in shape]
        return self.add("Reshape", value, self.sizes(shape))

    def transpose(self, value: Value, order: Sequence[int]) -> Value:
        """Axis k of the result is axis order[k] of the value."""
        order = [int(axis) for axis in order]
        if order == sorted(order):
            return value
        if isinstance(value, np.ndarray):
            return np.ascontiguousarray(value.transpose(order))
        return self.add("Transpose", value, perm=order)

    def cast(self, value: Value, dtype: Any) -> Value:
        """Of another type."""
        if isinstance(value, np.ndarray):
            return value.astype(dtype)
        return self.add("Cast", value, to=np.dtype(dtype))

    def kept(self, outputs: Sequence[str]) -> tuple[list[Node], dict[str, np.ndarray]]:
        """The nodes and constants that outputs depend on."""
        needed, nodes = set(outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                nodes.append(node)
        return nodes[::-1], {name: array for name, array in self.constants.items() if name in needed}

    def _size(self, size: Size) -> Value:
        """int64 [1]."""
        if not export.is_symbolic_dim(size):
            return np.array([size], np.int64)
        factor, more = divmod(size, self._batch)
        if export.is_symbolic_dim(factor) or export.is_symbolic_dim(more):
            raise ExportError(f"ONNX: an array has the size {size}, which is not a multiple of the batch")
        if (factor, more) not in self._sizes:
            name = self.add("Shape", self._source, start=0, end=1)
            if factor != 1:
                name = self.add("Mul", name, np.array([factor], np.int64))
            if more:
                name = self.add("Add", name, np.array([more], np.int64))
            self._sizes[factor, more] = name
        return self._sizes[factor, more]
