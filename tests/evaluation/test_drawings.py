"""What is shown of a capsule network's decoder is what it draws."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from vidjax.evaluation import drawings
from vidjax.models.capsnet import CapsNet, draw_perturbed

NAMES = ["zero", "one", "two"]


@pytest.fixture(scope="module")
def network():
    model = CapsNet(3, width=8, types=2)
    clips = np.random.default_rng(0).uniform(size=(4, 1, 28, 28, 3)).astype(np.float32)
    output, variables = jax.jit(model.init_with_output)(jax.random.key(0), clips)
    return model, variables["params"], output


def test_numbers_of_a_pose_are_moved_one_at_a_time(network):
    model, params, output = network
    pose = output.aux["poses"][2, 0]
    drawn = draw_perturbed(model, params, pose, (-0.5, 0.0, 0.5))
    assert drawn.shape == (3, 16, 3, 28 * 28)
    for dimension in range(16):
        np.testing.assert_allclose(drawn[:, dimension, 1], output.aux["reconstruction"][2, 0], atol=1e-6)
    moved = draw_perturbed(model, params, pose.at[1, 5].add(0.5), (0.0,))
    np.testing.assert_allclose(drawn[1, 5, 2], moved[1, 0, 0], atol=1e-6)
    assert abs(drawn[1, 5, 2] - drawn[1, 5, 1]).max() > 1e-4


def test_pictures_for_the_report(network):
    model, params, output = network
    predicted = np.asarray(output.logits)[:, 0].argmax(-1)
    labels = [int(predicted[0]), (int(predicted[1]) + 1) % 3, 0, 2]
    (caption, drawn), (_, moved) = drawings.of_examples(model, params, output, labels, NAMES)
    mistaken = f"{NAMES[predicted[1]]} (is {NAMES[labels[1]]})"
    assert f"Predicted: {NAMES[predicted[0]]}, {mistaken}" in caption
    page = np.asarray(Image.open(io.BytesIO(drawn)))
    assert page.shape == (2 * (3 * 29 - 1), 2 * (4 * 29 - 1))
    second = page[:56:2, 2 * 29 : 2 * 57 : 2] / 255
    np.testing.assert_allclose(second, np.asarray(output.aux["target"])[1, 0].reshape(28, 28), atol=1 / 255)
    of_label = page[2 * 58 :: 2, 2 * 29 : 2 * 57 : 2] / 255
    wanted = np.asarray(output.aux["reconstruction"])[1, 0, labels[1]].reshape(28, 28)
    np.testing.assert_allclose(of_label, wanted, atol=1 / 255)
    lines = -(-len(set(labels)) // 2)
    assert Image.open(io.BytesIO(moved)).size == (2 * (2 * 12 * 29 - 1), 2 * (lines * 7 * 29 - 29 - 1))


def test_the_numbers_that_change_a_drawing_most_come_first():
    drawn = np.random.default_rng(0).uniform(size=(16, 3, 5)).astype(np.float32)
    drawn[[4, 11], -1] += [[9.0], [20.0]]
    np.testing.assert_array_equal(drawings._most_moved(drawn)[:2], drawn[[11, 4]])
