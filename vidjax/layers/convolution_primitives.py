"""JAX primitives for a convolution and its two gradients, each lowered to what is fast on the platform.

A convolution y of an input x by a kernel is bilinear. Each of the three primitives computes one of (y, x, kernel) from
the other two: the convolution, the gradient of the input and the gradient of the kernel. They are the derivatives of
one another, so derivatives of any order exist in both modes, and only what is needed is computed.

The implementation is chosen when a program is lowered, for the platform that it is lowered for: a CPU gets
`vidjax.layers.cpu`, others get XLA's native operation.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla
from jaxtyping import Float

from vidjax.layers.cpu import convolution as on_cpu
from vidjax.layers.cpu.geometry import ConvolutionGeometry, channels_last
from vidjax.layers.cpu.onednn import choice
from vidjax.layers.cpu.onednn.handler import TARGET
from vidjax.layers.cpu.onednn.plans import Request
from vidjax.layers.shapes import Array

# The operands of the primitive that computes each of the three.
_OPERANDS = {"y": ("x", "kernel"), "x": ("kernel", "y"), "kernel": ("x", "y")}
_NAMES = {
    "y": "vidjax_convolution",
    "x": "vidjax_convolution_input_gradient",
    "kernel": "vidjax_convolution_kernel_gradient",
}
_PRIMITIVES = {result: Primitive(name) for result, name in _NAMES.items()}

# For each level of `jax.vmap`, from the outermost on, whether each operand has an axis for it; those axes come first.
Levels = tuple[tuple[bool, bool], ...]


def convolve(
    geometry: ConvolutionGeometry,
    x: Float[Array, "n *spatial channels"],
    kernel: Float[Array, "*kernel group_channels features"],
) -> Float[Array, "n *out_spatial features"]:
    """The convolution of float [N, *spatial, C] by [*extent, C / groups, features], differentiable."""
    spatial = (
        (length + sum(pair) - step * (extent - 1) - 1) // stride + 1
        for length, pair, step, extent, stride in zip(
            x.shape[1:-1], geometry.padding, geometry.dilation, kernel.shape, geometry.strides
        )
    )
    shape = (x.shape[0], *spatial, kernel.shape[-1])
    return _PRIMITIVES["y"].bind(x, kernel, geometry=geometry, shape=shape, levels=())


def native(result: str, geometry: ConvolutionGeometry, shape: tuple[int, ...]) -> Callable[..., jax.Array]:
    """The function of two operands that computes a result of this shape by XLA's operation."""

    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            geometry.strides,
            geometry.padding,
            rhs_dilation=geometry.dilation,
            dimension_numbers=channels_last(x.ndim - 2),
            feature_group_count=geometry.groups,
            precision=geometry.precision,
        )

    def of_input(kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        x = jax.ShapeDtypeStruct(shape, gradient.dtype)
        return jax.linear_transpose(lambda x: forward(x, kernel), x)(gradient)[0]

    def of_kernel(x: jax.Array, gradient: jax.Array) -> jax.Array:
        kernel = jax.ShapeDtypeStruct(shape, gradient.dtype)
        return jax.linear_transpose(lambda kernel: forward(x, kernel), kernel)(gradient)[0]

    return {"y": forward, "x": of_input, "kernel": of_kernel}[result]


def _for_cpu(result: str, geometry: ConvolutionGeometry, shape: tuple[int, ...]) -> Callable[..., jax.Array]:
    return {
        "y": functools.partial(on_cpu.forward, geometry),
        "x": functools.partial(on_cpu.gradient_of_input, geometry, shape),
        "kernel": functools.partial(on_cpu.gradient_of_kernel, geometry, shape),
    }[result]


def _mapped(function: Callable[..., jax.Array], levels: Levels) -> Callable[..., jax.Array]:
    for level in reversed(levels):
        function = jax.vmap(function, in_axes=tuple(0 if is_mapped else None for is_mapped in level))
    return function


def _lower_natively(
    result: str, context: mlir.LoweringRuleContext, *operands: Any, geometry: Any, shape: Any, levels: Levels
) -> Any:
    form = _mapped(native(result, geometry, shape), levels)
    return mlir.lower_fun(form, multiple_results=False)(context, *operands)


def _lower_for_cpu(
    result: str, context: mlir.LoweringRuleContext, *operands: Any, geometry: Any, shape: Any, levels: Levels
) -> Any:
    if not levels and _is_for_one_cpu(context):
        avals = dict(zip(_OPERANDS[result], context.avals_in)) | {result: context.avals_out[0]}
        if {aval.dtype for aval in avals.values()} == {jnp.dtype("float32")}:
            chosen = choice.chosen(result, geometry, *(avals[name].shape for name in ("x", "kernel", "y")))
            if isinstance(chosen, Request):
                return jax.ffi.ffi_lowering(TARGET)(context, *operands, request=chosen.encode())
            if chosen is not None:
                form = functools.partial(chosen.compute, _compute)
                return mlir.lower_fun(form, multiple_results=False)(context, *operands)
    own_form = _mapped(_for_cpu(result, geometry, shape), levels)
    return mlir.lower_fun(own_form, multiple_results=False)(context, *operands)


def _compute(request: Request, *operands: jax.Array) -> jax.Array:
    shape = getattr(request, request.computed)
    return _PRIMITIVES[request.computed].bind(*operands, geometry=request.geometry, shape=shape, levels=())


def _is_for_one_cpu(context: mlir.LoweringRuleContext) -> bool:
    """Whether a program is for one device and for this process, where it may call what is not in it."""
    module = context.module_context
    return (
        tuple(module.platforms) == ("cpu",)
        and not module.lowering_parameters.for_export
        and getattr(module.axis_context, "num_devices", None) == 1
    )


def _abstract(*operands: Any, geometry: ConvolutionGeometry, shape: tuple[int, ...], levels: Levels) -> Any:
    sizes = (
        operands[level.index(True)].shape[sum(at[level.index(True)] for at in levels[:number])]
        for number, level in enumerate(levels)
    )
    return operands[0].update(shape=(*sizes, *shape), weak_type=False)


def _transpose(
    result: str, place: int, cotangent: Any, *operands: Any, geometry: Any, shape: Any, levels: Levels
) -> Any:
    """The cotangent of the operand at this place, which is computed from the other operand and that of the result."""
    wanted, other = _OPERANDS[result][place], 1 - place
    given = {_OPERANDS[result][other]: operands[other], result: cotangent}
    own = operands[place].aval.shape[sum(level[place] for level in levels) :]
    is_mapped = [{_OPERANDS[result][other]: level[other], result: True} for level in levels]
    first, second = _OPERANDS[wanted]
    whole = _PRIMITIVES[wanted].bind(
        given[first],
        given[second],
        geometry=geometry,
        shape=own,
        levels=tuple((level[first], level[second]) for level in is_mapped),
    )
    return whole.sum([number for number, level in enumerate(levels) if not level[place]])


def _batch(
    result: str, operands: Sequence[Any], axes: Sequence[Any], *, geometry: Any, shape: Any, levels: Levels
) -> Any:
    """A batch of inputs or of their gradients joins the clips; of kernels, it is another level."""
    mapped = tuple(axis is not None for axis in axes)
    moved = [jnp.moveaxis(a, axis, 0) if is_mapped else a for a, axis, is_mapped in zip(operands, axes, mapped)]
    bind = functools.partial(_PRIMITIVES[result].bind, geometry=geometry)
    joins = {"y": (True, False), "x": (False, True)}.get(result)
    if mapped != joins or shape[0] == 0:
        return bind(*moved, shape=shape, levels=(mapped, *levels)), 0
    place = joins.index(True)
    count, before = moved[place].shape[0], sum(level[place] for level in levels)
    together = jnp.moveaxis(moved[place], 0, before)
    joined = together.reshape(*together.shape[:before], -1, *together.shape[before + 2 :])
    moved[place] = joined
    y = bind(*moved, shape=(count * shape[0], *shape[1:]), levels=levels)
    return y.reshape(*y.shape[: len(levels)], count, shape[0], *shape[1:]), len(levels)


for _result, _primitive in _PRIMITIVES.items():
    _primitive.def_impl(functools.partial(xla.apply_primitive, _primitive))
    _primitive.def_abstract_eval(_abstract)
    ad.defbilinear(_primitive, *(functools.partial(_transpose, _result, place) for place in (0, 1)))
    batching.primitive_batchers[_primitive] = functools.partial(_batch, _result)
    for _form, _platform in ((_lower_natively, None), (_lower_for_cpu, "cpu")):
        mlir.register_lowering(_primitive, functools.partial(_form, _result), platform=_platform)
