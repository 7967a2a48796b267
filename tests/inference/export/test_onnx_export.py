"""Networks in ONNX Runtime."""

import json

import flax.linen as nn
import pytest

from tests import toy
from tests.inference.export import networks, programs
from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.inference.export import onnx_export
from vidjax.layers.recurrent import LSTM


@pytest.mark.parametrize("name", networks.FAST)
def test_networks(name, tmp_path):
    assert programs.onnx_difference(networks.program(name), tmp_path / "a.onnx") < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.SLOW)
def test_all_networks(name, tmp_path):
    assert programs.onnx_difference(networks.program(name), tmp_path / "a.onnx") < 1e-5


LAYERS = [LSTM(6), nn.RNN(nn.OptimizedLSTMCell(6)), nn.RNN(nn.LSTMCell(6)), nn.RNN(nn.GRUCell(6))]


@pytest.mark.parametrize("layer", LAYERS, ids=["lstm", "flax_optimized_lstm", "flax_lstm", "flax_gru"])
def test_recurrent_layers(layer, tmp_path):
    assert programs.onnx_difference(programs.of_module(layer, 5, 4), tmp_path / "a.onnx") < 2e-6


def test_weights_of_unrolled_steps_are_stored_once(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs requirements-export.txt")
    program = programs.of_module(nn.RNN(nn.OptimizedLSTMCell(64)), 20, 64)
    content = onnx_export.serialize(program, programs.CARD)
    (weights,) = (2 * 4 * 64 * 64 * 4,)
    assert (
        weights < sum(len(each.raw_data) for each in onnx.load_from_string(content).graph.initializer) < 1.1 * weights
    )


def test_what_a_file_says_of_itself():
    onnx = pytest.importorskip("onnx", reason="needs requirements-export.txt")
    model = onnx.load_from_string(onnx_export.serialize(programs.of_module(toy.Net(3), 4, 16, 16, 3), programs.CARD))
    assert [(each.domain, each.version) for each in model.opset_import] == [("", onnx_export.OPSET)]
    (given,), (returned,) = model.graph.input, model.graph.output

    def shape(value):
        return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]

    assert (given.name, shape(given)) == ("rgb", ["batch", 4, 16, 16, 3])
    assert (returned.name, shape(returned)) == ("output", ["batch", 1, 3])
    (stored,) = (each.value for each in model.metadata_props if each.key == "vidjax")
    assert json.loads(stored) == programs.CARD.to_json()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with refused(ConfigError, "onnx", "onnxruntime"):
        onnx_export.check_packages()
