"""Recurrent layers."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Float

from vidjax.layers.shapes import Array

_GATES = "ifgo"


class _Product(nn.Module):
    """The parameters of a dense layer, as flax's `OptimizedLSTMCell` names them."""

    features: int
    use_bias: bool
    kernel_init: Any
    bias_init: Any
    param_dtype: Any

    @nn.compact
    def __call__(
        self, inputs: int
    ) -> tuple[Float[Array, "{inputs} {self.features}"], Float[Array, " {self.features}"] | None]:
        kernel = self.param("kernel", self.kernel_init, (inputs, self.features), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        return kernel, bias


class LSTM(nn.Module):
    """A layer of LSTM cells over time.

    i, f, o = sigmoid(W_i* x + W_h* h + b_h*),  g = tanh(W_ig x + W_hg h + b_hg),
    c' = f * c + i * g,  h' = o * tanh(c'), from h = c = 0.

    Parameters, their initialization and values are those of `nn.RNN(nn.OptimizedLSTMCell(features))`, but the
    contribution of the inputs is a single matrix product over all times, before the scan. Gradients in reverse mode
    only.

    Attributes:
      features: hidden units.
      kernel_init: of the kernels of the inputs.
      recurrent_kernel_init: of the kernels of the hidden state.
      bias_init: of the biases.
      dtype, param_dtype: of the computation and of the parameters.

    References:
      Hochreiter & Schmidhuber 1997; with forget gates, Gers et al. 2000.
    """

    features: int
    kernel_init: Any = nn.initializers.lecun_normal()
    recurrent_kernel_init: Any = nn.initializers.orthogonal()
    bias_init: Any = nn.initializers.zeros_init()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time dimension"]) -> Float[Array, "batch time {self.features}"]:
        """Maps float [B, T, D] to the hidden states of all times, [B, T, features]."""
        of_input = [self._product(f"i{gate}", False, self.kernel_init)(x.shape[-1]) for gate in _GATES]
        of_state = [self._product(f"h{gate}", True, self.recurrent_kernel_init)(self.features) for gate in _GATES]
        kernel = jnp.concatenate([kernel for kernel, _ in of_input], -1)
        recurrent = jnp.concatenate([kernel for kernel, _ in of_state], -1)
        bias = jnp.concatenate([bias for _, bias in of_state if bias is not None])
        x, kernel, recurrent, bias = promote_dtype(x, kernel, recurrent, bias, dtype=self.dtype)
        return jnp.swapaxes(_hidden_states(jnp.swapaxes(x @ kernel + bias, 0, 1), recurrent), 0, 1)

    def _product(self, name: str, use_bias: bool, kernel_init: Any) -> _Product:
        return _Product(self.features, use_bias, kernel_init, self.bias_init, self.param_dtype, name=name)


def _cells(
    contributions: Float[Array, "time batch gates"], recurrent: Float[Array, "features gates"]
) -> Float[Array, "time batch features"]:
    """The hidden states [T, B, features] after contributions [T, B, 4 * features] of inputs and biases."""

    def step(carry: tuple[jax.Array, jax.Array], contribution: jax.Array) -> tuple[tuple, jax.Array]:
        c, h = carry
        i, f, g, o = jnp.split(contribution + h @ recurrent, 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h

    zeros = jnp.zeros((contributions.shape[1], recurrent.shape[0]), contributions.dtype)
    _, hidden = jax.lax.scan(step, (zeros, zeros), contributions)
    return hidden


# As `_cells`, but the gradient of the recurrent kernel is one matrix product for all times, not a sum of one for each.
_hidden_states = jax.custom_vjp(_cells)


def _forward(contributions: jax.Array, recurrent: jax.Array) -> tuple[jax.Array, tuple]:
    hidden, transposed = jax.vjp(lambda contributions: _cells(contributions, recurrent), contributions)
    return hidden, (hidden, transposed)


def _backward(residuals: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    hidden, transposed = residuals
    (of_contributions,) = transposed(gradient)
    before = jnp.pad(hidden[:-1], ((1, 0), (0, 0), (0, 0)))
    return of_contributions, jnp.einsum("tbf,tbg->fg", before, of_contributions)


_hidden_states.defvjp(_forward, _backward)
