"""Recurrent layers: LSTM, GRU and simple recurrent cells over time, and stacks of them.

Every cell multiplies the inputs of all times at once, before the scan over time, in which only the state is multiplied.
A mask [B, T] says which times there are: elsewhere the state stays as it is, so that padded sequences end in the states
of the unpadded ones. Gradients in reverse mode only (those of the LSTM).
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Bool, Float

from vidjax.layers.dropout import Dropout
from vidjax.layers.shapes import Array, ExampleIds

_Step = Callable[[Any, Array], Any]  # (state, contribution of the inputs) -> next state


class _Product(nn.Module):
    """The parameters of a dense layer, as flax's cells name them."""

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


class _Cells(nn.Module):
    """Base of the layers of cells.

    Attributes:
      features: hidden units.
      kernel_init: of the kernels of the inputs.
      recurrent_kernel_init: of the kernels of the hidden state.
      bias_init: of the biases.
      dtype, param_dtype: of the computation and of the parameters.
    """

    features: int
    kernel_init: Any = nn.initializers.lecun_normal()
    recurrent_kernel_init: Any = nn.initializers.orthogonal()
    bias_init: Any = nn.initializers.zeros_init()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def _of_input(self, name: str, inputs: int, use_bias: bool) -> tuple[Array, Array | None]:
        product = _Product(self.features, use_bias, self.kernel_init, self.bias_init, self.param_dtype, name=name)
        return product(inputs)

    def _of_state(self, name: str, use_bias: bool) -> tuple[Array, Array | None]:
        initializers = self.recurrent_kernel_init, self.bias_init
        return _Product(self.features, use_bias, *initializers, self.param_dtype, name=name)(self.features)


class LSTM(_Cells):
    """A layer of LSTM cells over time.

    i, f, o = sigmoid(W_i* x + W_h* h + b_h*),  g = tanh(W_ig x + W_hg h + b_hg),
    c' = f * c + i * g,  h' = o * tanh(c'), from h = c = 0.

    Parameters, their initialization and values are those of `nn.RNN(nn.OptimizedLSTMCell(features))`.

    Attributes:
      features, kernel_init, recurrent_kernel_init, bias_init, dtype, param_dtype: as in `_Cells`.

    References:
      Hochreiter & Schmidhuber 1997; with forget gates, Gers et al. 2000.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time dimension"], mask: Bool[Array, "batch time"] | None = None
    ) -> Float[Array, "batch time {self.features}"]:
        """Maps float [B, T, D] to the hidden states of all times, [B, T, features]; mask: times that there are."""
        of_input = [self._of_input(f"i{gate}", x.shape[-1], False) for gate in "ifgo"]
        of_state = [self._of_state(f"h{gate}", True) for gate in "ifgo"]
        kernel = jnp.concatenate([kernel for kernel, _ in of_input], -1)
        recurrent = jnp.concatenate([kernel for kernel, _ in of_state], -1)
        bias = jnp.concatenate([bias for _, bias in of_state if bias is not None])
        x, kernel, recurrent, bias = promote_dtype(x, kernel, recurrent, bias, dtype=self.dtype)
        return jnp.swapaxes(_lstm(jnp.swapaxes(x @ kernel + bias, 0, 1), recurrent, _time_first(mask)), 0, 1)


class GRU(_Cells):
    """A layer of gated recurrent units over time.

    r, z = sigmoid(W_i* x + b_i* + W_h* h),  n = tanh(W_in x + b_in + r * (W_hn h + b_hn)),
    h' = (1 - z) * n + z * h, from h = 0.

    Parameters, their initialization and values are those of `nn.RNN(nn.GRUCell(features))`. PyTorch's GRU and Keras'
    with `reset_after=True` compute the same, but for r and z with a second bias, which is added to the first. The
    formulas of the paper multiply h by r before W_hn.

    Attributes:
      features, kernel_init, recurrent_kernel_init, bias_init, dtype, param_dtype: as in `_Cells`.

    References:
      Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", section 2.3.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time dimension"], mask: Bool[Array, "batch time"] | None = None
    ) -> Float[Array, "batch time {self.features}"]:
        """Maps float [B, T, D] to the hidden states of all times, [B, T, features]; mask: times that there are."""
        of_input = [self._of_input(f"i{gate}", x.shape[-1], True) for gate in "rzn"]
        of_state = [self._of_state(f"h{gate}", gate == "n") for gate in "rzn"]
        kernel = jnp.concatenate([kernel for kernel, _ in of_input], -1)
        bias = jnp.concatenate([bias for _, bias in of_input if bias is not None])
        recurrent = jnp.concatenate([kernel for kernel, _ in of_state], -1)
        x, kernel, bias, recurrent, hidden_bias = promote_dtype(
            x, kernel, bias, recurrent, of_state[-1][1], dtype=self.dtype
        )

        def step(h: Array, contribution: Array) -> Array:
            of_r, of_z, of_n = jnp.split(contribution, 3, -1)
            from_r, from_z, from_n = jnp.split(h @ recurrent, 3, -1)
            r, z = nn.sigmoid(of_r + from_r), nn.sigmoid(of_z + from_z)
            n = jnp.tanh(of_n + r * (from_n + hidden_bias))
            return (1 - z) * n + z * h

        contributions = jnp.swapaxes(x @ kernel + bias, 0, 1)
        return jnp.swapaxes(_scan(step, contributions, self.features, _time_first(mask)), 0, 1)


class SimpleRNN(_Cells):
    """A layer of simple recurrent units over time: h' = tanh(W_i x + b_i + W_h h), from h = 0.

    Parameters, their initialization and values are those of `nn.RNN(nn.SimpleCell(features))`.

    Attributes:
      features, kernel_init, recurrent_kernel_init, bias_init, dtype, param_dtype: as in `_Cells`.

    References:
      Elman 1990, "Finding Structure in Time".
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time dimension"], mask: Bool[Array, "batch time"] | None = None
    ) -> Float[Array, "batch time {self.features}"]:
        """Maps float [B, T, D] to the hidden states of all times, [B, T, features]; mask: times that there are."""
        (kernel, bias), (recurrent, _) = self._of_input("i", x.shape[-1], True), self._of_state("h", False)
        x, kernel, bias, recurrent = promote_dtype(x, kernel, bias, recurrent, dtype=self.dtype)

        def step(h: Array, contribution: Array) -> Array:
            return jnp.tanh(contribution + h @ recurrent)

        contributions = jnp.swapaxes(x @ kernel + bias, 0, 1)
        return jnp.swapaxes(_scan(step, contributions, self.features, _time_first(mask)), 0, 1)


CELLS: dict[str, type[LSTM] | type[GRU] | type[SimpleRNN]] = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN}


class RecurrentLayers(nn.Module):
    """Layers of recurrent cells, each over the hidden states of the one before.

    Attributes:
      cell: a key of `CELLS`.
      features: hidden units of each layer and direction.
      layers: their number.
      bidirectional: every layer has as many cells that read the sequence from its end; states are concatenated.
      dropout: probability of dropping a hidden unit between two layers.
      dtype, param_dtype: of the computation and of the parameters.

    References:
      Graves & Schmidhuber 2005, "Framewise Phoneme Classification with Bidirectional LSTM" (both directions).
    """

    cell: str
    features: int
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time dimension"],
        mask: Bool[Array, "batch time"] | None = None,
        example_ids: ExampleIds | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "batch time hidden"], Float[Array, "batch hidden"]]:
        """Maps float [B, T, D] to hidden states of the last layer [B, T, H], and those after the whole sequence [B, H].

        H = features, or twice that in both directions. mask: times that there are; None: all.
        """
        kind, options = CELLS[self.cell], {"dtype": self.dtype, "param_dtype": self.param_dtype}
        last = x[:, -1]
        for number in range(1, self.layers + 1):
            if number > 1:
                x = Dropout(self.dropout, name=f"dropout{number}")(x, example_ids, train=train)
            hidden = kind(self.features, name=f"layer{number}", **options)(x, mask)
            last = hidden[:, -1]
            if self.bidirectional:
                turned = None if mask is None else mask[:, ::-1]
                layer = kind(self.features, name=f"layer{number}_backward", **options)
                backward = layer(x[:, ::-1], turned)[:, ::-1]
                hidden, last = (jnp.concatenate(p, -1) for p in ((hidden, backward), (last, backward[:, 0])))
            x = hidden
        return x, last


def _time_first(mask: Array | None) -> Array | None:
    """[B, T] -> [T, B, 1]."""
    return None if mask is None else jnp.swapaxes(mask, 0, 1)[..., None]


def _kept(mask: Array | None, new: Array, old: Array) -> Array:
    return new if mask is None else jnp.where(mask, new, old)


def _scan(
    step: _Step,
    contributions: Float[Array, "time batch gates"],
    features: int,
    mask: Bool[Array, "time batch 1"] | None,
) -> Float[Array, "time batch features"]:
    """The hidden states [T, B, features] of cells that have no other state."""

    def masked(h: Array, now: tuple[Array, Array | None]) -> tuple[Array, Array]:
        contribution, is_there = now
        h = _kept(is_there, step(h, contribution), h)
        return h, h

    zeros = jnp.zeros((contributions.shape[1], features), contributions.dtype)
    _, hidden = jax.lax.scan(masked, zeros, (contributions, mask))
    return hidden


def _lstm_cells(
    contributions: Float[Array, "time batch gates"],
    recurrent: Float[Array, "features gates"],
    mask: Bool[Array, "time batch 1"] | None,
) -> Float[Array, "time batch features"]:
    """The hidden states [T, B, features] after contributions [T, B, 4 * features] of inputs and biases."""

    def step(carry: tuple[Array, Array], now: tuple[Array, Array | None]) -> tuple[tuple[Array, Array], Array]:
        (c, h), (contribution, is_there) = carry, now
        i, f, g, o = jnp.split(contribution + h @ recurrent, 4, -1)
        new_c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = _kept(is_there, nn.sigmoid(o) * jnp.tanh(new_c), h)
        return (_kept(is_there, new_c, c), h), h

    zeros = jnp.zeros((contributions.shape[1], recurrent.shape[0]), contributions.dtype)
    _, hidden = jax.lax.scan(step, (zeros, zeros), (contributions, mask))
    return hidden


# As `_lstm_cells`, but the gradient of the recurrent kernel is one matrix product for all times, not a sum of one for
# each.
_lstm = jax.custom_vjp(_lstm_cells)


def _forward(contributions: Array, recurrent: Array, mask: Array | None) -> tuple[Array, tuple]:
    hidden, transposed = jax.vjp(lambda contributions: _lstm_cells(contributions, recurrent, mask), contributions)
    return hidden, (hidden, transposed)


def _backward(residuals: tuple, gradient: Array) -> tuple[Array, Array, None]:
    hidden, transposed = residuals
    (of_contributions,) = transposed(gradient)
    before = jnp.pad(hidden[:-1], ((1, 0), (0, 0), (0, 0)))
    return of_contributions, jnp.einsum("tbf,tbg->fg", before, of_contributions), None


_lstm.defvjp(_forward, _backward)
