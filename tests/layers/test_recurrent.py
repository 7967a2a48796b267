"""Recurrent layers are flax's: same parameters, same values, same gradients; and what masks leave as it is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import random_variables
from vidjax.layers.recurrent import CELLS, GRU, LSTM, RecurrentLayers, SimpleRNN

FLAX = {LSTM: nn.OptimizedLSTMCell, GRU: nn.GRUCell, SimpleRNN: nn.SimpleCell}


def pair(kind=LSTM, batch=3, times=5, inputs=4, features=6, **options):
    """Our layer and flax's, parameters of both (random biases), and an input."""
    layer, cell = kind(features, **options), FLAX[kind](features, **options)
    x = random_variables.normal((batch, times, inputs))
    state = jnp.zeros((batch, features))
    carry = (state, state) if kind is LSTM else state
    ours, theirs = jax.jit(lambda key: (layer.init(key, x), cell.init(key, carry, x[:, 0])))(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    params = {
        name: {key: random_variables.normal(a.shape, 7 + n) if key == "bias" else a for key, a in layer.items()}
        for n, (name, layer) in enumerate(ours["params"].items())
    }
    return layer, nn.RNN(cell), params, x


@pytest.mark.parametrize("kind", FLAX)
@pytest.mark.parametrize("options", [{}, {"times": 1}, {"batch": 1, "features": 1}])
def test_values_and_gradients_are_those_of_flax(kind, options):
    layer, theirs, params, x = pair(kind, **options)
    weights = random_variables.normal((*x.shape[:2], layer.features), 2)

    @jax.jit
    def outcome(params, x):
        got, transposed = jax.vjp(lambda p, x: layer.apply({"params": p}, x), params, x)
        wanted, their_transposed = jax.vjp(lambda p, x: theirs.apply({"params": {"cell": p}}, x), params, x)
        return (got, *transposed(weights)), (wanted, *their_transposed(weights))

    got, wanted = outcome(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, wanted)


LENGTHS = (5, 2, 3)


def padded():
    """Sequences, of which 5, 2 and 3 times are there, and the mask that says so; the rest is noise."""
    return random_variables.normal((3, 5, 4)), np.arange(5) < np.array(LENGTHS)[:, None]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_masked_sequence_is_the_unpadded_one(cell, bidirectional):
    """Its states, the last one, and the gradients of all parameters."""
    layers, (x, mask) = RecurrentLayers(cell, 6, 2, bidirectional), padded()
    params = random_variables.of(layers, x)["params"]
    weights = random_variables.normal((3, 5, 12 if bidirectional else 6), 3)

    def loss(params, x, mask, weights):
        hidden, last = layers.apply({"params": params}, x, mask)
        there = 1 if mask is None else mask[..., None]
        return (hidden * there * weights).sum() + (last**2).sum(), (hidden, last)

    def outcome(*arguments):
        return jax.value_and_grad(loss, has_aux=True)(params, *arguments)

    (_, (hidden, last)), gradients = jax.jit(outcome)(x, mask, weights)
    wanted = []
    for row, length in enumerate(LENGTHS):
        alone = (array[row : row + 1, :length] for array in (x, weights))
        sequence, its_weights = alone
        (_, (states, final)), of_row = outcome(sequence, None, its_weights)
        np.testing.assert_allclose(hidden[row, :length], states[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(last[row], final[0], rtol=1e-4, atol=1e-5)
        wanted.append(of_row)
    summed = jax.tree.map(lambda *leaves: sum(leaves), *wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradients, summed)


def test_one_unit_by_hand():
    """All weights 1, all biases 0: of x = 1 the gates are sigmoid(1), c = sigmoid(1) tanh(1), and so on."""
    layer = LSTM(1)
    x = jnp.ones((1, 2, 1))
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda p: np.full(p.shape, float(p.ndim == 2), np.float32), shapes)
    h = c = 0.0
    for got in jax.jit(layer.apply)(variables, x)[0, :, 0]:
        gate = 1 / (1 + np.exp(-(1 + h)))
        c = gate * c + gate * np.tanh(1 + h)
        h = gate * np.tanh(c)
        np.testing.assert_allclose(got, h, rtol=1e-6)


def test_types():
    layer, _, params, x = pair(dtype=jnp.bfloat16)
    assert layer.apply({"params": params}, x).dtype == jnp.bfloat16
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_only_the_state_is_multiplied_time_after_time():
    layer, _, params, x = pair(LSTM, times=7)
    jaxpr = jax.make_jaxpr(jax.grad(lambda params: layer.apply({"params": params}, x).sum()))(params)
    scans = [eqn.params["jaxpr"] for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    products = [[eqn for eqn in scan.eqns if eqn.primitive.name == "dot_general"] for scan in scans]
    assert [len(inside) for inside in products] == [1, 1]  # forward and backward
