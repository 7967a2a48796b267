import jax
import jax.numpy as jnp
import numpy as np

from tests.refusals import refused
from vidjax.layers.dropout import Dropout

KEY = {"dropout": jax.random.key(3)}


def drop(x, ids, rate=0.25):
    return Dropout(rate).apply({}, x, ids, train=True, rngs=KEY)


def test_draws_belong_to_the_example_not_to_its_place():
    x = jnp.ones((4, 100))
    whole = drop(x, jnp.array([7, 8, 9, 10]))
    np.testing.assert_array_equal(whole[2:], drop(x[2:], jnp.array([9, 10])))
    assert not np.array_equal(whole[0], whole[1])


def test_keeps_the_mean_and_the_rate():
    y = drop(jnp.ones((64, 1000)), jnp.arange(64))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(float((y == 0).mean()) - 0.25) < 0.01


def test_is_the_identity_in_evaluation():
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, None, train=False), x)


def test_training_without_example_numbers_is_refused():
    with refused(ValueError, "example_ids"):
        drop(jnp.ones((2, 3)), None)
