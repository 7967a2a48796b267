"""What is exported of a network computes what its evaluation does."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden import snapshot
from tests.named_inputs import POSE
from vidjax.data.inputs import RGB
from vidjax.data.records import Batch
from vidjax.evaluation.scores import average_views
from vidjax.inference.export.program import with_preprocessing, without_preprocessing
from vidjax.inference.network import load_network
from vidjax.models import Output


@pytest.fixture(scope="module")
def network():
    return load_network(snapshot.FOLDER / "run")


@pytest.mark.parametrize("average", ["probabilities", "logits", "lengths"])
def test_probabilities_are_those_of_the_evaluation(network, average):
    network = dataclasses.replace(network, average=average)
    if average == "lengths":  # which are not negative
        network = dataclasses.replace(network, module=_Absolute(network.module))
        network = dataclasses.replace(network, variables=_within(network.variables, "module"))
    program = with_preprocessing(network)
    inputs = program.example(3)
    assert inputs["rgb"].shape[2:4] == (network.clip.crop,) * 2 > (network.side,) * 2

    @jax.jit
    def evaluation(inputs):
        return network.scores(network.variables, network.preprocessing.evaluation(Batch(inputs, None, None, None)))

    expected = [average_views(np.asarray(view)[None], average) for view in evaluation(inputs)]
    np.testing.assert_allclose(program.run(inputs), expected, rtol=1e-5)


def test_views_that_are_larger_than_the_clips_of_training():
    network = load_network(snapshot.FOLDER / "run", {"evaluate.crops": "three", "evaluate.crop": "32"})
    program = with_preprocessing(network)
    assert program.inputs["rgb"].shape[1:3] == (32, 32) and program.run(program.example(2)).shape == (2, 2)


class _Absolute(nn.Module):
    module: nn.Module

    def __call__(self, rgb):
        return Output(abs(self.module(rgb).logits))


def _within(variables, name):
    return {collection: {name: content} for collection, content in variables.items()}


def test_raw_is_the_model(network):
    program = without_preprocessing(network)
    (clips,) = program.example(2).values()
    assert clips.shape == (2, network.clip.frames, network.side, network.side, 3) and clips.dtype == np.float32
    expected = jax.jit(network.apply)(network.variables, {"rgb": clips}).logits
    found = program.run({"rgb": clips})
    assert found.ndim == 3
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_network_in_bfloat16_is_exported_in_float32(network):
    short = dataclasses.replace(network, module=network.module.clone(dtype=jnp.bfloat16))
    program, expected = with_preprocessing(short), with_preprocessing(network)
    np.testing.assert_array_equal(program.run(program.example(1)), expected.run(program.example(1)))


class _Points(nn.Module):
    """The mean color, and the key points that are there."""

    def __call__(self, rgb, pose, pose_mask):
        return jnp.stack([rgb.mean((1, 2, 3, 4)), (pose[..., 0] * pose_mask).sum((1, 2))], -1)


def test_several_inputs_and_masks(network):
    inputs = (RGB, POSE)
    preprocessing = dataclasses.replace(network.preprocessing, inputs=inputs, mirror=None)
    pair = dataclasses.replace(
        network, module=_Points(), variables={}, inputs=inputs, preprocessing=preprocessing, average="logits"
    )
    program = with_preprocessing(pair)
    frames, crop = network.clip.frames, network.clip.crop
    assert {name: (spec.shape, spec.dtype) for name, spec in program.inputs.items()} == {
        "rgb": ((frames, crop, crop, 3), np.uint8),
        "pose": ((frames, 2, 3), np.float32),
        "pose_mask": ((frames, 2), bool),
    }
    given = program.example(2)
    assert given["pose_mask"].all()
    found, hidden = program.run(given), program.run(given | {"pose_mask": np.zeros((2, frames, 2), bool)})
    assert found.shape == (2, 2) and (found != hidden).any()
    assert sorted(without_preprocessing(pair).inputs) == ["pose", "pose_mask", "rgb"]
