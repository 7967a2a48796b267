"""Initial values, drawn without compiling a program for each shape.

A network has dozens of shapes, and for each of them XLA compiles a random draw of its own, which runs once. But draws
of one distribution differ only in key, size and scale: with JAX's default generator, the random bits of an element are
a function of the key and the element's index. So one small program draws blocks of elements for all parameters, which
the host cuts and joins; it fills in constants, too. The values are those of the compiled function, to the bit.

All this works on the function as JAX traces it, no matter whose initializers it calls. What is neither constant nor an
elementwise function of one random draw, such as an orthogonal matrix, is compiled as it is.
"""

import collections
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var, jaxpr_as_fun
from jax.extend.random import threefry2x32_p

from vidjax.training.compiler_options import accepted_options

_BLOCK = 1024  # elements of one key that are drawn together
_BLOCKS = 256  # of a call
_LARGEST = 100  # operations of an expression; a truncated normal distribution has 15

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_EXACT = {*_FLOATS, np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.uint32)}
# NumPy and XLA round these alike.
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "sqrt": np.sqrt,
}
_ELEMENTWISE = {
    *_ARITHMETIC,
    *("clamp", "erf", "erf_inv", "exp", "log", "log1p", "max", "min", "nextafter", "stop_gradient"),
    *("and", "bitcast_convert_type", "convert_element_type", "or", "shift_right_logical"),
}
_RESHAPING = {"broadcast_in_dim", "copy", "copy_p", "reshape", "squeeze"}
_OF_KEYS = {"random_fold_in", "random_seed", "random_wrap"}


class _Number(NamedTuple):
    dtype: np.dtype
    data: bytes  # tells 0 and -0 apart

    @property
    def value(self) -> Any:
        return np.frombuffer(self.data, self.dtype)[0]


class _Bits(NamedTuple):
    width: int


class _Operation(NamedTuple):
    primitive: Primitive
    params: tuple[tuple[str, Any], ...]
    operands: tuple["_Expression", ...]


_Expression = _Number | _Bits | _Operation


class _Elements(NamedTuple):
    """An array each of whose elements, in flat order, is the same function of its random bits.

    Attributes:
      expression: of an element.
      key: of the bits, two words; None: there are none, all elements are equal.
    """

    expression: _Expression
    key: tuple[int, int] | None


class _Draw(NamedTuple):
    """Elements times a number; equal draws are equal arrays."""

    expression: _Expression
    scale: _Number
    key: tuple[int, int]
    size: int


# A variable is a scalar key, or has known elements; of None nothing is known.
_Known = jax.Array | _Elements | None
Result = TypeVar("Result")


class Initialization(Generic[Result]):
    """A function without arguments that draws initial values: a tree of arrays.

    The first call takes about a second, most of it to trace the model.
    """

    def __init__(self, function: Callable[[], Result]):
        """From a function that can be traced."""
        self._function = jax.jit(function)

    @property
    def shapes(self) -> Result:
        """Shapes and dtypes of the values."""
        return jax.eval_shape(self._function)

    def __call__(self) -> Result:
        """Returns the values, which share no memory, on the default device; not to be traced."""
        # What is left to XLA runs only once: on CPUs it compiles several times faster at optimization level 1, to the
        # same numbers.
        options = accepted_options({"xla_backend_optimization_level": 1}) if jax.default_backend() == "cpu" else None
        values = _evaluate(self._function.trace().jaxpr, options)
        return jax.tree.unflatten(jax.tree.structure(self.shapes), values)


def _evaluate(traced: ClosedJaxpr, options: dict[str, bool | int] | None) -> list[jax.Array]:
    avals: list[Any] = [variable.aval for variable in traced.jaxpr.outvars]
    results: dict[int, jax.Array] = {}
    draws = collections.defaultdict(list)
    for number, known in enumerate(_analyze(traced, [])):
        aval = avals[number]
        if not isinstance(known, _Elements) or aval.weak_type:
            continue
        if isinstance(known.expression, _Number):
            results[number] = jax.device_put(np.full(aval.shape, known.expression.value))
        elif known.key is not None and aval.dtype in _FLOATS and aval.size < 1 << 32:  # indices are one word
            draws[_Draw(*_without_scale(known.expression, aval.dtype), known.key, aval.size)].append(number)
    for draw, elements in _drawn(draws, options):
        for number in draws[draw]:
            # A copy: JAX may go on using the memory of an array that it is given.
            results[number] = jax.device_put(elements.reshape(avals[number].shape).copy())
    if others := [number for number in range(len(avals)) if number not in results]:
        function = jaxpr_as_fun(traced)
        compiled = jax.jit(lambda: [function()[number] for number in others], compiler_options=options)
        results |= zip(others, compiled(), strict=True)
    return [results[number] for number in range(len(avals))]


def _analyze(closed: ClosedJaxpr, arguments: Sequence[_Known]) -> list[_Known]:
    """What is known of the results, given what is known of the arguments."""
    jaxpr: Jaxpr = closed.jaxpr
    known: dict[Var, _Known] = dict(zip(jaxpr.invars, arguments, strict=True))
    known.update(zip(jaxpr.constvars, map(_of_constant, closed.consts), strict=True))

    def read(atom: Any) -> _Known:
        if isinstance(atom, Literal):
            return _of_constant(np.asarray(atom.val, atom.aval.dtype))  # type: ignore[attr-defined]
        return known.get(atom)

    needed = {atom for atom in jaxpr.outvars if isinstance(atom, Var)}
    equations = []
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            equations.append(equation)
            needed.update(atom for atom in equation.invars if isinstance(atom, Var))
    for equation in reversed(equations):
        inputs = [read(atom) for atom in equation.invars]
        if equation.primitive.name == "jit":
            known.update(zip(equation.outvars, _analyze(equation.params["jaxpr"], inputs), strict=True))
        elif len(equation.outvars) == 1:
            known[equation.outvars[0]] = _of_equation(equation, inputs)
    return [read(atom) for atom in jaxpr.outvars]


def _of_constant(value: Any) -> _Known:
    if np.shape(value):
        return None
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value
    return _Elements(_number(value), None)


def _number(value: Any) -> _Number:
    array = np.asarray(value)
    return _Number(array.dtype, array.tobytes())


def _of_equation(equation: JaxprEqn, inputs: Sequence[_Known]) -> _Known:
    """What is known of the result of an operation with one."""
    primitive, params = equation.primitive, equation.params
    if primitive.name in _OF_KEYS:
        return _of_key(equation, inputs)
    if primitive.name == "random_bits":
        words = _indexed_key(inputs[0])
        return None if words is None else _Elements(_Bits(params["bit_width"]), words)
    avals: list[Any] = [atom.aval for atom in (*equation.invars, *equation.outvars)]
    operands = [x for x in inputs if isinstance(x, _Elements)]
    drawn = [(x.key, aval.size) for x, aval in zip(operands, avals) if x.key is not None]
    if not operands or len(operands) < len(inputs) or len(drawn) > 1 or any(n != avals[-1].size for _, n in drawn):
        return None
    if primitive.name in _RESHAPING:
        return operands[0] if len(operands) == 1 and params.get("dimensions") is None else None
    if primitive.name not in _ELEMENTWISE:
        return None
    expression = _operation(primitive, params, [x.expression for x in operands])
    return None if expression is None else _Elements(expression, drawn[0][0] if drawn else None)


def _of_key(equation: JaxprEqn, inputs: Sequence[_Known]) -> jax.Array | None:
    values = []
    for x in inputs:
        if isinstance(x, _Elements) and isinstance(x.expression, _Number):
            values.append(x.expression.value)
        elif isinstance(x, jax.Array):
            values.append(x)
    result: Any = equation.outvars[0].aval
    if len(values) < len(inputs) or result.shape:
        return None
    return equation.primitive.bind(*values, **equation.params)


def _indexed_key(key: _Known) -> tuple[int, int] | None:
    """The words of a key whose random bits are a function of their index; None of any other."""
    if not isinstance(key, jax.Array) or jax.random.key_impl(key) != "threefry2x32":
        return None
    if not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
        return None
    first, second = np.asarray(jax.random.key_data(key)).tolist()
    return first, second


def _operation(
    primitive: Primitive, params: Mapping[str, Any], operands: Sequence[_Expression]
) -> _Number | _Operation | None:
    """An expression, computed where it is arithmetic of numbers; None if it is too large, or cannot be hashed."""
    numbers = [x.value for x in operands if isinstance(x, _Number)]
    if len(numbers) == len(operands) and {number.dtype for number in numbers} <= _EXACT:
        if primitive.name == "convert_element_type" and params["new_dtype"] in _FLOATS:
            return _number(numbers[0].astype(params["new_dtype"]))
        if primitive.name in _ARITHMETIC and numbers[0].dtype in _FLOATS:
            with np.errstate(all="ignore"):
                return _number(_ARITHMETIC[primitive.name](*numbers))
    result = _Operation(primitive, tuple(sorted(params.items())), tuple(operands))
    try:
        hash(result.params)
    except TypeError:
        return None
    return result if _operations(result) <= _LARGEST else None


def _operations(expression: _Expression) -> int:
    return 1 + sum(map(_operations, expression.operands)) if isinstance(expression, _Operation) else 0


def _without_scale(expression: _Expression, dtype: np.dtype) -> tuple[_Expression, _Number]:
    """An expression without the numbers by which it is multiplied last, and their product.

    XLA multiplies constants with each other first, too.
    """
    if isinstance(expression, _Operation) and expression.primitive.name == "mul":
        for rest, factor in (expression.operands, expression.operands[::-1]):
            if isinstance(factor, _Number):
                inner, scale = _without_scale(rest, dtype)
                return inner, _number(scale.value * factor.value)
    return expression, _number(np.ones((), dtype))


def _drawn(draws: Iterable[_Draw], options: dict[str, bool | int] | None) -> Iterator[tuple[_Draw, np.ndarray]]:
    """The elements of each, flat."""
    by_expression = collections.defaultdict(list)
    for draw in draws:
        by_expression[draw.expression].append(draw)
    for expression, alike in by_expression.items():
        program = _block_program(expression, tuple((options or {}).items()))
        counts = [math.ceil(draw.size / _BLOCK) for draw in alike]
        firsts = [_BLOCK * np.arange(count, dtype=np.uint32) for count in counts]
        keys = np.repeat(np.array([draw.key for draw in alike], np.uint32), counts, axis=0)
        rows = np.column_stack([keys, np.concatenate(firsts)])
        scales = np.repeat([draw.scale.value for draw in alike], counts)
        padding = -len(rows) % _BLOCKS
        rows, scales = np.pad(rows, ((0, padding), (0, 0))), np.pad(scales, (0, padding))
        first, ready = 0, np.empty((0, _BLOCK), scales.dtype)  # blocks that are drawn, but of no draw so far
        for draw, count in zip(alike, counts, strict=True):
            pieces = [ready]
            while sum(map(len, pieces)) < count:
                window = slice(first, first + _BLOCKS)
                pieces.append(np.asarray(program(rows[window], scales[window])))
                first += _BLOCKS
            blocks = np.concatenate(pieces)
            yield draw, blocks[:count].reshape(-1)[: draw.size]
            ready = blocks[count:]


@functools.lru_cache(maxsize=64)
def _block_program(
    expression: _Expression, options: tuple[tuple[str, bool | int], ...]
) -> Callable[[np.ndarray, np.ndarray], jax.Array]:
    """A program that draws blocks of elements.

    Its arguments are uint32 [_BLOCKS, 3], of each block the two words of its key and its first index, and the scale of
    each, [_BLOCKS]; its result is [_BLOCKS, _BLOCK].
    """

    def draw_blocks(rows: jax.Array, scales: jax.Array) -> jax.Array:
        shape = (len(rows), _BLOCK)
        key0, key1, first = (jnp.broadcast_to(column[:, None], shape) for column in rows.T)
        indices = first + jnp.arange(_BLOCK, dtype=jnp.uint32)
        words = threefry2x32_p.bind(key0, key1, jnp.zeros_like(indices), indices)
        return _value(expression, *words) * scales[:, None]

    return jax.jit(draw_blocks, compiler_options=dict(options) or None)


def _value(expression: _Expression, high: jax.Array, low: jax.Array) -> jax.Array:
    """An expression of the two words that the generator gives for each element."""
    match expression:
        case _Number():
            return jnp.asarray(expression.value)
        case _Bits(64):
            return high.astype(jnp.uint64) << 32 | low.astype(jnp.uint64)
        case _Bits(width):
            return (high ^ low).astype(f"uint{width}")
        case _Operation(primitive, params, operands):
            values = [_value(operand, high, low) for operand in operands]
            return primitive.bind(*jnp.broadcast_arrays(*values), **dict(params))
    raise AssertionError(expression)
