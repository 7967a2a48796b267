"""Weights of the recurrent layers of PyTorch and Keras, as parameters of `layers.recurrent.RecurrentLayers`.

Cells that compute something else are refused: PyTorch's LSTM with projections (`proj_size`), and Keras' GRU with
`reset_after=False`. What weights do not say is not noticed: another activation than tanh and sigmoid.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vidjax.errors import DataError

_TORCH_GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": ("",)}
_KERAS_GATES = {"lstm": "ifgo", "gru": "zrn", "rnn": ("",)}  # Keras calls g and n c and h
_DIRECTIONS = {"": "", "_backward": "_reverse"}  # ours -> PyTorch's

Layer = dict[str, dict[str, np.ndarray]]  # products of the cell: name -> kernel and bias


def from_torch_recurrent(weights: Mapping[str, np.ndarray], cell: str, prefix: str = "") -> dict[str, Layer]:
    """The parameters of `RecurrentLayers` from `torch.nn.LSTM`, `GRU` or `RNN` (with tanh).

    Args:
      weights: name -> array, of the module or of a network that has it.
      cell: "lstm", "gru" or "rnn".
      prefix: of the names, e.g. "rnn." in a network.

    Raises:
      DataError: naming an array that is missing, of another shape, or not of such layers.
    """
    own = {name.removeprefix(prefix): np.asarray(array) for name, array in weights.items() if name.startswith(prefix)}
    if "weight_hr_l0" in own:
        raise DataError(f"{prefix}weight_hr_l0: an LSTM with projections (proj_size) has no equal here")
    gates, left = _TORCH_GATES[cell], set(own)
    found: dict[str, Layer] = {}
    number = 0
    while number == 0 or f"weight_ih_l{number}" in own:
        for ours, theirs in _DIRECTIONS.items():
            if ours and f"weight_ih_l{number}{theirs}" not in own:
                continue
            names = {part: f"{part}_l{number}{theirs}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            arrays = {}
            for part, name in names.items():
                if name in own:
                    left.discard(name)
                    arrays[part] = own[name]
                elif part.startswith("weight"):
                    raise DataError(f"the weights have no {prefix}{name}")
            rows = arrays["weight_hh"].shape[-1] * len(gates)
            for part, array in arrays.items():
                if array.shape[0] != rows:
                    raise DataError(
                        f"{prefix}{names[part]} has shape {array.shape}, and {rows} rows are those of a {cell} of"
                        f" {rows // len(gates)} units"
                    )
            zeros = np.zeros(rows, np.float32)
            of_input, of_state = arrays["weight_ih"].T, arrays["weight_hh"].T
            biases = arrays.get("bias_ih", zeros), arrays.get("bias_hh", zeros)
            found[f"layer{number + 1}{ours}"] = _layer(cell, gates, of_input, of_state, *biases)
        number += 1
    if left:
        raise DataError(f"{prefix}{min(left)} is not of a {cell} of PyTorch")
    return found


def from_keras_recurrent(arrays: Sequence[np.ndarray], cell: str) -> Layer:
    """The parameters of one layer of `RecurrentLayers`, in one direction, from a Keras layer.

    Args:
      arrays: `layer.get_weights()` of a keras.layers.LSTM, GRU or SimpleRNN: kernel [D, G F], recurrent kernel [F, G F]
        and bias; a GRU's is [2, 3 F] with `reset_after=True`, the default.
      cell: "lstm", "gru" or "rnn".

    Raises:
      DataError: for arrays of other shapes, which name the layer's options.
    """
    if len(arrays) not in (2, 3):
        raise DataError(f"{len(arrays)} arrays: give the kernel, the recurrent kernel and the bias of one layer")
    gates = _KERAS_GATES[cell]
    of_input, of_state, *rest = (np.asarray(array) for array in arrays)
    columns = of_state.shape[0] * len(gates)
    bias = rest[0] if rest else np.zeros((2, columns) if cell == "gru" else columns, np.float32)
    if cell == "gru" and bias.shape == (columns,):
        raise DataError("a GRU with reset_after=False multiplies the state by r before its kernel: no cell here does")
    wanted = (2, columns) if cell == "gru" else (columns,)
    if of_input.shape[1:] != (columns,) or of_state.shape[1:] != (columns,) or bias.shape != wanted:
        shapes = ", ".join(str(array.shape) for array in (of_input, of_state, bias))
        raise DataError(f"arrays of shapes {shapes} are not of a {cell} of {of_state.shape[0]} units")
    biases = bias if cell == "gru" else (bias, np.zeros_like(bias))
    return _layer(cell, gates, of_input, of_state, *biases)


def _layer(
    cell: str,
    gates: Sequence[str],
    of_input: np.ndarray,
    of_state: np.ndarray,
    input_bias: np.ndarray,
    state_bias: np.ndarray,
) -> Layer:
    """One layer and direction; where a gate has one bias here, it is the sum of both.

    Args:
      cell: "lstm", "gru" or "rnn".
      gates: in the order of the arrays.
      of_input, of_state: kernels [D, G F] and [F, G F].
      input_bias, state_bias: [G F].
    """
    split: Any = (np.split(array, len(gates), -1) for array in (of_input, of_state, input_bias, state_bias))
    layer: Layer = {}
    for gate, kernel, recurrent, one, other in zip(gates, *split, strict=True):
        given = {f"i{gate}": {"kernel": kernel}, f"h{gate}": {"kernel": recurrent}}
        if (cell, gate) == ("gru", "n"):
            given["in"]["bias"], given["hn"]["bias"] = one, other
        else:
            given[f"{'h' if cell == 'lstm' else 'i'}{gate}"]["bias"] = one + other
        for name, arrays in given.items():
            layer[name] = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    return layer
