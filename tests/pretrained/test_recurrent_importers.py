"""Recurrent layers of PyTorch and Keras compute the same here, and those that cannot are refused."""

import jax
import numpy as np
import pytest

from tests import random_variables
from tests.refusals import refused
from vidjax.errors import DataError
from vidjax.layers.recurrent import CELLS, RecurrentLayers
from vidjax.pretrained.importers.recurrent import from_keras_recurrent, from_torch_recurrent

UNITS, INPUTS, GATES = 4, 3, {"lstm": 4, "gru": 3, "rnn": 1}


@pytest.mark.parametrize("options", [{"bidirectional": True, "num_layers": 2}, {"bias": False}])
@pytest.mark.parametrize("cell", CELLS)
def test_states_are_those_of_pytorch(cell, options):
    torch = pytest.importorskip("torch", reason="needs requirements-parity.txt")
    x = random_variables.normal((2, 5, INPUTS))
    theirs = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    theirs = theirs(INPUTS, UNITS, batch_first=True, **options)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.from_numpy(random_variables.normal(parameter.shape, parameter.numel())))
        states = theirs(torch.from_numpy(x))[0].numpy()
    weights = {f"rnn.{name}": array.numpy() for name, array in theirs.state_dict().items()}
    params = from_torch_recurrent({**weights, "classes.bias": np.zeros(2)}, cell, "rnn.")
    both = options.get("bidirectional", False)
    layers = RecurrentLayers(cell, UNITS, options.get("num_layers", 1), both)
    hidden, last = jax.jit(layers.apply)({"params": params}, x)
    np.testing.assert_allclose(hidden, states, rtol=1e-5, atol=1e-5)
    wanted = np.concatenate([states[:, -1, :UNITS], states[:, 0, UNITS:]], -1)
    np.testing.assert_allclose(last, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_states_are_those_of_keras(cell, bias, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="needs requirements-parity.txt")
    x = random_variables.normal((2, 5, INPUTS))
    theirs = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}[cell]
    theirs = theirs(UNITS, return_sequences=True, use_bias=bias)
    theirs.build(x.shape)
    theirs.set_weights([random_variables.normal(a.shape, a.size) for a in theirs.get_weights()])
    params = {"layer1": from_keras_recurrent(theirs.get_weights(), cell)}
    hidden, _ = jax.jit(RecurrentLayers(cell, UNITS).apply)({"params": params}, x)
    np.testing.assert_allclose(hidden, np.asarray(theirs(x)), rtol=1e-5, atol=1e-5)


def torch_weights(cell):
    rows = GATES[cell] * UNITS
    shapes = {"weight_ih": (rows, INPUTS), "weight_hh": (rows, UNITS), "bias_ih": (rows,), "bias_hh": (rows,)}
    return {f"{name}_l0": random_variables.normal(shape) for name, shape in shapes.items()}


def test_what_is_missing_left_over_or_of_another_cell_is_named():
    weights = torch_weights("lstm")
    with refused(DataError, "weight_hr_l0"):
        from_torch_recurrent({**weights, "weight_hr_l0": np.zeros((2, UNITS))}, "lstm")
    with refused(DataError, "rnn.weight_ih_l0"):
        from_torch_recurrent(weights, "lstm", "rnn.")
    with refused(DataError, "weight_ih_l0", "(16, 3)", "12"):
        from_torch_recurrent(weights, "gru")


def test_a_gru_that_resets_before_its_kernel_is_refused():
    kernels = [random_variables.normal((n, 3 * UNITS)) for n in (INPUTS, UNITS)]
    with refused(DataError, "reset_after=False"):
        from_keras_recurrent([*kernels, np.zeros(3 * UNITS)], "gru")
    with refused(DataError, "(3, 12)", "4"):
        from_keras_recurrent([*kernels, np.zeros(3 * UNITS)], "lstm")
    with refused(DataError, "1"):
        from_keras_recurrent(kernels[:1], "gru")
