"""What is shown of a capsule network's decoder is what it draws."""

import jax
import numpy as np
import pytest

from vidjax.layers.capsules import MaskedDecoder
from vidjax.models import capsnet_drawings, offers_drawings
from vidjax.models.capsnet import CapsNet, CapsNetBaseline
from vidjax.models.capsnet_drawings import decode_perturbed

NAMES = ["zero", "one", "two"]


@pytest.fixture(scope="module")
def network():
    model = CapsNet(3, width=8, types=2)
    clips = np.random.default_rng(0).uniform(size=(4, 1, 28, 28, 3)).astype(np.float32)
    output, variables = jax.jit(model.init_with_output)(jax.random.key(0), clips)
    return model, variables["params"], output


def test_numbers_of_a_pose_are_moved_one_at_a_time(network):
    _, params, output = network
    decoder, params = MaskedDecoder(28 * 28), params["decoder"]
    pose = output.aux["poses"][2, 0]
    drawn = decode_perturbed(decoder, params, pose, (-0.5, 0.0, 0.5))
    assert drawn.shape == (3, 16, 3, 28 * 28)
    for dimension in range(16):
        np.testing.assert_allclose(drawn[:, dimension, 1], output.aux["reconstruction"][2, 0], atol=1e-6)
    moved = decode_perturbed(decoder, params, pose.at[1, 5].add(0.5), (0.0,))
    np.testing.assert_allclose(drawn[1, 5, 2], moved[1, 0, 0], atol=1e-6)
    assert abs(drawn[1, 5, 2] - drawn[1, 5, 1]).max() > 1e-4


def test_drawings_show_the_frames_and_their_reconstructions(network):
    model, params, output = network
    predicted = np.asarray(output.logits)[:, 0].argmax(-1)
    labels = [int(predicted[0]), (int(predicted[1]) + 1) % 3, 0, 2]
    (caption, drawn), (_, moved) = model.draw_examples(params, output, labels, NAMES)
    mistaken = f"{NAMES[predicted[1]]} (is {NAMES[labels[1]]})"
    assert f"Predicted: {NAMES[predicted[0]]}, {mistaken}" in caption
    assert drawn.shape == (3, 4, 28, 28, 1) and drawn.min() >= 0 and drawn.max() <= 1
    shown = drawn.reshape(3, 4, -1)
    target, reconstruction = (np.asarray(output.aux[name])[:, 0] for name in ("target", "reconstruction"))
    np.testing.assert_array_equal(shown[0], target)
    np.testing.assert_array_equal(shown[1], reconstruction[range(4), predicted])
    np.testing.assert_array_equal(shown[2], reconstruction[range(4), labels])
    lines = -(-len(set(labels)) // 2)
    assert moved.shape == (lines * 7 - 1, 2 * 12, 28, 28, 1)


def test_drawings_are_offered_where_the_reconstruction_is_trained():
    assert offers_drawings(CapsNet(3), {"reconstruction", "target"})
    assert not offers_drawings(CapsNet(3), ())
    assert not offers_drawings(CapsNetBaseline(3), {"reconstruction", "target"})


def test_the_numbers_that_change_a_drawing_most_come_first():
    drawn = np.random.default_rng(0).uniform(size=(16, 3, 5)).astype(np.float32)
    drawn[[4, 11], -1] += [[9.0], [20.0]]
    np.testing.assert_array_equal(capsnet_drawings._most_changed(drawn)[:2], drawn[[11, 4]])
