import jax
import numpy as np
import pytest

from tests import random_variables
from tests.refusals import refused
from vidjax.layers.attention import AttentionPooling


def normalized(x, scale, bias):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * scale + bias


def test_it_is_softmax_over_tokens_for_each_head():
    layer, tokens = AttentionPooling(width=6, heads=2), random_variables.normal((3, 5, 4))
    variables = random_variables.of(layer, tokens)
    p = variables["params"]
    x = normalized(tokens, **p["tokens_norm"])
    keys = np.einsum("bnd,dhc->bnhc", x, p["keys"]["kernel"])
    values = np.einsum("bnd,dhc->bnhc", x, p["values"]["kernel"]) + p["values"]["bias"]
    pooled = np.zeros((3, 2, 3))
    for b in range(3):
        for h in range(2):
            scores = np.exp(keys[b, :, h] @ p["query"][h] / 3**0.5)
            pooled[b, h] = scores @ values[b, :, h] / scores.sum()
    want = normalized(pooled.reshape(3, 6), **p["norm"])
    np.testing.assert_allclose(layer.apply(variables, tokens), want, rtol=1e-4, atol=1e-5)


def test_it_has_the_parameters_of_its_docstring():
    shapes = jax.eval_shape(AttentionPooling().init, jax.random.key(0), np.zeros((1, 7, 1280), np.float32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == (2 * 1280 + 4) * 256 + 2 * 1280


@pytest.mark.parametrize("axes", [(), (2,), (2, 3)])
def test_axes_before_the_tokens_are_kept(axes):
    layer, tokens = AttentionPooling(width=4, heads=2), random_variables.normal((*axes, 5, 3))
    variables = random_variables.of(layer, tokens)
    pooled = layer.apply(variables, tokens)
    assert pooled.shape == (*axes, 4)
    first = (0,) * len(axes)
    np.testing.assert_allclose(layer.apply(variables, tokens[first]), pooled[first], rtol=1e-5, atol=1e-6)


def test_heads_divide_the_width():
    with refused(ValueError, "3", "width=8"):
        AttentionPooling(width=8, heads=3).init(jax.random.key(0), np.zeros((1, 2, 4), np.float32))
