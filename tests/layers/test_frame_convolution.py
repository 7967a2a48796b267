import functools

import jax
import numpy as np
import pytest
from jax import lax

from tests import random_variables
from tests.refusals import refused
from vidjax.layers.frame_convolution import PADDINGS, FrameConvNorm


def apply(layer, x):
    variables = random_variables.like(jax.eval_shape(functools.partial(layer.init, train=False), jax.random.key(0), x))
    variables["batch_stats"]["norm"]["var"] = np.ones_like(variables["batch_stats"]["norm"]["var"])
    return variables["params"], jax.jit(lambda v, x: layer.apply(v, x, train=False))(variables, x)


def unit(**options):
    return FrameConvNorm(4, activation=None, norm={"epsilon": 0.0, "use_scale": False}, **options)


@pytest.mark.parametrize("stride, groups", [(1, 1), (2, 1), (2, 4)])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("window", [None, (1, 1), (3, 1), (2, 2)])
def test_windows_of_frames(window, padding, stride, groups):
    x = random_variables.normal((2, 5, 8, 7, 4))
    layer = unit(kernel=(3, 3), stride=stride, padding=padding, groups=groups, window=window)
    params, got = apply(layer, x)
    kernel = params["conv"]["kernel"]
    assert kernel.shape == ((window[0],) if window else ()) + (3, 3, 4 // groups, 4)
    extent, step = window or (1, 1)
    pads = [(1, 1), (1, 1)] if padding == "symmetric" else padding.upper()

    def of_frames(first):
        """The sum over the frames of a window of the convolution of each."""
        return sum(
            lax.conv_general_dilated(
                x[:, first + t],
                kernel[t] if window else kernel,
                (stride, stride),
                pads,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=groups,
            )
            for t in range(extent)
        )

    wanted = np.stack([of_frames(first) for first in range(0, 5 - extent + 1, step)], axis=1)
    offset = got - wanted  # the bias and the running mean of each channel
    np.testing.assert_allclose(offset, np.broadcast_to(offset[:1, :1, :1, :1], offset.shape), atol=1e-4)


def test_a_window_longer_than_the_clip_is_refused():
    with refused(ValueError, "4", "3"):
        unit(window=(4, 2)).init(jax.random.key(0), np.zeros((1, 3, 4, 4, 2), np.float32), train=False)
