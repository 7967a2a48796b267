"""`python -m vidjax features`: what is in the file, and that nothing is computed twice."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from tests.refusals import refused
from vidjax import cli
from vidjax.errors import ConfigError
from vidjax.inference import extraction
from vidjax.inference.feature_store import FeatureStore
from vidjax.inference.network import load_network
from vidjax.inference.videos import listed_videos
from vidjax.models import Output


@pytest.fixture
def videos(toy_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    return listed_videos([str(toy_folder / "bright")])


def test_features_are_what_the_classes_are_scored_by(trained_run, videos):
    network = load_network(trained_run)
    found = extraction.extract(network, videos, clips=3)
    assert found.videos == tuple(videos) and not found.failed and found.features.shape[:3] == (len(videos), 3, 1)
    classes = network.variables["params"]["classifier"]["fc8"]
    logits = found.features @ classes["kernel"] + classes["bias"]
    (prediction,) = _classified(trained_run, videos[:1], clips=3)
    probabilities = np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities.mean(axis=(0, 1)), prediction.probabilities, atol=1e-5)
    assert (np.diff(found.times, axis=2) > 0).all() and (np.diff(found.times[:, :, 0], axis=1) >= 0).all()


def _classified(run, paths, clips):
    from vidjax.inference.classifier import load

    return load(run, {"evaluate.clips": str(clips)})(paths)


def test_the_second_time_they_are_read(trained_run, videos, monkeypatch):
    network = load_network(trained_run)
    first = extraction.extract(network, videos)
    monkeypatch.setattr(FeatureStore, "write", None)
    np.testing.assert_array_equal(extraction.extract(network, videos).features, first.features)


class _Towers(nn.Module):
    """Scores each frame by the same layer, in calls of its own; then what follows, if anything."""

    is_scored: bool = True

    @nn.compact
    def __call__(self, rgb):
        scorer = nn.Dense(2, name="scorer")
        scores = jnp.stack([scorer(rgb[:, frame].mean(axis=(1, 2))) for frame in range(rgb.shape[1])], 1)
        return Output(scores if self.is_scored else nn.Dense(3, name="more")(scores)[..., :2])


def _of_towers(trained_run, **options):
    network, module = load_network(trained_run), _Towers(**options)
    inputs = {name: jnp.zeros(spec.shape) for name, spec in network.specs().items()}
    return dataclasses.replace(network, module=module, variables=module.init(jax.random.key(0), **inputs))


def test_features_of_all_towers(trained_run, videos):
    """A place for each; the mean of what they see is that of the clip."""
    found = extraction.extract(_of_towers(trained_run), videos[:1], clips=1)
    assert found.features.shape == (1, 1, 2, 3)
    assert (found.features[0, 0, 0] != found.features[0, 0, 1]).any()


def test_a_layer_that_has_as_many_outputs_as_classes_by_chance_gives_no_features(trained_run, videos):
    with refused(ConfigError, str(trained_run)):
        extraction.extract(_of_towers(trained_run, is_scored=False), videos[:1], clips=1)


@pytest.mark.parametrize("ending", extraction.FORMATS)
def test_the_verb_writes_a_file_and_names_what_cannot_be_read(ending, trained_run, videos, tmp_path, capsys):
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"no video")
    out = tmp_path / f"features{ending}"
    assert cli.main(["features", *videos[:2], str(broken), f"--workdir={trained_run}", f"--out={out}"]) == 1
    printed = capsys.readouterr()
    assert str(broken) in printed.err and " 2 videos, 2 clips x 1 place x " in printed.out
    if ending == ".npz":
        with np.load(out) as content:
            held = {name: content[name] for name in content.files}
        names, manifest = held["videos"].tolist(), json.loads(str(held["manifest"]))
        features = held["features"]
    else:
        with safe_open(out, "numpy") as content:
            features, metadata = content.get_tensor("features"), content.metadata()
        names, manifest = json.loads(metadata["videos"]), json.loads(metadata["manifest"])
    assert names == videos[:2] and list(manifest["failed"]) == [str(broken)] and features.shape[0] == 2
    expected = extraction.extract(load_network(trained_run), videos[:2])
    np.testing.assert_array_equal(features, expected.features)


def test_what_is_wrong_is_named(trained_run, videos, tmp_path):
    with refused(ConfigError, "features.csv", ".npz", ".safetensors"):
        extraction.check_format(tmp_path / "features.csv")
