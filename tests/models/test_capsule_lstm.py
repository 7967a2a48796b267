"""Class capsules of segments, and an LSTM over them."""

import jax
import numpy as np

from tests import random_variables
from tests.refusals import refused
from vidjax import models
from vidjax.layers.convolution import native_operations

K = 3


def network(**options):
    return models.create("capsule_lstm", K, **{"segments": 2, "widths": (4, 4, 8), "types": 2, "hidden": 6, **options})


def test_segments_have_the_capsules_of_clips_of_their_own():
    model, rgb = network(), random_variables.normal((2, 16, 32, 32, 3))
    with native_operations():
        variables = random_variables.of(model, rgb=rgb)
        variables = {**variables, "batch_stats": jax.tree.map(lambda a: 0.5 + abs(a), variables["batch_stats"])}
        output = jax.jit(lambda rgb: model.apply(variables, rgb))(rgb)
        window = {"primary_kernel": (1, 3, 3), "window": (1, 3, 3)}
        alone = models.create("capsule_video", K, widths=(4, 4, 8), types=2, **window)
        own = {kind: tree["capsules"] for kind, tree in variables.items()}
        second = jax.jit(lambda rgb: alone.apply(own, rgb))(rgb[:, 8:])
    assert output.logits.shape == (2, 1, K) and output.aux["poses"].shape == (2, 2, K, 4, 4)
    np.testing.assert_allclose(output.aux["activations"][:, 1], second.logits[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(output.aux["poses"][:, 1], second.aux["poses"], rtol=1e-4, atol=1e-5)


def test_frames_must_fill_the_segments():
    model = network(segments=3)
    with refused(ValueError, "16", "segments=3"):
        jax.eval_shape(lambda rgb: model.init(jax.random.key(0), rgb), np.zeros((1, 16, 32, 32, 3), np.float32))
