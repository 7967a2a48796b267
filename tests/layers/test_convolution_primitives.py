"""The primitives of convolutions under every transformation, compared with XLA's operation under the same one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests import random_variables
from vidjax.layers.convolution import convolution, native_operations

STRIDES, PADDING = (1, 2, 2), ((1, 1), (1, 2), (0, 1))
X, KERNEL = (2, 4, 6, 5, 4), (3, 3, 2, 4, 6)
OF = (0, 1)


def convolve(x, kernel):
    return convolution(x, kernel, STRIDES, PADDING)


def loss(x, kernel):
    return (convolve(x, kernel) ** 3).sum()


def normal(shape, seed):
    return jnp.asarray(random_variables.normal(shape, seed))


def compare(function, *arrays):
    """Asserts that a function has the same values with and without `native_operations`."""
    jax.clear_caches()
    got = jax.jit(lambda *a: function(*a))(*arrays)
    with native_operations():
        wanted = jax.jit(lambda *a: function(*a))(*arrays)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(abs(b).max()))


ARRAYS = (normal(X, 0), normal(KERNEL, 1))


def test_forward_mode():
    tangents = (normal(X, 2), normal(KERNEL, 3))
    compare(lambda *a: jax.jvp(convolve, a[:2], a[2:]), *ARRAYS, *tangents)
    compare(
        lambda *a: jax.jvp(jax.grad(loss, OF), a[:2], a[2:]), *ARRAYS, *tangents
    )  # of each gradient in each operand


def test_third_derivatives():
    def penalty(order, x, kernel):
        if order == 0:
            return loss(x, kernel)
        return sum((g**2).sum() for g in jax.grad(functools.partial(penalty, order - 1), OF)(x, kernel))

    compare(jax.grad(functools.partial(penalty, 2), OF), *ARRAYS)


def test_only_the_gradients_that_are_needed_are_computed():
    def names(of):
        text = str(jax.make_jaxpr(jax.grad(loss, of))(*ARRAYS))
        return [name for name in ("input_gradient", "kernel_gradient") if f"vidjax_convolution_{name}" in text]

    assert names(0) == ["input_gradient"] and names(1) == ["kernel_gradient"]


def test_checkpoint():
    compare(jax.grad(jax.checkpoint(loss), OF), *ARRAYS)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, 1)])
def test_vmap(axes):
    """Inside and outside of a gradient."""
    shapes = [list(X), list(KERNEL)]
    for shape, axis in zip(shapes, axes):
        if axis is not None:
            shape.insert(axis, 3)
    arrays = [normal(shape, seed) for seed, shape in enumerate(shapes)]
    mapped = functools.partial(jax.vmap, in_axes=axes)
    compare(lambda *a: (mapped(convolve)(*a), mapped(jax.grad(loss, OF))(*a)), *arrays)
    compare(jax.grad(lambda *a: mapped(loss)(*a).sum(), OF), *arrays)


def test_nested_vmap():
    """Inputs in both, kernels in one of them: clips join within a level, gradients are summed over the others."""
    arrays = normal((3, 2, *X), 0), normal((3, *KERNEL), 1)
    inner = jax.vmap(loss, (0, None))
    compare(lambda *a: jax.vmap(jax.grad(lambda *b: inner(*b).sum(), OF))(*a), *arrays)
    compare(jax.grad(lambda *a: jax.vmap(inner)(*a).sum(), OF), *arrays)
    swapped = jax.vmap(jax.vmap(loss, (None, 0)), (0, None))
    compare(jax.grad(lambda *a: swapped(*a).sum(), OF), arrays[0][:, 0], arrays[1])


def test_vmap_of_nothing():
    assert jax.vmap(convolve, (0, None))(jnp.zeros((0, *X)), ARRAYS[1]).shape == (0, 2, 4, 4, 3, 6)


def test_shard_map():
    """The kernel is the same everywhere, and its gradient the sum over the devices."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    specs = (PartitionSpec("data"), PartitionSpec())
    sharded = functools.partial(jax.shard_map, mesh=mesh, in_specs=specs, out_specs=specs)
    compare(sharded(jax.grad(loss, OF)), *ARRAYS)
    compare(sharded(jax.grad(loss, OF), check_vma=False), *ARRAYS)


def test_explicit_sharding():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
    x, kernel = (
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in zip(ARRAYS, (PartitionSpec("data"), PartitionSpec()))
    )
    with jax.set_mesh(mesh):
        compare(convolve, x, kernel)
        assert jax.jit(convolve)(x, kernel).sharding.spec[0] == "data"


@pytest.mark.parametrize("count", [1, 2])
def test_automatic_sharding(count):
    mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])
    x, kernel = (
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in zip(ARRAYS, (PartitionSpec("data"), PartitionSpec()))
    )
    compare(jax.grad(loss, OF), x, kernel)


def test_export_for_several_platforms():
    """One program has the form for each of them, and no code from outside of XLA."""
    exported = jax.export.export(jax.jit(jax.grad(loss, OF)), platforms=["cpu", "cuda", "tpu"])(*ARRAYS)
    text = exported.mlir_module()
    assert "stablehlo.case" in text and "custom_call" not in text
    got, wanted = exported.call(*ARRAYS), jax.grad(loss, OF)(*ARRAYS)
    for a, b in zip(got, wanted):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(abs(b).max()))
