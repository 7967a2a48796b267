"""Both layouts of Keras' files have the same names here; a damaged file is an error, not a crash."""

import sys
import zipfile

import numpy as np
import pytest

from tests.pretrained.formats.damage import assert_read_or_refused
from tests.refusals import refused
from vidjax.errors import ConfigError, DataError
from vidjax.pretrained.formats import read_arrays

h5py = pytest.importorskip("h5py", reason="files of Keras need h5py (requirements-parity.txt)")

VARIABLES = {
    "Conv1": ("conv2d", {"kernel": (3, 3, 3, 4)}),
    "bn_Conv1": ("batch_normalization", dict.fromkeys(["gamma", "beta", "moving_mean", "moving_variance"], (4,))),
    "expanded_conv": ("conv2d_1", {"kernel": (1, 1, 4, 5), "bias": (5,)}),
    "plain_norm": ("batch_normalization_1", dict.fromkeys(["beta", "moving_mean", "moving_variance"], (5,))),
    "depthwise": ("depthwise_conv2d", {"kernel": (3, 3, 5, 1)}),
    "predictions": ("dense", {"kernel": (5, 2), "bias": (2,)}),
}


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {
        f"{layer}/{name}": rng.normal(size=shape).astype(np.float32)
        for layer, (_, variables) in VARIABLES.items()
        for name, shape in variables.items()
    }


def write_named(path, arrays, root="/", ending="", renamed=()):
    """As Keras 1 and 2 do; the second names its variables "layer/kernel:0", the first "layer_W_1:0"."""
    renamed = dict(renamed)
    with h5py.File(path, "w") as file:
        group = file.require_group(root)
        group.attrs["layer_names"] = np.array([layer.encode() for layer in ("input_1", *VARIABLES)])
        group.create_group("input_1").attrs["weight_names"] = np.zeros(0)
        for layer, (_, variables) in VARIABLES.items():
            names = [f"{layer}/{renamed.get(name, name)}{ending}" for name in variables]
            group.create_group(layer).attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, variable in zip(names, variables):
                group[layer][name] = arrays[f"{layer}/{variable}"]


def write_numbered(path, arrays):
    """As Keras 3 does."""
    with h5py.File(path, "w") as file:
        file.create_group("optimizer/vars")["0"] = np.array(3)
        file.create_group("vars").attrs["name"] = "functional"
        for layer, (number, variables) in VARIABLES.items():
            group = file.create_group(f"layers/{number}/vars")
            group.attrs["name"] = layer
            for place, name in enumerate(variables):
                group[str(place)] = arrays[f"{layer}/{name}"]


def check(path, want):
    found, format_, _ = read_arrays(path)
    assert format_ == "keras" and found.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(found[name], array)


def test_every_layout_has_the_same_names(tmp_path, arrays):
    write_named(tmp_path / "weights.h5", arrays, ending=":0")
    write_named(tmp_path / "model.h5", arrays, root="model_weights")
    first = {"kernel": "x_W", "bias": "x_b", "gamma": "x_gamma", "beta": "x_beta"}
    first |= {"moving_mean": "x_running_mean", "moving_variance": "x_running_std"}
    write_named(tmp_path / "first.h5", arrays, ending="_1:0", renamed=first)
    write_numbered(tmp_path / "model.weights.h5", arrays)
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
        file.writestr("config.json", "{}")
        file.write(tmp_path / "model.weights.h5", "model.weights.h5")
    for name in ("weights.h5", "model.h5", "first.h5", "model.weights.h5", "model.keras"):
        check(tmp_path / name, arrays)


def test_a_model_within_the_model(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"vgg19", b"top"])
        file.create_group("vgg19").attrs["weight_names"] = np.array([b"conv1/kernel:0", b"conv2/kernel:0"])
        file["vgg19/conv1/kernel:0"], file["vgg19/conv2/kernel:0"] = np.zeros(2), np.ones(2)
        file.create_group("top").attrs["weight_names"] = np.array([b"top/kernel:0"])
        file["top/top/kernel:0"] = np.ones(3)
    assert read_arrays(tmp_path / "weights.h5").arrays.keys() == {"conv1/kernel", "conv2/kernel", "top/kernel"}


def test_layers_without_names_keep_the_paths_of_their_variables(tmp_path):
    """As Keras 2.12 to 2.15 write them."""
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file["layers/conv2d_1/vars/0"] = np.ones(2)
    assert read_arrays(tmp_path / "model.weights.h5").arrays.keys() == {"layers/conv2d_1/vars/0"}


def test_files_of_keras_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    shown = keras.Input((8, 8, 3))
    hidden = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, name="Conv1")(shown))
    model = keras.Model(shown, keras.layers.DepthwiseConv2D(3, name="depthwise")(hidden))
    model.compile("adam", "mse")
    want = {f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.variables}
    assert len(want) == 8
    for name in ("model.weights.h5", "model.keras", "model.h5"):
        (model.save_weights if "weights" in name else model.save)(tmp_path / name)
        check(tmp_path / name, want)


def test_what_the_file_does_not_hold_itself_is_refused(tmp_path):
    def write(name, **options):
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = np.array([b"conv"])
            file.create_group("conv").attrs["weight_names"] = np.array([b"kernel"])
            if name == "link":
                file["conv"]["kernel"] = h5py.ExternalLink("other.h5", "/conv/kernel")
            elif options:
                file["conv"].create_dataset("kernel", **options)
        return path

    plain = write("other", data=np.zeros(3))
    assert read_arrays(plain).arrays.keys() == {"conv/kernel"}
    text = h5py.string_dtype()
    for path in (
        write("compressed", data=np.zeros(10_000), compression="gzip"),
        write("sparse", shape=(2**40,), dtype="f4", chunks=(1024,)),
        write("external", shape=(3,), dtype="f4", external=[("secret", 0, 12)]),
        write("text", data=["a"], dtype=text),
        write("link"),
    ):
        with refused(DataError, path, "'conv/kernel'"):
            read_arrays(path)
    with refused(DataError, write("missing")):
        read_arrays(tmp_path / "missing.h5")


def test_a_damaged_file_is_read_or_refused(tmp_path, arrays):
    write_numbered(tmp_path / "whole.h5", arrays)
    whole = (tmp_path / "whole.h5").read_bytes()
    assert_read_or_refused(whole, tmp_path / "damaged.h5", count=8)  # each is read in a process of its own


def test_without_h5py_it_is_asked_for(tmp_path, arrays, monkeypatch):
    write_numbered(tmp_path / "model.weights.h5", arrays)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with refused(ConfigError, tmp_path / "model.weights.h5", "h5py"):
        read_arrays(tmp_path / "model.weights.h5")
