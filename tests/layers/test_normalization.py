import jax
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.layers.normalization import Normalization, local_response_normalization


def reference(x, k, n, alpha, beta):
    """Krizhevsky et al. 2012, section 3.3, written out as there."""
    y = np.empty_like(x)
    channels = x.shape[-1]
    for i in range(channels):
        low, high = max(0, i - n // 2), min(channels - 1, i + n // 2)
        y[..., i] = x[..., i] / (k + alpha * (x[..., low : high + 1] ** 2).sum(-1)) ** beta
    return y


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_lrn_is_the_papers_formula(channels):
    x = np.random.default_rng(0).normal(scale=50, size=(2, 3, 3, channels)).astype(np.float64)
    got = local_response_normalization(x)
    np.testing.assert_allclose(got, reference(x, 2.0, 5, 1e-4, 0.5), rtol=1e-5)


def test_unknown_kind_is_refused():
    with refused(ValueError, "'layer'", "lrn, batch, none"):
        Normalization("layer").init(jax.random.key(0), np.zeros((1, 2, 2, 3)), train=False)
