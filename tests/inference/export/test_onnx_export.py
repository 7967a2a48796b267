"""Networks in ONNX Runtime."""

import json

import flax.linen as nn
import pytest

from tests import toy
from tests.inference.export import programs
from vidjax import models
from vidjax.errors import ConfigError
from vidjax.inference.export import onnx_export
from vidjax.layers.recurrent import LSTM

_NARROW = {"width_multiplier": 0.05}
# Name in the table -> model, input of one example, options. Two convolutions of a kind do not need two networks here.
FAST = {
    "slow_fusion": ("slow_fusion", (10, 36, 36, 3), {"normalization": "batch", **_NARROW}),
    "late_fusion": ("late_fusion", (2, 36, 36, 3), {"fuse_at": "scores", "fusion": "max", **_NARROW}),
    "slowfast": ("slowfast_r18_small", (8, 32, 32, 3), {"blocks": (1, 1, 1, 1)}),
}
SLOW = {
    "early_fusion": ("early_fusion", (4, 48, 48, 3), _NARROW),
    "slow_fusion_columns": ("slow_fusion", (10, 48, 48, 3), {"share_columns": False, **_NARROW}),
    "late_fusion_features": ("late_fusion", (2, 48, 48, 3), {"share_towers": False, **_NARROW}),
    "single_frame": ("single_frame", (3, 48, 48, 3), {"normalization": "batch", **_NARROW}),
    "multires": ("multires", (2, 96, 96, 3), _NARROW),
    "c3d": ("c3d", (16, 48, 48, 3), _NARROW),
    "c3d_small": ("c3d_small", (16, 48, 48, 3), {}),
    "r3d_18": ("r3d_18", (4, 48, 48, 3), {"width_multiplier": 0.1}),
    "r2plus1d_18": ("r2plus1d_18", (4, 48, 48, 3), {"width_multiplier": 0.1}),
    "i3d": ("i3d", (9, 64, 64, 3), {}),
    "slowfast_r50_4x16": ("slowfast_r50_4x16", (16, 48, 48, 3), {"width": 16}),
    "slowfast_r50_8x8": ("slowfast_r50_8x8", (8, 48, 48, 3), {"width": 16}),
    "slowfast_sum": (
        "slowfast_r18_small",
        (8, 32, 32, 3),
        {"lateral": "time_to_channel_sum", "beta_inverse": 4, "blocks": (1, 1, 1, 1)},
    ),
    "slow_r50": ("slow_r50", (4, 48, 48, 3), {"width": 8}),
    "slow_r18_small": ("slow_r18_small", (4, 48, 48, 3), {}),
    "fast_r50": ("fast_r50", (4, 48, 48, 3), {}),
    "i3d_r50": ("i3d_r50", (4, 48, 48, 3), {"width": 8}),
    "c2d_r50": ("c2d_r50", (4, 48, 48, 3), {"width": 8}),
    "slowfast_r18_small": ("slowfast_r18_small", (32, 48, 48, 3), {}),
    "capsnet_baseline": ("capsnet_baseline", (1, 28, 28, 3), {"width_multiplier": 0.1}),
    "capsnet": ("capsnet", (2, 28, 28, 3), {"width": 8, "types": 2}),
    "capsule_video": ("capsule_video", (12, 48, 48, 3), {"widths": (4, 4, 8), "types": 2}),
    "vgg19": ("vgg19", (2, 64, 64, 3), {}),
    "mobilenet_v2": ("mobilenet_v2", (2, 64, 64, 3), {}),
    "efficientnet_lite0": ("efficientnet_lite0", (2, 64, 64, 3), {}),
    "resnet50": ("resnet50", (2, 64, 64, 3), {}),
    "inception_v3": ("inception_v3", (2, 96, 96, 3), {}),
}


def network(model, shape, options):
    return programs.of_module(models.create(model, num_classes=4, **options), *shape)


@pytest.mark.parametrize("name", FAST)
def test_networks(name, tmp_path):
    assert programs.onnx_difference(network(*FAST[name]), tmp_path / "a.onnx") < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_all_networks(name, tmp_path):
    assert programs.onnx_difference(network(*SLOW[name]), tmp_path / "a.onnx") < 1e-5


def test_no_network_is_left_out():
    assert {model for model, _, _ in (FAST | SLOW).values()} == set(models.MODELS)


@pytest.mark.parametrize(
    "layer", [LSTM(6), nn.RNN(nn.OptimizedLSTMCell(6)), nn.RNN(nn.LSTMCell(6)), nn.RNN(nn.GRUCell(6))]
)
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
    with pytest.raises(ConfigError, match="pip install onnx onnxruntime"):
        onnx_export.check_packages()
