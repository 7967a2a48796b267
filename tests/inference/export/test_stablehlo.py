"""Networks as StableHLO: a free batch, all platforms, and read by JAX alone."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.golden import snapshot
from tests.inference.export import networks, programs
from tests.refusals import refused
from vidjax import models
from vidjax.errors import ConfigError, ExportError
from vidjax.inference.export import exported_file, stablehlo
from vidjax.inference.export.program import with_preprocessing
from vidjax.inference.network import load_network

_CAPSULES = {
    "vectors": ("capsnet", (2, 24, 24, 3), {"width": 4, "types": 2}),
    "vectors in blocks": ("capsnet", (2, 24, 24, 3), {"width": 4, "types": 2, "vote_megabytes": 1e-4}),
    "matrices in blocks": ("capsule_video", (4, 16, 16, 3), {"pool": False, "vote_megabytes": 1e-4}),
}
_SMALL = {"widths": (4, 4, 4), "types": 2, "primary_kernel": (1, 1, 1), "window": (1, 2, 2)}


@pytest.mark.parametrize("name", _CAPSULES)
def test_capsules_with_a_free_batch(name, tmp_path):
    model, shape, options = _CAPSULES[name]
    small = _SMALL if model == "capsule_video" else {}
    program = programs.of_module(models.create(model, num_classes=3, **small, **options), *shape)
    assert programs.stablehlo_difference(program, tmp_path / "a") < 1e-6


def test_one_file_for_all_platforms(tmp_path):
    assert programs.stablehlo_difference(networks.program("late_fusion"), tmp_path / "a") < 1e-6
    exported = jax.export.deserialize(bytearray((tmp_path / "a").read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    (given,), (returned,) = exported.in_avals, exported.out_avals
    assert (str(given.shape), str(returned.shape)) == ("(batch, 2, 36, 36, 3)", "(batch, 1, 4)")


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.SLOW)
def test_all_networks(name, tmp_path):
    assert programs.stablehlo_difference(networks.program(name), tmp_path / "a") < 1e-5


def test_no_network_is_left_out():
    assert {model for model, _, _ in (networks.FAST | networks.SLOW).values()} == set(models.MODELS)


_CHILD = """
import sys
import numpy, jax
from jax import export
network = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
clips = numpy.load("clips.npy")
numpy.savez("found.npz", three=network.call(clips), two=network.call(clips[1:]))
assert not {"vidjax", "flax"} & sys.modules.keys()
"""


def test_jax_alone_reads_it(tmp_path):
    pytest.importorskip("flatbuffers", reason="needs requirements-export.txt")
    network = load_network(snapshot.FOLDER / "run")
    exported_file.write(network, tmp_path / "run.stablehlo")
    program = with_preprocessing(network)
    (clips,) = program.example(3).values()
    assert clips.dtype == np.uint8
    np.save(tmp_path / "clips.npy", clips)
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", _CHILD, "run.stablehlo"]
    child = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr
    found, expected = np.load(tmp_path / "found.npz"), program.run({"rgb": clips})
    np.testing.assert_allclose(found["three"], expected, atol=1e-5)
    np.testing.assert_allclose(found["two"], expected[1:], atol=1e-5)
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-6)


def test_a_network_that_needs_to_know_the_batch_is_refused():
    def function(x):
        return x[:2] if x.shape[0] > 2 else x

    with refused(ExportError, "batch"):
        stablehlo.serialize(programs.of(function, (3,)))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with refused(ConfigError, "flatbuffers"):
        stablehlo.check_packages()
