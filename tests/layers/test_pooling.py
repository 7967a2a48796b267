"""Pooling by slices has the values and gradients of flax's, including which of equal maxima gets the gradient."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.layers.convolution import native_operations
from vidjax.layers.pooling import avg_pool, max_pool


def outcome(pool, x, weights, **options):
    @jax.jit
    def both(x):
        y, transposed = jax.vjp(functools.partial(pool, **options), x)
        return y, transposed(weights[tuple(slice(n) for n in y.shape)])[0]

    return both(x)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_values_and_gradients(data):
    rank = data.draw(st.integers(1, 3), label="rank")
    per_axis = functools.partial(st.lists, min_size=rank, max_size=rank)
    window = data.draw(per_axis(st.integers(1, 4)), label="window")
    strides = data.draw(st.none() | per_axis(st.integers(1, 4)), label="strides")
    before = [data.draw(st.integers(0, k - 1), label="before") for k in window]
    after = [data.draw(st.integers(0, k - 1), label="after") for k in window]
    padding = data.draw(st.sampled_from(["SAME", "VALID", list(zip(before, after))]), label="padding")
    spatial = [k + data.draw(st.integers(0, 4), label="more") for k in window]
    rng = np.random.default_rng(0)
    x = jnp.array(rng.integers(-1, 2, (2, *spatial, 3)), jnp.float32)  # many are equal
    weights = jnp.array(rng.normal(size=[n + 8 for n in x.shape]), jnp.float32)
    options = dict(strides=strides and tuple(strides), padding=padding)
    got, gradient = outcome(lambda x, **kw: max_pool(x, tuple(window), **kw), x, weights, **options)
    wanted, native = outcome(lambda x, **kw: nn.max_pool(x, tuple(window), **kw), x, weights, **options)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_allclose(gradient, native, atol=1e-5)


def test_negative_padding():
    x = jnp.arange(24.0).reshape(1, 4, 6, 1)
    options = dict(window=(2, 2), strides=(1, 1), padding=((-1, 0), (1, -2)))
    np.testing.assert_array_equal(max_pool(x, **options), nn.max_pool(x, *options.values()))


def test_narrow_types():
    x = jnp.arange(24, dtype=jnp.bfloat16).reshape(1, 2, 3, 4, 1)
    pooled = jax.jit(lambda x: max_pool(x, (2, 2, 2)))(x)
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_array_equal(pooled.astype(jnp.float32), nn.max_pool(x, (2, 2, 2)).astype(jnp.float32))


@pytest.mark.parametrize("platform, native, windows", [("cpu", False, 0), ("cpu", True, 2), ("tpu", False, 2)])
def test_windowed_reductions_are_left_to_other_platforms(platform, native, windows):
    def gradient(x):
        return jax.grad(lambda x: (max_pool(x, (1, 3, 3), (1, 2, 2), "SAME") ** 2).sum())(x)

    with native_operations(native):
        text = jax.export.export(jax.jit(gradient), platforms=[platform])(jnp.ones((2, 4, 6, 6, 5))).mlir_module()
    assert sum(text.count(f'"stablehlo.{name}"') for name in ("reduce_window", "select_and_scatter")) == windows


@pytest.mark.parametrize("window, strides", [((2, 3, 3), None), ((4, 5, 6), None), ((3, 5, 2), (1, 1, 2))])
def test_means_of_windows(window, strides):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 5, 6, 3), np.float32))
    np.testing.assert_allclose(avg_pool(x, window, strides), nn.avg_pool(x, window, strides), rtol=1e-5, atol=1e-6)


def test_many_narrow_numbers_are_summed_in_float32():
    """The windows of SlowFast's fast pathway at full size; summed in bfloat16 they would stop growing."""
    x = np.random.default_rng(0).uniform(size=(1, 32, 8, 8, 4)).astype(np.float32)
    pooled = avg_pool(jnp.asarray(x, jnp.bfloat16), (32, 7, 7))
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_allclose(pooled.astype(np.float32), nn.avg_pool(x, (32, 7, 7)), rtol=0.01)
