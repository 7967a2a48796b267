"""Explanations of clips, from a run; and those of mistakes in the report of a run."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.refusals import refused
from vidjax.data.clips import ClipSpec
from vidjax.data.inputs import RGB
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, VideoError
from vidjax.inference.explain import explain
from vidjax.inference.network import TrainedNetwork, load_network
from vidjax.models import Output
from vidjax.preprocessing.pipeline import Preprocessing


class Bright(nn.Module):
    def __call__(self, x):
        return nn.relu(x).mean(axis=-1, keepdims=True)


class Spot(nn.Module):
    """Says "bright" where a bright spot is, wherever."""

    @nn.compact
    def __call__(self, rgb):
        score = 40 * Bright(name="bright")(rgb).mean(axis=(1, 2, 3, 4))
        return Output(jnp.stack([jnp.zeros_like(score) + 1, score], axis=-1)[:, None])


@pytest.fixture
def network():
    preprocessing = Preprocessing(mean=60.0, std=60.0, crop=32)
    clip = ClipSpec(frames=3, crop=40)
    return TrainedNetwork("net", Spot(), {}, ("dark", "bright"), (RGB,), clip, ViewSpec(), preprocessing, "logits")


@pytest.fixture
def spot(tmp_path):
    """Gray images with a white square of 8 x 8 at the top left of their middle."""
    folder = tmp_path / "spot"
    folder.mkdir()
    pixels = np.full((40, 48, 3), 60, np.uint8)
    pixels[8:16, 12:20] = 255
    for number in range(3):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_the_place_that_speaks_for_the_class(network, spot, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    found = explain(network, spot)
    assert (found.label, found.predicted, found.layer.path, found.places) == ("bright", "bright", "bright", (3, 32, 32))
    assert found.frames.shape == (3, 32, 32, 3) and found.maps.shape == (3, 32, 32)
    white = (found.frames == 255).all(axis=-1)
    assert white.sum() == 3 * 64 and (found.maps[white] > 0.99).all() and (found.maps[~white] == 0).all()
    assert found.deletion.area < found.control.area - 0.2, "without the spot nothing is bright"
    other = explain(network, spot, label="dark")
    assert other.label == "dark" and other.predicted == "bright"
    assert other.probability == pytest.approx(1 - found.probability)


def test_what_cannot_be_explained(network, spot, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    with refused(ConfigError, "'brigth'", "'bright'"):
        explain(network, spot, label="brigth")
    with refused(ConfigError, "'conv'", "bright"):
        explain(network, spot, layer="conv")
    with pytest.raises(VideoError):
        explain(network, tmp_path / "missing.avi")
    with refused(ConfigError, "2x2"):
        explain(dataclasses.replace(network, module=Flat()), spot)


class Flat(nn.Module):
    """Has no feature maps."""

    def __call__(self, rgb):
        return Output(rgb.mean(axis=(1, 2, 3))[:, None, :2])


def test_a_run(trained_run, toy_folder):
    found = explain(load_network(trained_run), toy_folder / "dark" / "dark0.avi")
    assert found.frames.shape == (2, 36, 36, 3) and found.maps.shape == (2, 36, 36) and found.places[0] == 1
    assert 0 <= found.deletion.area <= 1 and len(found.deletion.shares) == len(found.control.probabilities)
