import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.refusals import refused
from vidjax import models
from vidjax.models import Output


class Several(nn.Module):
    """Says what it was given."""

    def __call__(self, rgb, pose, *, pose_mask=None, weight=None, train):
        return jnp.stack([rgb.sum(), pose.sum(), jnp.nan if pose_mask is None else pose_mask.sum()])[None]


class Anything(nn.Module):
    inputs = ("sound",)

    def __call__(self, train=False, **inputs):
        return Output(jnp.zeros((1, 1, len(inputs))))


def test_the_inputs_of_a_model_are_its_arguments():
    assert models.input_names(Several()) == ("rgb", "pose")
    assert models.input_names(Anything()) == ("sound",)
    assert models.input_names(models.create("slowfast_r50_4x16", 3)) == ("rgb",)
    assert models.input_names(models.create("i3d", 3)) == ("rgb",)
    assert models.input_names(models.create("i3d", 3, in_channels=2)) == ("flow",)


def test_the_masks_that_a_model_needs():
    class Needs(nn.Module):
        def __call__(self, pose, *, pose_mask, rgb_mask=None, train=False):
            return pose

    assert models.required_masks(Needs()) == ("pose_mask",) and not models.required_masks(Several())


def test_a_model_is_given_what_it_takes_and_plain_logits_become_an_output():
    given = {"rgb": jnp.ones(2), "rgb_mask": jnp.ones(2), "pose": jnp.ones(3), "pose_mask": jnp.ones(4), "train": False}
    output = models.apply(Several(), {}, {**given, "example_ids": jnp.arange(1)})
    np.testing.assert_array_equal(output.logits, [[[2.0, 3.0, 4.0]]])
    assert models.apply(Anything(), {}, {"sound": 0, "sound_mask": 0, "train": False}).logits.shape == (1, 1, 2)
    output, changed = models.apply(Several(), {}, given, mutable=["batch_stats"])
    assert output.logits.shape == (1, 1, 3) and not changed


@pytest.mark.parametrize("inputs", [{}, {"rgb": 3, "flow": 2}])
def test_i3d_takes_one_input(inputs):
    clips = {name: jnp.zeros((1, 8, 32, 32, channels)) for name, channels in inputs.items()}
    with refused(ValueError, "I3D", "rgb", "flow"):
        models.create("i3d", 3).init(jax.random.key(0), **clips)
