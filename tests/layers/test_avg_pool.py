import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.layers.pooling import avg_pool


@pytest.mark.parametrize("window, strides", [((2, 3, 3), None), ((4, 5, 6), None), ((3, 5, 2), (1, 1, 2))])
def test_means_of_windows(window, strides):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 5, 6, 3), np.float32))
    np.testing.assert_allclose(avg_pool(x, window, strides), nn.avg_pool(x, window, strides), rtol=1e-5, atol=1e-6)


def test_many_narrow_numbers_are_summed_in_float32():
    """The windows of SlowFast's fast pathway at full size; in bfloat16 their sum comes to a standstill."""
    x = np.random.default_rng(0).uniform(size=(1, 32, 8, 8, 4)).astype(np.float32)
    pooled = avg_pool(jnp.asarray(x, jnp.bfloat16), (32, 7, 7))
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_allclose(pooled.astype(np.float32), nn.avg_pool(x, (32, 7, 7)), rtol=0.01)
